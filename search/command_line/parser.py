"""The parser of a command, made from the flags of its settings, and errors in one line."""

import argparse
import os
import re
import reprlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from search.command_line.flags import Flag, flags_of, help_text, opposite
from search.escape import escaped
from search.secrets import hide_secrets, masked_url
from spaces.errors import did_you_mean

# The commands of an installed package, by the script of the checkout that each one runs.
COMMANDS: Final = {
    "run_search.py": "keras-search",
    "report.py": "keras-search-report",
    "predict.py": "keras-search-predict",
}
Settings = TypeVar("Settings")


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line, without secrets, as other errors are reported."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Return the parsed arguments, or report what is unknown.

        No value is repeated: it may be part of a password that was not quoted.
        """
        parsed, unknown = self.parse_known_args(args, namespace)
        for flag in (word.partition("=")[0] for word in unknown):
            if re.fullmatch("--[a-z][a-z-]*", flag):
                known = re.findall(r"--[a-z-]+", self.format_usage())
                self.error(f"{flag} is unknown", did_you_mean(flag, known))
        if unknown:
            self.error("a value has no flag; write --flag VALUE, in quotes if it has spaces")
        return parsed

    def error(self, message: str, hint: str = "") -> NoReturn:
        """Print the line and exit with code 2."""
        program = self.prog.removesuffix(".py")
        message = re.sub("^argument (--[a-z-]+): ", r"\1 ", message)
        message = message.replace(" expected one argument", " needs a value")
        self.exit(2, escaped(f"{program}: {hide_secrets(message)}; see --help.{hint}\n"))


def add_flags(parser: argparse.ArgumentParser, settings: type[Any]) -> None:
    """Add all flags of a settings class to a parser, in their groups."""
    types = get_type_hints(settings)
    group: Any = parser
    for part, declared in flags_of(settings):
        if declared.group is not None:
            group = parser.add_argument_group(declared.group)
        if types[part.name] is bool:
            set_it = "store_false" if part.default else "store_true"
            group.add_argument(declared.name, dest=part.name, action=set_it, help=declared.help)
            # Only for a command line that differs from its configuration file.
            unset_it = "store_true" if part.default else "store_false"
            group.add_argument(
                opposite(declared.name),
                dest=part.name,
                action=unset_it,
                default=part.default,
                help=argparse.SUPPRESS,
            )
            continue
        if types[part.name] == (bool | None):
            group.add_argument(
                declared.name,
                dest=part.name,
                default=part.default,
                action=argparse.BooleanOptionalAction,
                help=help_text(part, declared).replace("%", "%%"),
            )
            continue
        if get_origin(types[part.name]) is tuple and declared.read is None:
            group.add_argument(
                declared.name,
                dest=part.name,
                default=part.default,
                nargs="+",
                type=reader(declared, str),
                metavar=declared.metavar,
                help=help_text(part, declared).replace("%", "%%"),
            )
            continue
        group.add_argument(
            declared.name,
            dest=part.name,
            default=os.environ.get(declared.variable or "") or part.default,
            type=reader(declared, types[part.name]),
            metavar=declared.metavar,
            help=help_text(part, declared).replace("%", "%%"),
        )


def reader(declared: Flag, kind: Any) -> Callable[[str], Any]:
    """Return the function that converts the text of a flag to its value.

    Args:
        declared: The flag; it is not a boolean.
        kind: Type of its field.

    Returns:
        The function; it raises `argparse.ArgumentTypeError` for text that it cannot convert.
    """
    read = declared.read or next(one for one in (*get_args(kind), kind) if one is not None)

    def checked(text: str) -> Any:
        # Otherwise a URL with a password could end up in the names of files and studies.
        if "://" in text and not declared.url:
            raise argparse.ArgumentTypeError(f"is {masked_url(text)!r}; it takes no URL")
        try:
            return read(text)
        except ValueError:
            kind = "a whole number" if read is int else "a number"
            raise argparse.ArgumentTypeError(
                f"is {reprlib.repr(text)}; it must be {kind}{_range(declared)}"
            ) from None

    return checked


def _range(declared: Flag) -> str:
    if declared.above is not None:
        return f" above {declared.above:g}"
    if declared.at_least is None:
        return ""
    if declared.at_most is None:
        return f", {declared.at_least:g} or more"
    return f" from {declared.at_least:g} to {declared.at_most}"


def read_flags(settings: type[Settings], parsed: argparse.Namespace) -> Settings:
    """Return the settings that a parsed command line asks for.

    Raises:
        SettingsError: The settings refuse a value.
    """
    given = {part.name: getattr(parsed, part.name) for part, _ in flags_of(settings)}
    return settings(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in given.items()
        }
    )


def print_error(script: str, message: object) -> None:
    """Print an error on one line, with secrets masked and control characters escaped.

    Args:
        script: A key of `COMMANDS`; the line starts with its name as it was called.
        message: The rest of the line.
    """
    program = called(script).removesuffix(".py")
    print(escaped(f"{program}: {hide_secrets(str(message))}"), file=sys.stderr)  # noqa: T201


def called(script: str) -> str:
    """Return how the user calls a script: by its file name, or as an installed command."""
    return COMMANDS[script] if Path(sys.argv[0]).name in COMMANDS.values() else script

"""Flags declared as fields of settings, one-line errors, signals and exit codes.

Imports nothing heavy, so that `--help` and a wrong flag answer at once.
"""

import argparse
import math
import os
import re
import reprlib
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from search.command_line.process import keep_streams
from search.errors import SettingsError, StoppedEarly, StopReason
from search.escape import escaped
from search.secrets import hide_secrets, masked_url
from spaces.errors import did_you_mean

_REASONS: Final[dict[int, StopReason]] = {
    signal.SIGINT: StopReason.CTRL_C,
    signal.SIGTERM: StopReason.SIGTERM,
    signal.SIGHUP: StopReason.SIGHUP,
}
STOP_SIGNALS: Final = tuple(_REASONS)
EXIT_CODES: Final = {reason: 128 + number for number, reason in _REASONS.items()}  # as shells do
EXIT_CODES[StopReason.REQUESTED] = EXIT_CODES[StopReason.CTRL_C]
# Used when `--storage` is not given; unlike a flag, it is not in the process list.
STORAGE_VARIABLE: Final = "SEARCH_STORAGE"
# Largest integer in a study; a study with a larger one counts as damaged.
LARGEST: Final = 2**63 - 1
MOST_EPOCHS: Final = 1_000_000
_MAX_NAME_BYTES: Final = 200  # of the 255 of a file's name; a lock file's name is longer
COMPARISONS: Final = "compare"  # folder of comparisons, beside those of studies
# The commands of an installed package, by the script of the checkout that each one runs.
COMMANDS: Final = {
    "run_search.py": "keras-search",
    "report.py": "keras-search-report",
    "predict.py": "keras-search-predict",
}
# Allowed values of a field, by its type: in words, and as types.
_KINDS: Final[dict[Any, tuple[str, tuple[type, ...]]]] = {
    bool: ("True or False", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    str: ("text", (str,)),
    Path: ("a path", (Path,)),
    tuple[str, ...]: ("a tuple of text", (tuple,)),
}
Settings = TypeVar("Settings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag of a command, declared at the settings field that it sets; see `flag`."""

    name: str
    help: str
    metavar: str | None
    group: str | None
    choices: Collection[str]
    above: float | None
    at_least: float | None
    at_most: float | None
    read: Callable[[str], Any] | None
    shown_default: str | None
    url: bool
    variable: str | None
    once: bool
    runs_code: Callable[[Any], bool] | None
    starts_nothing: bool

    @property
    def key(self) -> str:
        """Its name in a configuration file."""
        return self.name.removeprefix("--")


def flag(
    name: str,
    default: Any,
    help: str,
    *,
    metavar: str | None = None,
    group: str | None = None,
    choices: Collection[str] = (),
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    read: Callable[[str], Any] | None = None,
    shown_default: str | None = None,
    url: bool = False,
    variable: str | None = None,
    once: bool = False,
    runs_code: Callable[[Any], bool] | None = None,
    starts_nothing: bool = False,
) -> Any:
    """Declare a dataclass field together with its command-line flag.

    The parser, the checks of `check_flags` and the documentation all follow from it.

    Args:
        name: `--name`; the flag of a field that is True by default is `--no-name`. A field of type
            `bool | None` has both, `--name` and `--no-name`; one of type `tuple[str, ...]` takes
            one value or more.
        default: Value without the flag.
        help: A phrase: what it sets, its unit. Choices and default are appended.
        metavar: Stands for the value in the help; not for booleans.
        group: Title of the group that this flag begins; later flags stay in it.
        choices: Allowed values; a mapping has a phrase about each, for the help.
        above: Values must be greater.
        at_least: Values must not be smaller.
        at_most: Values must not be greater.
        read: Converts the text of the flag; by default the field's type does.
        shown_default: Default in words, where the default is None.
        url: Whether the value may be a URL; other flags refuse one.
        variable: Environment variable that is used if the flag is not given.
        once: Whether the flag concerns a single call, so that configuration files may not set it.
        runs_code: Returns whether a value makes the program run code that the value names. A
            configuration file, which may be somebody else's, cannot do that alone.
        starts_nothing: Whether the command runs no such code when this flag is given.
    """
    declared = Flag(
        name=name,
        help=help,
        metavar=metavar,
        group=group,
        choices=choices,
        above=above,
        at_least=at_least,
        at_most=at_most,
        read=read,
        shown_default=shown_default,
        url=url,
        variable=variable,
        once=once,
        runs_code=runs_code,
        starts_nothing=starts_nothing,
    )
    return field(default=default, metadata={"flag": declared})


def flags_of(settings: type[Any]) -> list[tuple[Field[Any], Flag]]:
    """Return the fields of a settings class that are flags, with their flags, in order."""
    return [(part, part.metadata["flag"]) for part in fields(settings) if "flag" in part.metadata]


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
                _opposite(declared.name),
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


def _opposite(name: str) -> str:
    bare = name.removeprefix("--")
    return f"--{bare.removeprefix('no-')}" if bare.startswith("no-") else f"--no-{bare}"


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


def help_text(part: Field[Any], declared: Flag) -> str:
    """Return the help of a flag with its choices and its default."""
    notes = []
    if isinstance(declared.choices, Mapping):
        notes = [f"{name}: {phrase}" for name, phrase in declared.choices.items()]
    elif declared.choices:
        notes = [", ".join(declared.choices)]
    default = declared.shown_default or part.default
    if default not in (None, ()) and not isinstance(default, bool):
        notes.append(f"default: {default}")
    return f"{declared.help} ({'; '.join(notes)})" if notes else declared.help


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


def given_flags(settings: Any) -> list[str]:
    """Return the flags that give a command these settings; those at their default are left out."""
    words: list[str] = []
    for part, declared in flags_of(type(settings)):
        value = getattr(settings, part.name)
        if value == part.default:
            continue
        if value is False and part.default is None:
            words.append(_opposite(declared.name))
        elif isinstance(value, bool):
            words.append(declared.name)
        else:
            several = isinstance(value, tuple) and declared.read is None
            words += [declared.name, *(value if several else [text_of(value)])]
    return words


def text_of(value: Any) -> str:
    """Return a value of a flag, not a boolean, as one word of a command line."""
    return ",".join(value) if isinstance(value, tuple) else str(value)


def check_flags(settings: Any) -> None:
    """Check the values of all flags against their types, choices and bounds.

    None is allowed where it is the default.

    Raises:
        SettingsError: A value is not allowed; the message names the flag.
    """
    types = get_type_hints(type(settings))
    for part, declared in flags_of(type(settings)):
        value = getattr(settings, part.name)
        if value is None and part.default is None:
            continue
        _check_type(declared, types[part.name], value)
        check_flag(declared, value)


def check_flag(declared: Flag, value: Any) -> None:
    """Check a value of a flag against its choices and bounds.

    Raises:
        SettingsError: It is not allowed; the message names the flag.
    """
    name = declared.name
    if declared.choices and value not in declared.choices:
        raise SettingsError(
            f"{name} {value!r} is unknown; use one of {', '.join(declared.choices)}."
            f"{did_you_mean(str(value), declared.choices)}"
        )
    if declared.above is not None and not value > declared.above:
        raise SettingsError(f"{name} is {value}; it must be above {declared.above:g}.")
    if declared.at_least is not None and not value >= declared.at_least:
        raise SettingsError(f"{name} is {value}; it must be {declared.at_least:g} or more.")
    if isinstance(value, float) and math.isinf(value):
        raise SettingsError(f"{name} is {value}; it must be a finite number.")
    if declared.at_most is not None and not value <= declared.at_most:
        raise SettingsError(f"{name} is {value}; it must be {declared.at_most} or less.")


def _check_type(declared: Flag, hint: Any, value: object) -> None:
    """Check the type of a value: a program, unlike a command line, may pass a wrong one."""
    kind = hint if hint in _KINDS else next(one for one in get_args(hint) if one in _KINDS)
    words, allowed = _KINDS[kind]
    # True is an int too.
    is_right = isinstance(value, allowed) and isinstance(value, bool) == (kind is bool)
    if isinstance(value, tuple):
        is_right = is_right and all(isinstance(one, str) for one in value)
    if not is_right:
        raise SettingsError(f"{declared.name} is {reprlib.repr(value)}; it must be {words}.")


def check_study_name(name: str, flag: str = "--study") -> None:
    """Check the name of a study, which also names its folder.

    Args:
        name: The name.
        flag: Flag that gives it, for the message.

    Raises:
        SettingsError: The name cannot be that of a single folder, or is too long.
    """
    if not name.strip(" .") or not name.isprintable() or set("/\\") & set(name):
        raise SettingsError(
            f"{flag} {name!r} cannot name a folder; use letters, digits, '-', '_' and '.'."
        )
    length = len(name.encode())
    if length > _MAX_NAME_BYTES:
        raise SettingsError(
            f"{flag} is {length} bytes long, which is too long for the name of a folder; use "
            f"{_MAX_NAME_BYTES} or fewer."
        )


def check_new_study_name(name: str) -> None:
    """Check that the name of a new study needs no quotes in a shell.

    Raises:
        SettingsError: The name has other characters, or is reserved for comparisons.
    """
    if name == COMPARISONS:
        raise SettingsError(
            f"--study {name!r} cannot name a new study: report.py --compare writes into the folder "
            "of that name. Use another name."
        )
    if not re.fullmatch(r"[\w.][\w.-]*", name):
        raise SettingsError(
            f"--study {name!r} cannot name a new study; use letters, digits, '-', '_' and '.', and "
            "no '-' first."
        )


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


def worker_count(text: str) -> int | None:
    """Read `--workers`: a number, or None for `auto`.

    Raises:
        argparse.ArgumentTypeError: It is neither.
    """
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"is {reprlib.repr(text)}; it must be auto or a whole number above 0"
        ) from None


def prepare_process() -> None:
    """Prepare the streams and the signals of a command; the first call of its `main`."""
    keep_streams()
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # Shell scripts start `&` jobs with SIGINT ignored, and only SIGINT; a person who sends it
        # with `kill -INT` wants to stop the search.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def stop_by_signal(on_stop: Callable[[StopReason], None]) -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into requests to stop while the context is open.

    Args:
        on_stop: As for `let_signals_stop`.
    """
    before = let_signals_stop(on_stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def let_signals_stop(on_stop: Callable[[StopReason], None]) -> dict[int, Any]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into requests to stop, from now on.

    An ignored signal stays ignored: under `nohup` a hangup must not stop anything. SIGINT is never
    ignored after `prepare_process`. Outside of the main thread nothing changes: Python lets no
    other thread handle signals.

    Args:
        on_stop: Receives the signal, a key of `EXIT_CODES`. It runs between any two
            instructions of the main thread, once for every signal.

    Returns:
        The previous handlers, by signal number.
    """

    def handle(number: int, frame: object) -> None:
        on_stop(_REASONS[number])

    if threading.current_thread() is not threading.main_thread():
        return {}
    answered = [number for number in _REASONS if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, handle) for number in answered}


def stop_early(reason: StopReason) -> None:
    """Raise an exception: the handler for `let_signals_stop` until the search can stop itself.

    Raises:
        StoppedEarly: Always.
    """
    raise StoppedEarly(reason)

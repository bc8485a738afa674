"""Flags in a TOML file: `--config` reads them, `--print-config` and every search write them.

A key is the name of a flag without its leading dashes: `val-size = 100`, `no-portfolio = true`.
"""

import argparse
import reprlib
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import Field
from pathlib import Path
from typing import Any, Final, TypeVar, get_type_hints

import tomli_w

from search.command_line.flags import Flag, check_flag, flags_of, text_of
from search.command_line.parser import Parser, read_flags, reader
from search.errors import SettingsError
from search.secrets import masked_url
from spaces.errors import did_you_mean, one_line

Settings = TypeVar("Settings")
_CODE: Final = object()  # in place of a value that only the command line may set


def read_arguments(parser: Parser, settings: type[Settings], arguments: Sequence[str]) -> Settings:
    """Return the settings of a command line, and of the file that its `--config` names.

    Args:
        parser: Has the flags of the settings.
        settings: Has a field `config`.
        arguments: Command-line arguments; they override the file.

    Raises:
        SettingsError: The file cannot be read, or a value is not allowed; the message names the
            file and the key, or the flag.
    """
    parsed = parser.parse_args(arguments)
    file = parsed.config
    if file is None:
        return read_flags(settings, parsed)
    values = _read(file, settings)
    code = {
        part.name: declared
        for part, declared in flags_of(settings)
        if part.name in values and declared.runs_code and declared.runs_code(values[part.name])
    }
    parser.set_defaults(**(values | dict.fromkeys(code, _CODE)))
    parsed = parser.parse_args(arguments)
    starts_nothing = any(
        declared.starts_nothing and getattr(parsed, part.name)
        for part, declared in flags_of(settings)
    )
    if starts_nothing:
        parser.set_defaults(**values)
        return read_flags(settings, parser.parse_args(arguments))
    for name, declared in code.items():
        if getattr(parsed, name) is _CODE:
            raise SettingsError(
                f"--config {file}: {declared.key} can start code, which a file alone must not, as "
                f"it may be somebody else's. If it is yours, add {declared.name} "
                f"{one_line(shlex.quote(str(values[name])))} to the command line."
            )
    return read_flags(settings, parsed)


def config_text(settings: Any) -> str:
    """Return settings as a configuration file, without secrets and without unset flags.

    Text that is not UTF-8, such as an old name of a folder, is left out too: TOML cannot hold it.
    """
    return "\n".join(_lines(settings)) + "\n"


def _lines(settings: Any) -> Iterator[str]:
    yield "# Flags for --config FILE; the command line overrides them."
    group = None
    for part, declared in flags_of(type(settings)):
        group = declared.group or group
        value = getattr(settings, part.name)
        if value in (None, ()) or declared.once:
            continue
        if group is not None:
            yield f"\n# {group}"
            group = None
        if value is True or value is False:
            value = value != _is_negative(part)
        elif isinstance(value, Path | tuple):
            value = text_of(value)
        if isinstance(value, str) and "://" in value and masked_url(value) != value:
            yield f"# {declared.key} is left out, as it may hold a secret: give {declared.name} too"
        elif isinstance(value, str) and not _is_unicode(value):
            yield f"# {declared.key} is left out, as it is not UTF-8: give {declared.name} too"
        else:
            yield tomli_w.dumps({declared.key: value}).rstrip()


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of a command line that are not UTF-8
        return False
    return True


def _read(file: Path, settings: type[Any]) -> dict[str, Any]:
    """Return the values of a configuration file, by field of the settings."""
    known = {declared.key: (part, declared) for part, declared in flags_of(settings)}
    types = get_type_hints(settings)
    values = {}
    for key, value in _parsed(file).items():
        if key not in known:
            raise SettingsError(
                f"--config {file}: {one_line(key)} is not the name of a flag."
                f"{did_you_mean(key, known, cutoff=0.6)}"
            )
        part, declared = known[key]
        if declared.once:
            raise SettingsError(
                f"--config {file}: {key} belongs on the command line; leave it out."
            )
        try:
            values[part.name] = _value(part, declared, types[part.name], value)
        except (argparse.ArgumentTypeError, SettingsError) as error:
            reason = str(error).removeprefix(declared.name).strip()
            end = "" if reason.endswith((".", "?")) else "."
            raise SettingsError(f"--config {file}: {key} {reason}{end}") from None
        except ValueError:  # Python writes out no such number
            raise SettingsError(
                f"--config {file}: {key} is a number with thousands of digits; write a smaller one."
            ) from None
    return values


def _parsed(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"--config {file} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(
            f"--config {file} is not valid TOML: {one_line(error)}. Write lines such as "
            "trials = 50."
        ) from error


def _value(part: Field[Any], declared: Flag, kind: Any, value: Any) -> Any:
    """Convert a value of a file in the same way as the value of its flag."""
    if kind in (bool, bool | None):
        if not isinstance(value, bool):
            raise SettingsError(f"is {reprlib.repr(value)}; it must be true or false")
        return value != _is_negative(part)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise SettingsError(f"is {reprlib.repr(value)}; it must be a number or text")
    converted = reader(declared, kind)(str(value))
    if converted is not None:  # `workers = "auto"` gives None
        check_flag(declared, converted)
    return converted


def _is_negative(part: Field[Any]) -> bool:
    """Whether the flag is `--no-NAME`, of a field that is true without it."""
    return part.default is True

"""Flags declared as fields of settings, their help and their checks."""

import argparse
import math
import reprlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from search.errors import SettingsError
from spaces.errors import did_you_mean

# Used when `--storage` is not given; unlike a flag, it is not in the process list.
STORAGE_VARIABLE: Final = "SEARCH_STORAGE"
# Largest integer in a study; a study with a larger one counts as damaged.
LARGEST: Final = 2**63 - 1
MOST_EPOCHS: Final = 1_000_000
# Pixels a side of images that a search trains on.
SMALLEST_SIDE: Final = 16
LARGEST_SIDE: Final = 224
# Allowed values of a field, by its type: in words, and as types.
_KINDS: Final[dict[Any, tuple[str, tuple[type, ...]]]] = {
    bool: ("True or False", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    str: ("text", (str,)),
    Path: ("a path", (Path,)),
    tuple[str, ...]: ("a tuple of text", (tuple,)),
}


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


def given_flags(settings: Any) -> list[str]:
    """Return the flags that give a command these settings; those at their default are left out."""
    words: list[str] = []
    for part, declared in flags_of(type(settings)):
        value = getattr(settings, part.name)
        if value == part.default:
            continue
        if value is False and part.default is None:
            words.append(opposite(declared.name))
        elif isinstance(value, bool):
            words.append(declared.name)
        else:
            several = isinstance(value, tuple) and declared.read is None
            words += [declared.name, *(value if several else [text_of(value)])]
    return words


def text_of(value: Any) -> str:
    """Return a value of a flag, not a boolean, as one word of a command line."""
    return ",".join(value) if isinstance(value, tuple) else str(value)


def opposite(name: str) -> str:
    """Return the flag that undoes a boolean one: `--no-name` for `--name`, and back."""
    bare = name.removeprefix("--")
    return f"--{bare.removeprefix('no-')}" if bare.startswith("no-") else f"--no-{bare}"


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
    if "\0" in text_of(value):  # no path and no process takes it
        raise SettingsError(f"{name} is {text_of(value)!r}; it must not hold a null character.")
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

"""The errors of spaces, and helpers for one-line error messages."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_MAX_LETTERS = 300


class SpaceError(Exception):
    """A space cannot be loaded; the message is one line."""


class HyperparameterError(ValueError):
    """A value that its hyperparameter cannot have, or that no hyperparameter asks for.

    Args:
        owner: What the value belongs to; the message starts with it.
        name: Name of the hyperparameter.
        reason: What is wrong with its value; continues the name.
        is_known: Whether the space has a hyperparameter of this name.
    """

    def __init__(self, owner: str, name: str, reason: str, is_known: bool = True) -> None:
        super().__init__(owner, name, reason, is_known)
        self.owner = owner
        self.name = name
        self.reason = reason
        self.is_known = is_known

    def __str__(self) -> str:
        return f"{self.owner}.{self.name} {self.reason}"


def one_line(error: BaseException | str, *, typed: bool = False) -> str:
    """Return a message on one line for a terminal, without a final full stop.

    Args:
        error: Any error, or text that may come from somebody else. SQLAlchemy and Optuna wrap a
            database's own error: its message is used.
        typed: Begin with the type's name; an error without a message is always named.
    """
    wrapped = getattr(error, "__cause__", None)
    cause = getattr(error, "orig", None) or getattr(wrapped, "orig", None) or error
    text = " ".join(without_colors(str(cause)).split()).rstrip(".")
    if len(text) > _MAX_LETTERS:
        text = f"{text[:_MAX_LETTERS]} ..."
    text = shown(text)
    if not text and isinstance(cause, BaseException):
        return type(cause).__name__
    return f"{type(cause).__name__}: {text}" if typed else text


def without_colors(text: str) -> str:
    """Return text without the codes that change colours and fonts on a terminal."""
    return _ANSI.sub("", text)


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.4) -> str:
    """Return ` Did you mean 'NAME'?` for the most similar known name, or an empty string.

    Args:
        name: What was given.
        known: Names that there are.
        cutoff: Least similarity, in [0, 1].
    """
    close = get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f" Did you mean {close[0]!r}?" if close else ""


def shown(text: object) -> str:
    """Return text on one line for a terminal, with escapes for all that is not printable.

    These are line breaks, control characters, and bytes of a file's name that are not UTF-8.
    """
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in str(text))

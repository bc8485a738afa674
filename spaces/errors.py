"""The error of a space, and helpers for one-line error messages."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_MAX_LETTERS = 300


class SpaceError(Exception):
    """A space cannot be loaded; the message is one line."""


def one_line(error: BaseException, *, typed: bool = False) -> str:
    """Return the message of an error on one line, without a final full stop.

    Args:
        error: Any error. SQLAlchemy and Optuna wrap a database's own error: its message is used.
        typed: Begin with the type's name; an error without a message is always named.
    """
    cause = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error
    text = " ".join(_ANSI.sub("", str(cause)).split()).rstrip(".")
    if len(text) > _MAX_LETTERS:
        text = f"{text[:_MAX_LETTERS]} ..."
    if not text:
        return type(cause).__name__
    return f"{type(cause).__name__}: {text}" if typed else text


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'NAME'?` for the most similar known name, or an empty string."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f" Did you mean {close[0]!r}?" if close else ""

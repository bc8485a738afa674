"""Escape text for terminals, Markdown and spreadsheets: names may hold any character."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas as pd

# Control characters of terminals, text direction and line breaks, except tab, CR and LF.
_CONTROLS: Final = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_UNSAFE_ON_TERMINAL: Final = re.compile(f"[{_CONTROLS}\r]")
_UNSAFE_IN_FILE: Final = re.compile(f"[{_CONTROLS}\ud800-\udfff\ufffe\uffff]")
_LINE_BREAK: Final = re.compile("\r\n?|\n")
# An underscore between letters or digits is no markup.
_MARKUP: Final = re.compile(r"[\\`*\[\]<|$~]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)")
_ENTITIES: Final = {"<": "&lt;", "&": "&amp;"}
# Starts of headings, quotations, rules and lists.
_BLOCK: Final = re.compile(r"^(\d{0,9})([#>=]|[.)](?=\s|$)|[+-](?=[\s-]|$))")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def escaped(text: str) -> str:
    """Return the text with control characters as backslash escapes, for a terminal."""
    return _UNSAFE_ON_TERMINAL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def printable(text: str) -> str:
    """Replace characters that no text file should hold: controls, directions, lone surrogates."""
    return _UNSAFE_IN_FILE.sub("\N{REPLACEMENT CHARACTER}", text)


def markdown_words(text: object) -> str:
    """Return text escaped for Markdown, on one line, such as for a table cell."""
    line = _LINE_BREAK.sub(" ", str(text))
    return _MARKUP.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), line)


def markdown_line(text: object) -> str:
    """Return text escaped for Markdown, as a paragraph or a heading."""
    return _BLOCK.sub(r"\1\\\2", markdown_words(text).strip())


def markdown_code(text: object) -> str:
    """Return a span of code for a table cell: its text is shown as it is, on one line."""
    line = _LINE_BREAK.sub(" ", str(text)).replace("|", "\\|")
    ticks = "`" * max([1, *(len(run) + 1 for run in re.findall("`+", line))])
    return f"{ticks} {line} {ticks}" if "`" in line else f"`{line}`"


def code_fence(text: str) -> str:
    """Return a fence for the text as a code block: longer than any run of backticks in it."""
    return "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])


def write_csv(values: "pd.DataFrame", path: Path) -> None:
    """Write a table without its index.

    A spreadsheet takes text that begins with one of `= + - @` as a formula and runs it; such text
    gets an apostrophe in front, unless it is a number. A carriage return is replaced: it may stand
    without quotes, and readers then begin a row after it.

    Raises:
        OSError: The file cannot be written.
    """
    safe = values.map(_no_formula).rename(columns=_no_formula)
    path.write_text(_in_row(safe.to_csv(index=False)), encoding="utf-8")


def csv_text(text: str) -> str:
    """Return text as `write_csv` writes it."""
    return _in_row(str(_no_formula(text)))


def _in_row(text: str) -> str:
    return printable(text).replace("\r", "\N{REPLACEMENT CHARACTER}")


def _no_formula(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(_FORMULA) or len(value) == 1:
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value

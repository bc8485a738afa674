"""The parts of a report, whatever file it is written to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

MISSING: Final = "-"


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Plain text.

    Args:
        text: Without markup.
        strong: Whether it is what a reader in a hurry should read.
    """

    text: str
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Numbers are aligned right; a column that holds a string or a bool is aligned left.

    Args:
        name: Column of the CSV file; None: shown only.
        heading: Heading on the page; None: in the CSV file only.
        value: Return the value of an item; None: the item is a mapping, `item[name]`.
        format: Return the text of a value, or a format specification such as `,.0f`. A missing
            value (None or NaN) is shown as a dash without asking it.
    """

    name: str | None
    heading: str | None = None
    value: Callable[[Any], Any] | None = None
    format: Callable[[Any], str] | str = ""

    def value_of(self, item: Any) -> Any:
        """Return the value as the CSV file has it."""
        return item[self.name] if self.value is None else self.value(item)

    def text_of(self, value: Any) -> str:
        """Return a value as it is shown."""
        if is_missing(value):
            return MISSING
        return format(value, self.format) if isinstance(self.format, str) else self.format(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table on the page, and its file `tables/<name>.csv` if a column has a name.

    Args:
        name: File name without its ending; unique in the report.
        caption: What the table shows, in a few words.
        note: How to read it; empty if that is clear.
        columns: From left to right.
        items: One for each row: anything that the columns understand. A data frame gives one
            mapping for each of its rows, without the index.
        most: Number of rows shown; None: all. The CSV file always has all.
        fold: Whether the page shows the table folded.
    """

    name: str
    caption: str
    note: str = ""
    columns: Sequence[Column] = ()
    items: Sequence[Any] | pd.DataFrame = ()
    most: int | None = None
    fold: bool = False
    # The former way to describe a table, until all chapters use columns.
    shown: pd.DataFrame = field(default_factory=pd.DataFrame)
    values: pd.DataFrame | None = None
    left: Sequence[bool] = ()

    def __post_init__(self) -> None:
        if not self.columns:
            return
        items = self.items
        if isinstance(items, pd.DataFrame):
            items = items.to_dict("records")
        rows = [[column.value_of(item) for column in self.columns] for item in items]
        written = [i for i, column in enumerate(self.columns) if column.name is not None]
        shown = [i for i, column in enumerate(self.columns) if column.heading is not None]
        values = pd.DataFrame({self.columns[i].name: [row[i] for row in rows] for i in written})
        texts = pd.DataFrame(
            {
                self.columns[i].heading: [
                    self.columns[i].text_of(row[i]) for row in rows[: self.most]
                ]
                for i in shown
            }
        )
        left = [any(isinstance(row[i], str | bool) for row in rows) for i in shown]
        for name, found in (("values", values), ("shown", texts), ("left", left)):
            object.__setattr__(self, name, found)
        if len(texts) < len(rows):
            caption = f"{self.caption} (the first {len(texts)} of {len(rows):,}; the CSV has all)"
            object.__setattr__(self, "caption", caption)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A figure, written to `figures/<name>.png` and `.svg`.

    Args:
        name: File name without its ending; unique in the report.
        finding: What it shows, in words, as its heading.
        caption: One line on how to read it.
        figure: At the size in inches at which it is shown (8 wide).
    """

    name: str
    finding: str
    caption: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class Code:
    """Text to copy.

    Args:
        text: Its lines.
        language: `python` or `console`.
    """

    text: str
    language: str


def is_missing(value: Any) -> bool:
    """Return whether a value is None, NaN or NaT."""
    return value is None or ((np.isscalar(value) or value is pd.NaT) and bool(pd.isna(value)))


Block = Paragraph | Table | Picture | Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One chapter.

    Args:
        name: Anchor in the page; unique, lower case with hyphens.
        title: Heading.
        blocks: What it holds, in order.
    """

    name: str
    title: str
    blocks: list[Block] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A whole report.

    Args:
        title: Heading of the page.
        subtitle: One line below.
        warning: Shown on top of every part of a preview; empty for a full report.
        sections: In reading order.
    """

    title: str
    subtitle: str
    warning: str
    sections: list[Section]

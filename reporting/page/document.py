"""The parts of a report, whatever file it is written to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

MISSING: Final = "-"

# Where pyarrow is installed, pandas keeps text in it, which cannot hold the broken letters that a
# study may contain.
pd.set_option("mode.string_storage", "python")


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Plain text.

    Args:
        text: Text without markup.
        strong: Whether to highlight it.
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
    columns: Sequence[Column]
    items: Sequence[Any] | pd.DataFrame
    most: int | None = None
    fold: bool = False

    @property
    def values(self) -> pd.DataFrame:
        """All values, as the CSV file has them; no columns if there is no file."""
        items = self._all_items()
        return pd.DataFrame(
            {
                column.name: [column.value_of(item) for item in items]
                for column in self.columns
                if column.name is not None
            }
        )

    @property
    def shown(self) -> pd.DataFrame:
        """The texts on the page, by heading."""
        return pd.DataFrame(
            {
                column.heading: [column.text_of(value) for value in values]
                for column, values in self._shown_values()
            }
        )

    @property
    def left(self) -> list[bool]:
        """Whether each shown column is aligned left, because it holds words."""
        return [
            any(isinstance(value, str | bool) for value in values)
            for _, values in self._shown_values()
        ]

    @property
    def below(self) -> str:
        """The text below the table: its note, and how many rows the page leaves out."""
        count = len(self.items)
        if self.most is None or count <= self.most:
            return self.note
        cut = f"The first {self.most} of {count:,} rows; the CSV has all."
        return f"{self.note} {cut}" if self.note else cut

    def _all_items(self) -> Sequence[Any]:
        if not isinstance(self.items, pd.DataFrame):
            return self.items
        records: list[Any] = self.items.to_dict("records")
        return records

    def _shown_values(self) -> list[tuple[Column, list[Any]]]:
        items = self._all_items()[: self.most]
        return [
            (column, [column.value_of(item) for item in items])
            for column in self.columns
            if column.heading is not None
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A figure, written to `figures/<name>.png` and `.svg`.

    Args:
        name: File name without its ending; unique in the report.
        finding: Heading: what the figure shows, in words.
        caption: How to read it.
        draw: Return the figure for a width in inches; a phone shows a narrow one.
    """

    name: str
    finding: str
    caption: str
    draw: Callable[[float], Figure]


@dataclass(frozen=True, slots=True)
class Code:
    """Text to copy.

    Args:
        text: The lines.
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
        blocks: Content, in order.
    """

    name: str
    title: str
    blocks: list[Block]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A whole report.

    Args:
        title: Heading of the page.
        subtitle: Line below the heading.
        warning: Banner that stays in view; empty for a full report.
        sections: Chapters, in reading order.
    """

    title: str
    subtitle: str
    warning: str
    sections: list[Section]

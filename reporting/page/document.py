"""The parts of a report, whatever file it is written to."""

from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Plain text.

    Args:
        text: Without markup.
        strong: Whether it is what a reader in a hurry should read.
    """

    text: str
    strong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table, written to `tables/<name>.csv` too.

    Args:
        name: File name without its ending; unique in the report.
        caption: One line that says what it shows.
        shown: As it is read: formatted cells, column names as headings.
        values: As it is computed with, for the CSV file; None: as shown.
        fold: Whether a page may show it folded, for long ones.
    """

    name: str
    caption: str
    shown: pd.DataFrame
    values: pd.DataFrame | None = None
    fold: bool = False


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

"""Look into the blocks of a report."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.text import Text

from reporting.drawing.style import NARROW, WIDE, figure_style
from reporting.page.document import Block, Code, Document, Paragraph, Picture, Table


def tables(section: list[Block]) -> dict[str, Table]:
    return {block.name: block for block in section if isinstance(block, Table)}


def pictures(section: list[Block]) -> dict[str, Picture]:
    return {block.name: block for block in section if isinstance(block, Picture)}


def words(section: list[Block]) -> str:
    """All that can be read, outside tables."""
    parts = []
    for block in section:
        if isinstance(block, Paragraph):
            parts.append(block.text)
        if isinstance(block, Picture):
            parts += [block.finding, block.caption]
    return "\n".join(parts)


def drawn(picture: Picture, width: float = WIDE) -> Figure:
    """The figure as a report draws it, laid out."""
    with figure_style():
        figure = picture.draw(width)
        figure.draw_without_rendering()
    return figure


def every_text(document: Document) -> str:
    """All that a report says, in its tables and figures too, without writing its files."""
    parts = [document.title, document.subtitle, document.warning]
    for section in document.sections:
        parts += [section.title, words(section.blocks)]
        parts += [block.text for block in section.blocks if isinstance(block, Code)]
        for table in tables(section.blocks).values():
            parts += [table.name, table.caption, table.below]
            parts += [table.values.to_csv(), table.shown.to_csv()]
        for picture in pictures(section.blocks).values():
            parts += [picture.name, *(text.get_text() for text in drawn(picture).findobj(Text))]
    return "\n".join(parts)


def draw_all(blocks: Sequence[Block]) -> None:
    """Draw all figures, for a page and for a phone."""
    for picture in pictures(list(blocks)).values():
        for width in (WIDE, NARROW):
            drawn(picture, width)

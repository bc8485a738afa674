"""Look into the blocks of a chapter."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from reporting.drawing.style import NARROW, WIDE, figure_style
from reporting.page.document import Block, Paragraph, Picture, Table


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


def draw_all(blocks: Sequence[Block]) -> None:
    """Draw all figures, for a page and for a phone."""
    for picture in pictures(list(blocks)).values():
        for width in (WIDE, NARROW):
            drawn(picture, width)

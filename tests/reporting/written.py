"""Look into the blocks of a chapter."""

from collections.abc import Sequence

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


def draw_all(blocks: Sequence[Block]) -> None:
    for block in blocks:
        if isinstance(block, Picture):
            block.figure.draw_without_rendering()

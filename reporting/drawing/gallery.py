"""A picture of many images, each with a few words above it."""

import math
from collections.abc import Sequence
from typing import Final

from matplotlib.figure import Figure

from reporting.drawing.style import WIDTH_INCHES, new_figure
from search.data.files import Bytes

_COLUMNS: Final = 6
_GAP: Final = 0.06
# Height of the words above an image, in widths of an image: three lines.
_WORDS: Final = 0.42


def draw_gallery(images: Sequence[Bytes], words: Sequence[str]) -> Figure:
    """Draw images in rows of six.

    Args:
        images: (28, 28) uint8 each, at least one.
        words: Up to three short lines for each image.
    """
    rows = math.ceil(len(images) / _COLUMNS)
    figure, axes = new_figure(WIDTH_INCHES / _COLUMNS * rows * (1 + _WORDS))
    axes.set_axis_off()
    # One pair of axes for all: a pair for each image takes seconds to lay out.
    for index, (image, text) in enumerate(zip(images, words, strict=True)):
        row, column = divmod(index, _COLUMNS)
        top = row * (1 + _WORDS) + _WORDS
        axes.imshow(
            image,
            cmap="gray",
            vmin=0,
            vmax=255,
            extent=(column + _GAP, column + 1 - _GAP, top + 1 - 2 * _GAP, top),
        )
        axes.text(column + 0.5, top - 0.02, text, ha="center", va="bottom", fontsize=8)
    axes.set(xlim=(0, _COLUMNS), ylim=(rows * (1 + _WORDS), 0), aspect="equal")
    return figure

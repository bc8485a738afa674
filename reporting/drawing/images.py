"""Images of a data set inside figures, grey or in colour."""

from typing import Any, Final

from matplotlib.axes import Axes

from search.data.dataset import Bytes

# Classes in a figure: more are too small to read. Tables have all.
MOST_CLASSES: Final = 20


def _as_drawn(image: Bytes) -> Bytes:
    """Return (height, width, channels) pixels as `Axes.imshow` takes them: grey has no channels."""
    return image[..., 0] if image.shape[-1] == 1 else image


def draw_image(axes: Axes, image: Bytes, **options: Any) -> None:
    """Draw the pixels of an image as they are: no scaling of intensities, no smoothing.

    Args:
        axes: Where to draw.
        image: (height, width, channels) uint8.
        **options: As for `Axes.imshow`.
    """
    axes.imshow(_as_drawn(image), cmap="gray", vmin=0, vmax=255, interpolation="none", **options)

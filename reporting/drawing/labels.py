"""Names of points, written beside the axes so that they never overlap."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from reporting.drawing.style import GREY


@dataclass(frozen=True, slots=True)
class Label:
    """The name of a point.

    Args:
        text: One line.
        x: Of the point, in data coordinates.
        y: Likewise.
        bold: Whether it stands out.
    """

    text: str
    x: float
    y: float
    bold: bool = False


def label_beside(axes: Axes, labels: Sequence[Label], *, gap: float) -> None:
    """Write names right of the axes, the highest point first, each with a line to its point.

    Args:
        axes: With their final limits.
        labels: Any number that fits at this gap.
        gap: Smallest distance of two lines of text, as a share of the axes' height.
    """
    low, high = axes.get_ylim()
    ordered = sorted(labels, key=lambda label: -label.y)
    wanted = [(label.y - low) / (high - low) for label in ordered]
    for label, height in zip(ordered, _apart(wanted, gap), strict=True):
        axes.annotate(
            label.text,
            xy=(label.x, label.y),
            xytext=(1.03, height),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            fontweight="bold" if label.bold else "normal",
            arrowprops={
                "arrowstyle": "-",
                "color": GREY,
                "linewidth": 0.6,
                "alpha": 0.7,
                "relpos": (0, 0.5),
                "shrinkB": 5,
            },
        )


def _apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Falling heights as near to those wanted as fits at that distance, none below 0."""
    heights: list[float] = []
    for height in wanted:
        heights.append(min(height, heights[-1] - gap) if heights else height)
    floor = 0.0
    for index in reversed(range(len(heights))):
        heights[index] = max(heights[index], floor)
        floor = heights[index] + gap
    return heights

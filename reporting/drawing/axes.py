"""Axes: of validation accuracies, of time, and names of points beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from reporting.drawing.style import GREY

_LOW_QUANTILE: Final = 0.25
# Beyond so many points a figure is drawn as pixels: as shapes its file would be megabytes.
MANY_POINTS: Final = 1_000
_UNITS: Final = (
    (2 * 86_400.0, 86_400.0, "days"),
    (2 * 3_600.0, 3_600.0, "hours"),
    (2 * 60.0, 60.0, "minutes"),
)


def lower_end(
    values: pd.Series | npt.NDArray[np.float64], keep: float = np.inf, reach: float = 1.5
) -> float:
    """Where the axis may begin: most values lie above.

    Args:
        values: Accuracies.
        keep: One that must be on the axis.
        reach: How far below the lower quartile it may be, in distances of that from the highest.

    Returns:
        The lowest value where it is not far off, else somewhat below the lower quartile.
    """
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    quartile, top = np.quantile(known, _LOW_QUANTILE), known.max()
    lowest = float(max(known.min(), quartile - reach * (top - quartile)))
    return min(lowest, keep)


def set_accuracy_axis(axes: Axes, low: float, high: float) -> None:
    """Let the vertical axis run from `low` to `high`, in percent, with room at both ends."""
    room = max(0.06 * (high - low), 0.002)
    axes.set_ylim(low - room, high + room)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def scatter_accuracies(
    axes: Axes,
    x: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    low: float,
    **look: Any,
) -> int:
    """Points of accuracies; those below `low` as grey triangles on the axis' lower end.

    Returns:
        How many are below.
    """
    many = len(values) > MANY_POINTS
    size = 6 if many else 22
    below = values < low
    above = {"s": size, "linewidths": 0.8} | look
    axes.scatter(x[~below], values[~below], rasterized=many, **above)
    axes.scatter(
        x[below],
        np.full(int(below.sum()), low),
        marker="v",
        s=size,
        color=GREY,
        rasterized=many,
    )
    return int(below.sum())


def below_words(count: int) -> str:
    """What a caption says of the points below the axis; nothing if there are none."""
    if not count:
        return ""
    what = "1 point is" if count == 1 else f"{count} points are"
    return f" {what} below the axis (grey triangles)."


def time_unit(seconds: float) -> tuple[float, str]:
    """Seconds of the unit in which an axis of that length reads best, and the unit's name."""
    for least, length, name in _UNITS:
        if seconds >= least:
            return length, name
    return 1.0, "seconds"


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

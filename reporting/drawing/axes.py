"""Axes of accuracies and of time, and labels of points beside an axis."""

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
# From here on points are drawn as pixels: as shapes they would make megabytes of SVG.
MANY_POINTS: Final = 1_000
_UNITS: Final = (
    (2 * 86_400.0, 86_400.0, "days"),
    (2 * 3_600.0, 3_600.0, "hours"),
    (2 * 60.0, 60.0, "minutes"),
)


def lower_end(
    values: pd.Series | npt.NDArray[np.float64], keep: float = np.inf, reach: float = 1.5
) -> float:
    """Return where an axis begins, so that a few hopeless trials do not flatten the others.

    Args:
        values: Accuracies in [0, 1].
        keep: An accuracy that must be on the axis.
        reach: Largest distance below the lower quartile, in distances from there to the highest.

    Returns:
        The lowest value within reach.
    """
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    quartile, top = np.quantile(known, _LOW_QUANTILE), known.max()
    lowest = float(max(known.min(), quartile - reach * (top - quartile)))
    return min(lowest, keep)


def set_accuracy_axis(axes: Axes, low: float, high: float) -> None:
    """Set the vertical axis to percent, from `low` to `high` with room at both ends."""
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
    """Draw accuracies as points, and those below `low` as grey triangles at the lower end.

    Returns:
        Number of points below.
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
    """Return the sentence of a caption on points below the axis; empty for none."""
    if not count:
        return ""
    what = "1 point is" if count == 1 else f"{count} points are"
    return f" {what} below the axis (grey triangles)."


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the length of the unit for an axis of this length, and the unit's name."""
    for least, length, name in _UNITS:
        if seconds >= least:
            return length, name
    return 1.0, "seconds"


@dataclass(frozen=True, slots=True)
class Label:
    """The name of a point, and the point in data coordinates."""

    text: str
    x: float
    y: float
    bold: bool = False


def label_beside(axes: Axes, labels: Sequence[Label], *, gap: float) -> None:
    """Write labels to the right of the axes, in the order of their points, without overlap.

    Args:
        axes: Axes with their final limits.
        labels: As many as fit at this gap.
        gap: Smallest distance between labels, as a share of the height of the axes.
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
    """Return falling heights, none below 0, as close to those wanted as the gap allows."""
    heights: list[float] = []
    for height in wanted:
        heights.append(min(height, heights[-1] - gap) if heights else height)
    floor = 0.0
    for index in reversed(range(len(heights))):
        heights[index] = max(heights[index], floor)
        floor = heights[index] + gap
    return heights

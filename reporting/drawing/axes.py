"""Axes of accuracies and of time, and names of points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
)
from matplotlib.transforms import Bbox

from reporting.drawing.style import GREY

_LOW_QUANTILE: Final = 0.25
# From here on points are drawn as pixels: as shapes they would make megabytes of SVG.
MANY_POINTS: Final = 1_000
# Where a name may stand: points above or below its point, and sides, the best first (a Pareto front
# passes neither below on the right nor above on the left).
_DISTANCES: Final = (3, 8, 14, 20, 32, 44, 56, 68, 80, 92)
_SIDES: Final = ((1, -1), (-1, 1), (1, 0), (-1, 0), (0, -1), (0, 1), (-1, -1), (1, 1))
# Points between a name and its point from which on it needs a line.
_CLOSE: Final = 12
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
        reach: Largest distance below the lower quartile, as a multiple of its distance to the top.

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


def set_cost_axis(axes: Axes, costs: Sequence[float]) -> None:
    """Set the horizontal axis to a logarithmic scale with plain numbers and room at both ends.

    Args:
        axes: The axes.
        costs: Those to be shown; not empty. Where one is 0, the scale is linear.
    """
    cheapest, dearest = min(costs), max(costs)
    if cheapest <= 0:
        return
    axes.set_xscale("log")
    room = max((dearest / cheapest) ** 0.08, 1.25)
    low, high = cheapest / room, dearest * room
    axes.set_xlim(low, high)
    # Few enough to stand side by side.
    steps = (1.0, 2.0, 5.0) if high / low < 1000 else (1.0,)
    axes.xaxis.set_major_locator(MaxNLocator(5) if high / low < 5 else LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _short(value: float) -> str:
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.4g} {letter}"
    return f"{value:.4g}"


def scatter_accuracies(
    axes: Axes,
    x: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    low: float,
    **look: Any,
) -> None:
    """Draw accuracies as points, and those below `low` as grey triangles at the lower end."""
    many = len(values) > MANY_POINTS
    size = 6 if many else 22
    below = values < low
    above = {"s": size, "linewidths": 0.8} | look
    axes.scatter(x[~below], values[~below], rasterized=many, **above)
    axes.scatter(
        x[below],
        np.full(int(below.sum()), 0.025),
        transform=axes.get_xaxis_transform(),
        marker="v",
        s=size,
        color=GREY,
        rasterized=many,
    )


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


def label_points(figure: Figure, axes: Axes, labels: Sequence[Label]) -> None:
    """Write a name beside each point, where no other name or point is.

    A name that finds no room close to its point gets a short line to it.

    Args:
        figure: The figure of the axes.
        axes: Axes with their final limits.
        labels: One for each point.
    """
    figure.draw_without_rendering()
    pixels = figure.dpi / 72
    points = axes.transData.transform([(label.x, label.y) for label in labels])
    taken = [_box(point, np.full(2, 5.0 * pixels)) for point in points]
    for label, point in zip(labels, points, strict=True):
        name = axes.annotate(
            label.text,
            (label.x, label.y),
            (0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            fontweight="bold" if label.bold else "normal",
            arrowprops={
                "arrowstyle": "-",
                "color": GREY,
                "linewidth": 0.6,
                "shrinkA": 0,
                "shrinkB": 4,
            },
        )
        name.set_in_layout(False)
        half = np.array(Text.get_window_extent(name).size) / 2
        room = axes.bbox.min + half, axes.bbox.max - half
        places = [
            np.clip(point + np.array(side) * (half + np.array([8, distance]) * pixels), *room)
            for distance in _DISTANCES
            for side in _SIDES
        ]
        boxes = [_box(place, half) for place in places]
        gaps = [np.hypot(*(np.clip(point, box.min, box.max) - point)) / pixels for box in boxes]
        crowded = [sum(box.overlaps(other) for other in taken) for box in boxes]
        cost = [n + 0.001 * (gap // _CLOSE) for n, gap in zip(crowded, gaps, strict=True)]
        best = int(np.argmin(cost))  # the first of equals
        taken.append(boxes[best])
        name.xyann = tuple((places[best] - point) / pixels)
        if gaps[best] < _CLOSE and name.arrow_patch is not None:
            name.arrow_patch.set_visible(False)


def _box(centre: npt.NDArray[np.float64], half: npt.NDArray[np.float64]) -> Bbox:
    return Bbox([centre - half, centre + half])

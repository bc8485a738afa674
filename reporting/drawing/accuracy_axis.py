"""An axis of validation accuracies that a few hopeless trials do not flatten."""

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

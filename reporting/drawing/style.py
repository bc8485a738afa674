"""How figures look, and how numbers are written, everywhere in a report."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reporting.page.document import MISSING as MISSING
from reporting.statistics import Interval

# Source: Okabe & Ito 2008, "Color Universal Design": told apart by colour-blind readers too.
BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
GREEN: Final = "#009E73"
VERMILION: Final = "#D55E00"
PURPLE: Final = "#CC79A7"
SKY: Final = "#56B4E9"
GREY: Final = "#7F7F7F"
CYCLE: Final = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY)
STATES: Final = {"COMPLETE": BLUE, "PRUNED": ORANGE, "FAIL": VERMILION, "RUNNING": GREY}
# For accuracies, the highest dark: readable in grey and to colour-blind readers.
ACCURACIES: Final = colormaps["cividis_r"]
WIDTH_INCHES: Final = 8.0


def new_figure(height_inches: float = 3.6, **subplots: Any) -> tuple[Figure, Any]:
    """A figure of the page's width, and its axes as `Figure.subplots` gives them."""
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
    axes = figure.subplots(**subplots)
    for axis in np.ravel(np.asarray(axes, dtype=object)):
        plain(axis)
    return figure, axes


def plain(axes: Axes) -> None:
    """Take away the frame's upper and right side, and put a faint grid behind everything."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def percent(value: float | None, digits: int = 2) -> str:
    """0.9412 as `94.12 %`; a dash for a value that is missing."""
    if value is None or not np.isfinite(value):
        return MISSING
    return f"{100 * value:.{digits}f} %"


def points(value: float, digits: int = 2) -> str:
    """A difference of two accuracies, 0.021 as `+2.10`."""
    return f"{100 * value:+.{digits}f}"


def spread(interval: Interval | None) -> str:
    """`94.12 % ± 0.10` (standard deviation over seeds), or the mean alone for one seed."""
    if interval is None:
        return MISSING
    if interval.sd is None:
        return percent(interval.mean)
    return f"{percent(interval.mean)} ± {100 * interval.sd:.2f}"


def bounds(interval: Interval | None) -> str:
    """`93.90 to 94.34 %`, the 95 % interval of a mean; a dash for one seed."""
    if interval is None or interval.low is None or interval.high is None:
        return MISSING
    return f"{100 * interval.low:.2f} to {100 * interval.high:.2f} %"


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def counted(count: int, noun: str) -> str:
    """Return `1 trial`, `1,200 trials`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"

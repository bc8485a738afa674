"""The look of all figures, and the format of all numbers."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from reporting.page.document import MISSING as MISSING
from reporting.statistics import Interval

# Source: Okabe & Ito 2008, "Color Universal Design": told apart by colour-blind readers too.
BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
GREEN: Final = "#009E73"
VERMILION: Final = "#D55E00"
GREY: Final = "#7F7F7F"
STATES: Final = {"COMPLETE": BLUE, "PRUNED": ORANGE, "FAIL": VERMILION, "RUNNING": GREY}
# For accuracies, the highest dark: readable in grey and to colour-blind readers.
ACCURACIES: Final = colormaps["cividis_r"]
WIDTH_INCHES: Final = 8.0


def new_figure(height_inches: float = 3.6, **subplots: Any) -> tuple[Figure, Any]:
    """Return a figure as wide as the page, and its axes as from `Figure.subplots`."""
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
    axes = figure.subplots(**subplots)
    for axis in np.ravel(np.asarray(axes, dtype=object)):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
        axis.set_axisbelow(True)
    return figure, axes


def percent(value: float | None, digits: int = 2) -> str:
    """Return 0.9412 as `94.12 %`, and a missing value as a dash."""
    if value is None or not np.isfinite(value):
        return MISSING
    return f"{100 * value:.{digits}f} %"


def points(value: float, digits: int = 2) -> str:
    """Return a difference of two accuracies, 0.021 as `+2.10`."""
    return f"{100 * value:+.{digits}f}"


def spread(interval: Interval | None) -> str:
    """Return `94.12 % ± 0.10` (standard deviation over seeds), or the mean alone for one seed."""
    if interval is None:
        return MISSING
    if interval.sd is None:
        return percent(interval.mean)
    return f"{percent(interval.mean)} ± {100 * interval.sd:.2f}"


def bounds(interval: Interval | None) -> str:
    """Return the 95 % interval of a mean, `93.90 to 94.34 %`; a dash for one seed."""
    if interval is None or interval.low is None or interval.high is None:
        return MISSING
    return f"{100 * interval.low:.2f} to {100 * interval.high:.2f} %"


def listed(words: Sequence[str]) -> str:
    """Return `a, b and c`."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def counted(count: int, noun: str) -> str:
    """Return `1 trial`, `1,200 trials`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"

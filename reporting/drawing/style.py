"""The look of all figures, and the format of all numbers."""

import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from reporting.page.document import MISSING as MISSING
from reporting.statistics import Interval

# Width of a figure in inches, on a page and on a phone.
WIDE: Final = 8.0
NARROW: Final = 4.0

INK: Final = "#000000"
GROUND: Final = "#ffffff"
# Source: Okabe & Ito 2008, "Color Universal Design": told apart by colour-blind readers too.
BLUE: Final = "#0072b2"
ORANGE: Final = "#e69f00"
GREEN: Final = "#009e73"
VERMILION: Final = "#d55e00"
GREY: Final = "#7f7f7f"
STATES: Final = {"COMPLETE": BLUE, "PRUNED": ORANGE, "FAIL": VERMILION, "RUNNING": GREY}
# Each color on a dark page. Figures have no other colors, except in photographs.
DARK: Final = {
    INK: "#e6e8eb",
    GROUND: "#16181c",
    BLUE: "#56b4e9",
    ORANGE: "#e69f00",
    GREEN: "#2fc79a",
    VERMILION: "#ff8a4c",
    GREY: "#9aa1ab",
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw and save the figures of a report in this context."""
    with (
        matplotlib.rc_context(
            {
                # Names may hold the `$` of formulas.
                "text.parse_math": False,
                "svg.fonttype": "none",
                # Ids from the content: the same report gives the same file.
                "svg.hashsalt": "report",
                "font.size": 9,
                "legend.frameon": False,
                "grid.color": GREY,
                "grid.alpha": 0.25,
            }
        ),
        warnings.catch_warnings(),
    ):
        # Names may hold characters that the font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _shades(*stops: tuple[float, str, float]) -> LinearSegmentedColormap:
    """Return a colormap from places in [0, 1], colors and opacities."""
    colors = [(place, (*to_rgb(color), opacity)) for place, color, opacity in stops]
    return LinearSegmentedColormap.from_list("shades", colors)


# For the cells of a table: clear enough for text in ink, on a dark page too.
SHADES: Final = _shades((0, BLUE, 0), (1, BLUE, 0.55))
WORSE_TO_BETTER: Final = _shades(
    (0, ORANGE, 0.55), (0.5, ORANGE, 0), (0.5, BLUE, 0), (1, BLUE, 0.55)
)


def new_figure(width: float, height: float = 3.6, **subplots: Any) -> tuple[Figure, Any]:
    """Return a figure of a size in inches, and its axes as from `Figure.subplots`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(**subplots)
    for axis in np.ravel(np.asarray(axes, dtype=object)):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(visible=True)
        axis.set_axisbelow(True)
    return figure, axes


def is_narrow(width: float) -> bool:
    """Return whether a figure of this width is for a phone."""
    return width <= NARROW


def legend_above(figure: Figure, handles: Sequence[Any] | None = None) -> Legend:
    """Write the legend above the axes, in as many columns as fit."""
    if handles is None:
        handles, labels = figure.axes[0].get_legend_handles_labels()
    else:
        labels = [str(handle.get_label()) for handle in handles]
    # Widths in inches of a letter, and of a handle with its gaps.
    widest = 0.07 * max(map(len, labels), default=0) + 0.5
    columns = max(1, min(len(labels), int(figure.get_figwidth() / widest)))
    return figure.legend(
        handles, labels, loc="outside upper left", ncols=columns, fontsize=8, borderaxespad=0.2
    )


def wrapped(text: str, longest: int) -> str:
    """Break text into lines."""
    return textwrap.fill(text, longest, break_on_hyphens=False)


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

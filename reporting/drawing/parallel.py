"""Parallel coordinates: trials as lines over hyperparameters, coloured by their accuracy."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from reporting.dimensions import Dimension, brief
from reporting.drawing.axes import lower_end
from reporting.drawing.style import BLUE, GROUND, INK, VERMILION, is_narrow, new_figure, percent

_UNUSED: Final = -0.18
_LONGEST_NAME: Final = 20
_NARROW_AXES: Final = 3


def draw_parallel(
    width: float, params: pd.DataFrame, values: pd.Series, shown: Sequence[Dimension], best: int
) -> Figure:
    """Draw one axis for each hyperparameter, and one for the accuracy.

    Args:
        params: Hyperparameter values by trial number.
        values: Accuracies in [0, 1] by trial number, highest first.
        shown: From left to right; a narrow figure has room for the first three.
        best: Number of trials drawn thick.
    """
    shown = shown[:_NARROW_AXES] if is_narrow(width) else shown
    low, high = lower_end(values), float(values.max())
    places = pd.DataFrame(
        {dimension.name: dimension.positions(params[dimension.name]) for dimension in shown}
    ).loc[values.index]
    unused = places.isna()
    places = places.fillna(_UNUSED)
    # Lines through the same choice would hide each other.
    shift = np.linspace(-0.025, 0.025, len(values))
    for dimension in shown:
        if not dimension.numeric:
            places[dimension.name] += shift
    norm = Normalize(low, high, clip=True) if high > low else Normalize(low - 1, high)
    heights = np.asarray(norm(values.to_numpy(float)))
    lines = np.column_stack([places.to_numpy(float), heights])
    figure, axes = new_figure(width, 4.2)
    axes.grid(visible=False)
    for rank in reversed(range(len(lines))):
        thick = 2.4 if rank == 0 else 1.6 if rank < best else 0.8
        color = VERMILION if rank < best else (BLUE, 0.15 + 0.5 * heights[rank])
        axes.plot(lines[rank], marker=".", markersize=4, color=color, linewidth=thick)
    for index, dimension in enumerate(shown):
        labels = dimension.ticks()
        if unused[dimension.name].any():
            labels |= {_UNUSED: "not used"}
        _label_axis(axes, index, labels)
    ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    _label_axis(axes, len(shown), {float(norm(tick)): percent(tick, 1) for tick in ticks})
    axes.set_xlim(-0.2, len(shown) + 0.5)
    axes.set_ylim(-0.26 if unused.to_numpy().any() else -0.08, 1.06)
    names = [_two_lines(brief(dimension.name, _LONGEST_NAME)) for dimension in shown]
    axes.set_xticks(range(len(shown) + 1), [*names, "validation\naccuracy"], fontsize=8)
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    return figure


def _label_axis(axes: Axes, index: int, labels: dict[float, str]) -> None:
    axes.vlines(index, 0, 1, color=INK, linewidth=0.8)
    for place, label in labels.items():
        text = axes.text(index + 0.05, place, label, fontsize=8, va="center", zorder=5)
        text.set_path_effects([withStroke(linewidth=2.5, foreground=GROUND)])


def _two_lines(name: str) -> str:
    """Break a long name at the underscore nearest to its middle."""
    if len(name) <= 12:
        return name
    middle = len(name) // 2
    breaks = [place + 1 for place, sign in enumerate(name[:-1]) if sign == "_"] or [middle]
    place = min(breaks, key=lambda place: abs(place - middle))
    return f"{name[:place]}\n{name[place:]}"

"""Validation accuracy of complete trials by the values of a hyperparameter."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from reporting.dimensions import Dimension, brief, short
from reporting.drawing.axes import lower_end, scatter_accuracies, set_accuracy_axis
from reporting.drawing.style import BLUE, GROUND, ORANGE, VERMILION, is_narrow, new_figure
from reporting.study_tables import Record

_LONGEST_NAME: Final = 30
# Above this many labels they are slanted.
_MOST_UPRIGHT: Final = 4


def draw_slices(width: float, record: Record, shown: Sequence[Dimension]) -> Figure:
    """Draw one panel for each hyperparameter, with a star at the best trial."""
    values = _values(record)
    low, high = lower_end(values), float(values.max())
    columns = 1 if is_narrow(width) else 2
    rows = -(-len(shown) // columns)
    figure, _ = new_figure(
        width, 0.3 + 2.3 * rows, nrows=rows, ncols=columns, squeeze=False, sharey=True
    )
    for axes, dimension in zip(figure.axes, shown, strict=False):
        _panel(axes, dimension, record.params[dimension.name], values, low)
        set_accuracy_axis(axes, low, high)
    for axes in figure.axes[len(shown) :]:
        axes.set_axis_off()
    for axes in figure.axes[: len(shown) : columns]:
        axes.set_ylabel(record.measure)
    return figure


def points_below(record: Record, shown: Sequence[Dimension]) -> int:
    """Return the number of points of `draw_slices` that are below its axes."""
    values = _values(record)
    low = values[values < lower_end(values)].index
    return int(record.params.loc[low, [dimension.name for dimension in shown]].count().sum())


def _values(record: Record) -> pd.Series:
    return record.complete["value"].dropna().astype(float)


def _panel(
    axes: Axes, dimension: Dimension, params: pd.Series, values: pd.Series, low: float
) -> None:
    have = params.loc[values.index].dropna()
    y = values.loc[have.index]
    axes.set_xlabel(f"{brief(dimension.name, _LONGEST_NAME)} (n = {len(have)})")
    if dimension.numeric and not dimension.few_integers:
        x = have.astype(float)
        _number_axis(axes, dimension)
    else:
        cells, labels = dimension.cells(have)
        for cell, group in y.groupby(cells):
            axes.hlines(group.median(), cell - 0.3, cell + 0.3, color=ORANGE, linewidth=2.5)
        x = cells + np.random.default_rng(0).uniform(-0.18, 0.18, len(cells))
        counts = cells.value_counts()
        named = [f"{label}\nn = {counts.get(cell, 0)}" for cell, label in enumerate(labels)]
        slant: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
        many = len(labels) > _MOST_UPRIGHT
        axes.set_xticks(range(len(labels)), named, fontsize=8, **(slant if many else {}))
        axes.set_xlim(-0.5, len(labels) - 0.5)
    scatter_accuracies(axes, x.to_numpy(float), y.to_numpy(float), low, color=BLUE, alpha=0.6)
    if values.index[0] in x.index:
        star = x.loc[values.index[0]], values.iloc[0]
        axes.scatter(*star, marker="*", s=140, color=VERMILION, edgecolor=GROUND, zorder=4)


def _number_axis(axes: Axes, dimension: Dimension) -> None:
    if not dimension.log:
        axes.xaxis.set_major_locator(MaxNLocator(integer=dimension.whole, nbins=6))
        return
    axes.set_xscale("log")
    steps = (1, 2, 5) if dimension.high <= 100 * dimension.low else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(lambda value, _: short(float(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())

"""What mattered: importance of each hyperparameter, slices, pairs, and what the best share."""

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter

from reporting.analysis.importances import EVALUATOR, LEAST_TRIALS, Importances, importances
from reporting.dimensions import Dimension, brief, dimensions, short
from reporting.drawing.axes import (
    below_words,
    lower_end,
    scatter_accuracies,
    set_accuracy_axis,
)
from reporting.drawing.choices import choice_blocks
from reporting.drawing.landscape import pair_map, parallel_coordinates
from reporting.drawing.style import BLUE, ORANGE, VERMILION, new_figure, percent, plain
from reporting.evidence import Evidence
from reporting.page.document import Block, Paragraph, Picture, Table
from reporting.study_tables import Record

_FEW: Final = 50
_MOST_BARS: Final = 15
_SLICES: Final = 4
_LONGEST_NAME: Final = 30


def blocks(evidence: Evidence) -> list[Block]:
    """Importances with their spread, then accuracies by the values that matter most."""
    record = evidence.record
    found = importances(record)
    known = dimensions(record)
    written: list[Block] = []
    complete = int((record.trials["state"] == "COMPLETE").sum())
    if complete < _FEW:
        written.append(
            Paragraph(
                f"Only {complete} complete trial{'s' if complete > 1 else ''}: with fewer than "
                f"{_FEW} all of this chapter is a hint, not a finding.",
                strong=True,
            )
        )
    if found is None:
        written.append(
            Paragraph(
                f"Importance cannot be computed: it takes {LEAST_TRIALS} complete trials that "
                "differ in accuracy and in some hyperparameter."
            )
        )
    else:
        names = [str(name) for name in found.table.index]
        written += [_bars(found), _table(found), Paragraph(_method(found))]
        written.append(_slices(record, [known[name] for name in names[:_SLICES]]))
        written += pair_map(record, [known[name] for name in names])
        written.append(parallel_coordinates(record, [known[name] for name in names]))
    written += choice_blocks(record, known)
    return written


def _method(found: Importances) -> str:
    text = (
        f"Evaluator: {EVALUATOR}. It asks which hyperparameters are distributed differently among "
        f"the best {found.top} than among all {found.trials} complete trials; a conditional one "
        "is compared among the trials that have it. The method itself is not random; its spread "
        f"is that over {found.draws} bootstrap draws of the trials (5 to 95 %). Pruned trials are "
        "left out, since accuracies after fewer epochs cannot be ranked with final ones, so this "
        "is about trials that were good enough not to be pruned. It shows what goes along with "
        "high accuracy in this search, which is not proof of a cause."
    )
    if found.trials < found.complete:
        text += f" Used: {found.trials} drawn at random of {found.complete} complete trials."
    return text


def _bars(found: Importances) -> Picture:
    rows = found.table.head(_MOST_BARS).iloc[::-1]
    figure, axes = new_figure(0.9 + 0.24 * len(rows))
    places = np.arange(len(rows))
    axes.barh(places, rows["share"], color=BLUE, height=0.65)
    axes.hlines(places, rows["low"], rows["high"], color="black", linewidth=1.2)
    ends = np.concatenate([rows["low"], rows["high"]])
    axes.plot(ends, np.tile(places, 2), linestyle="none", marker="|", color="black")
    labels = [f"{brief(str(name), _LONGEST_NAME)} ({row.n:.0f})" for name, row in rows.iterrows()]
    axes.set_yticks(places, labels, fontsize=8)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlim(left=0)
    axes.set_xlabel("share of the importance of all hyperparameters")
    axes.grid(axis="y", visible=False)
    first = found.table.iloc[0]
    name = found.table.index[0]
    apart = len(found.table) == 1 or first["low"] > found.table["high"].iloc[1:].max()
    finding = f"{name} mattered most, with {percent(first['share'], 0)} of the importance"
    if not apart:
        finding += ", but the spreads overlap: the order is not certain"
    return Picture(
        name="importance",
        finding=finding,
        caption="Bars: share of importance; black lines: 5 to 95 % over bootstrap draws; in "
        "brackets: complete trials that have the hyperparameter."
        + (
            f" The first {len(rows)} of {len(found.table)}." if len(found.table) > len(rows) else ""
        ),
        figure=figure,
    )


def _table(found: Importances) -> Table:
    values = found.table.reset_index()
    shown = pd.DataFrame(
        {
            "hyperparameter": values["hyperparameter"],
            "share": [percent(value, 1) for value in values["share"]],
            "5 to 95 %": [
                f"{100 * row.low:.1f} to {100 * row.high:.1f} %" for row in values.itertuples()
            ],
            "n": values["n"],
        }
    )
    caption = "Importance of all hyperparameters, and its spread over bootstrap draws"
    return Table(name="importance", caption=caption, shown=shown, values=values, fold=True)


def _slices(record: Record, shown: list[Dimension]) -> Picture:
    complete = record.complete.dropna(subset="value")
    values = complete["value"].astype(float)
    low, high = lower_end(values), float(values.max())
    rows = (len(shown) + 1) // 2
    figure, _ = new_figure(0.6 + 2.4 * rows, nrows=rows, ncols=2, squeeze=False, sharey=True)
    best, below = int(values.index[0]), 0
    for axes, dimension in zip(figure.axes, shown, strict=False):
        below += _slice(axes, dimension, record.params[dimension.name], values, low)
        set_accuracy_axis(axes, low, high)
    for axes in figure.axes[len(shown) :]:
        axes.set_axis_off()
    for axes in figure.axes[: len(shown) : 2]:
        axes.set_ylabel("validation accuracy")
    had = [d.name for d in shown if pd.notna(record.params.at[best, d.name])]
    values_words = ", ".join(f"{name} {short(record.params.at[best, name])}" for name in had)
    return Picture(
        name="importance-slices",
        finding=f"The best trial, {best}, has {values_words or 'none of these'}",
        caption="Complete trials by each of the most important hyperparameters; star: the best "
        "trial; short lines: medians of choices. Other hyperparameters vary as well."
        + below_words(below),
        figure=figure,
    )


def _slice(
    axes: Axes, dimension: Dimension, params: pd.Series, values: pd.Series, low: float
) -> int:
    have = params.loc[values.index].dropna()
    y = values.loc[have.index]
    axes.set_title(f"{brief(dimension.name, _LONGEST_NAME)} (n = {len(have)})", fontsize=9)
    if dimension.numeric:
        x = have.astype(float)
        if dimension.log:
            _log_axis(axes, dimension)
        elif dimension.whole:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    else:
        cells, labels = dimension.cells(have)
        for cell, group in y.groupby(cells):
            axes.hlines(group.median(), cell - 0.3, cell + 0.3, color=ORANGE, linewidth=2.5)
        x = cells + np.random.default_rng(0).uniform(-0.18, 0.18, len(cells))
        small = len(labels) > 4
        axes.set_xticks(
            range(len(labels)),
            labels,
            fontsize=7 if small else 8,
            rotation=30 if small else 0,
            ha="right" if small else "center",
        )
        axes.set_xlim(-0.5, len(labels) - 0.5)
    below = scatter_accuracies(
        axes, x.to_numpy(float), y.to_numpy(float), low, color=BLUE, alpha=0.6
    )
    if values.index[0] in x.index:
        star = x.loc[values.index[0]], values.iloc[0]
        axes.scatter(*star, marker="*", s=140, color=VERMILION, edgecolor="white", zorder=4)
    plain(axes)
    return below


def _log_axis(axes: Axes, dimension: Dimension) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    if dimension.high < 100 * dimension.low:
        # Powers of ten are too few to read it by.
        ticks = [dimension.at(index / 4) for index in range(5)]
        axes.set_xticks(ticks, [short(round(t) if dimension.whole else t) for t in ticks])

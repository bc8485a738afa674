"""What mattered: the importance of each hyperparameter, and accuracy by their values."""

import copy
import math
import warnings
from collections.abc import Container, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import optuna
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from reporting.chapters import regularization
from reporting.dimensions import Dimension, brief, dimensions, short
from reporting.drawing.axes import below_words, lower_end
from reporting.drawing.parallel import draw_parallel
from reporting.drawing.slices import draw_slices, points_below
from reporting.drawing.style import BLUE, GROUND, SHADES, is_narrow, new_figure, percent
from reporting.evidence import Evidence
from reporting.page.document import Block, Column, Paragraph, Picture, Table
from reporting.study_tables import Record
from search.study.front import value_of
from search.words import listed

_FEW: Final = 50
_MOST_ROWS: Final = 15
_SLICES: Final = 4
_LONGEST_NAME: Final = 30
_LONGEST_NARROW: Final = 18

_MOST_TRIALS: Final = 2_000
_MOST_DRAWS: Final = 40
_LEAST_DRAWS: Final = 5
# Total over all draws, which takes about one second.
_DRAWN_TRIALS: Final = 5_000
# Optuna's documentation asks for five or more trials above the target quantile.
_LEAST_TOP: Final = 5
_QUANTILE: Final = 0.1
_DRAWN: Final = 0.8  # of the trials, in each draw

_MOST_AXES: Final = 7
_MOST_LINES: Final = 200
_LEAST_BEST: Final = 5
_MOST_BEST: Final = 10


def blocks(evidence: Evidence) -> list[Block]:
    """Importance of all hyperparameters, then accuracy by the values of the first."""
    record = evidence.record
    found = importances(record)
    if found is None:
        return [
            Paragraph(
                "Importance cannot be computed: it needs complete trials that differ in accuracy "
                "and in some hyperparameter."
            )
        ]
    written: list[Block] = []
    if found.complete < _FEW:
        written.append(
            Paragraph(
                f"With {found.complete} complete trials this chapter gives hints, not findings; "
                f"from {_FEW} on it is worth acting on.",
                strong=True,
            )
        )
    known = dimensions(record)
    ordered = [known[name] for name in found.table.index]
    written += [_importance_picture(found), _importance_table(found), Paragraph(_method(found))]
    written += _slices(record, ordered)
    written += _pair(record, ordered)
    written.append(_parallel(record, ordered))
    return written


# Importance


@dataclass(frozen=True, slots=True, kw_only=True)
class Importances:
    """Shares of importance of all hyperparameters, which sum to 1.

    Args:
        table: By name, the highest `median` first: `share` over all trials used; `median`, `low`
            and `high` (50, 5 and 95 % points) over draws of 80 % of them; `n`, the trials that have
            the hyperparameter.
        trials: Number of complete trials used.
        complete: Number of complete trials in the study.
        top: Number of best trials compared with all, with those equal to the last of them.
        draws: Number of draws.
    """

    table: pd.DataFrame
    trials: int
    complete: int
    top: int
    draws: int


def importances(record: Record) -> Importances | None:
    """Return which hyperparameters tell the best complete trials from all complete trials.

    Pruned trials are left out: their accuracy after fewer epochs cannot be ranked with final ones.
    Conditional hyperparameters are compared among the trials that have them.

    Returns:
        None where all trials are equally good, or do not differ in any hyperparameter.
    """
    complete = [
        _with_accuracy(trial)
        for trial in record.frozen
        if trial.state == TrialState.COMPLETE and math.isfinite(value_of(trial))
    ]
    rng = np.random.default_rng(0)
    used = complete
    if len(complete) > _MOST_TRIALS:
        chosen = sorted(rng.choice(len(complete), _MOST_TRIALS, replace=False))
        used = [complete[index] for index in chosen]
    if len({trial.value for trial in used}) < 2:
        return None
    top = max(math.ceil(_QUANTILE * len(used)), min(_LEAST_TOP, len(used) // 2))
    shares = _shares(used, top)
    if shares.empty or shares.nunique() == 1:
        return None
    draws = max(_LEAST_DRAWS, min(_MOST_DRAWS, _DRAWN_TRIALS // len(used)))
    # Not with replacement: the best of such a draw are mostly copies of a few trials.
    size = math.ceil(_DRAWN * len(used))
    part = max(1, round(top * _DRAWN))
    drawn = pd.DataFrame(
        [
            _shares([used[index] for index in rng.choice(len(used), size, replace=False)], part)
            for _ in range(draws)
        ],
        columns=shares.index,
    ).fillna(0.0)
    values = sorted((trial.value or 0.0 for trial in used), reverse=True)
    table = pd.DataFrame(
        {
            "share": shares,
            "median": drawn.median(),
            "low": drawn.quantile(0.05),
            "high": drawn.quantile(0.95),
            "n": [sum(name in trial.params for trial in used) for name in shares.index],
        }
    )
    return Importances(
        table=table.sort_values(["median", "share"], ascending=False, kind="stable"),
        trials=len(used),
        complete=len(complete),
        top=sum(value >= values[top - 1] for value in values),
        draws=draws,
    )


def _with_accuracy(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial whose only value is the first one, which is maximized."""
    if len(trial.values) == 1:
        return trial
    single = copy.copy(trial)
    single.values = [value_of(trial)]
    return single


def _shares(trials: list[FrozenTrial], top: int) -> pd.Series:
    # Half a trial less than `top`, so that rounding cannot take in one more.
    evaluator = PedAnovaImportanceEvaluator(target_quantile=(top - 0.5) / len(trials))
    with warnings.catch_warnings():
        # About conditional hyperparameters that one trial has: they count as unimportant.
        warnings.simplefilter("ignore")
        found = get_param_importances(_Sample(trials), evaluator=evaluator)
    return pd.Series(found, dtype=float)


class _Sample(optuna.Study):
    """A study of given trials."""

    def __init__(self, trials: list[FrozenTrial]) -> None:
        storage = optuna.storages.InMemoryStorage()
        study = optuna.create_study(storage=storage, direction="maximize")
        super().__init__(study.study_name, storage)
        self._sample = trials

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """See `optuna.Study`."""
        return [trial for trial in self._sample if states is None or trial.state in states]


def _importance_finding(found: Importances) -> str:
    table = found.table
    first = table.iloc[0]
    range_ = f"{100 * first['low']:.0f} to {100 * first['high']:.0f} %"
    if len(table) == 1 or first["low"] > table["high"].iloc[1:].max():
        return (
            f"{table.index[0]} mattered most: {percent(first['median'], 0)} of the importance "
            f"({range_})"
        )
    rivals = table.index[table["high"] >= first["low"]].tolist()
    if len(rivals) > _SLICES:
        return (
            f"Which hyperparameter mattered most is uncertain: {rivals[0]} ({range_}) overlaps "
            f"with {len(rivals) - 1} others"
        )
    return f"{listed(rivals)} mattered most; their order is uncertain"


def _importance_picture(found: Importances) -> Picture:
    rows = found.table.head(_MOST_ROWS).iloc[::-1]
    caption = (
        f"Point: median over {found.draws} draws of 80 % of the trials; line: 5 to 95 %. In "
        "brackets: complete trials that have the hyperparameter."
    )
    if len(found.table) > len(rows):
        caption += f" The first {len(rows)} of {len(found.table)}."
    return Picture(
        name="importance",
        finding=_importance_finding(found),
        caption=caption,
        draw=lambda width: _draw_importance(width, rows),
    )


def _draw_importance(width: float, rows: pd.DataFrame) -> Figure:
    figure, axes = new_figure(width, 0.9 + 0.24 * len(rows))
    places = np.arange(len(rows))
    axes.hlines(places, rows["low"], rows["high"], color=BLUE, linewidth=2.5, alpha=0.4)
    axes.plot(rows["median"], places, "o", color=BLUE, markersize=6)
    longest = _LONGEST_NARROW if is_narrow(width) else _LONGEST_NAME
    labels = [f"{brief(str(name), longest)} ({row.n:.0f})" for name, row in rows.iterrows()]
    axes.set_yticks(places, labels, fontsize=8)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_xlim(left=0)
    axes.set_xlabel("share of the importance")
    return figure


def _importance_table(found: Importances) -> Table:
    return Table(
        name="importance",
        caption="Share of the importance: over all trials, and over draws of 80 % of them",
        columns=[
            Column("hyperparameter", "hyperparameter"),
            Column("share", "all trials", format=lambda share: percent(share, 1)),
            Column("median", "median", format=lambda share: percent(share, 1)),
            Column("low", "5 %", format=lambda share: percent(share, 1)),
            Column("high", "95 %", format=lambda share: percent(share, 1)),
            Column("n", "n"),
        ],
        items=found.table.rename_axis("hyperparameter").reset_index(),
        fold=True,
    )


def _method(found: Importances) -> str:
    text = (
        "Method: conditional PED-ANOVA (optuna.importance.PedAnovaImportanceEvaluator). It "
        f"compares the values among the best {found.top} with those among all {found.trials} "
        "complete trials; a conditional hyperparameter is compared among the trials that have it. "
        "All others are left out, because accuracies after different numbers of epochs cannot be "
        "ranked. Importance is correlation within this search, not proof of a cause."
    )
    if found.trials < found.complete:
        text += f" Used: {found.trials} random trials of {found.complete} complete ones."
    return text


# Accuracy by the values of one hyperparameter, of two, and of all


def _slices(record: Record, ordered: list[Dimension]) -> Iterator[Block]:
    others = [dimension for dimension in ordered if not regularization.covers(dimension.name)]
    shown = others[:_SLICES]
    if not shown:
        return
    best = int(record.complete.index[0])
    had = [d.name for d in shown if pd.notna(record.params.at[best, d.name])]
    values = ", ".join(f"{name} {short(record.params.at[best, name])}" for name in had)
    elsewhere = (
        " Batch normalization and dropout have their own chapter."
        if len(others) < len(ordered)
        else ""
    )
    yield Picture(
        name="importance-slices",
        finding=f"The best trial, {best}, has {values or 'none of these'}",
        caption="Complete trials by the most important hyperparameters; star: the best trial; "
        f"short lines: medians. The other hyperparameters vary as well.{elsewhere}"
        + below_words(points_below(record, shown)),
        draw=lambda width: draw_slices(width, record, shown),
    )


def _pair(record: Record, ordered: list[Dimension]) -> Iterator[Block]:
    """Median accuracy by two hyperparameters: the first pair with several trials in most cells."""
    values = record.complete["value"].dropna().astype(float)
    params = record.params.loc[values.index]
    for across, up in combinations(ordered, 2):
        x, x_labels = across.cells(params[across.name])
        y, y_labels = up.cells(params[up.name])
        grouped = values.groupby([y, x]).agg(["median", "size"])
        if len(grouped) > 1 and grouped["size"].median() > 1:
            break
    else:
        return
    row, column = grouped[grouped["size"] > 1]["median"].idxmax()
    words = [
        labels[int(cell)].replace("\n", " ")
        for labels, cell in ((x_labels, column), (y_labels, row))
    ]
    yield Picture(
        name="importance-pair",
        finding=f"The highest median of two or more trials is at {across.name} {words[0]} and "
        f"{up.name} {words[1]} (n = {grouped.loc[(row, column), 'size']:.0f})",
        caption=f"Median {record.measure}, in percent, of the complete trials in each cell; the "
        "stronger the color, the higher; empty: no trials. Shown for "
        "the most important pair that has two or more trials in most cells.",
        draw=lambda width: _draw_pair(
            width, grouped, (brief(across.name, 40), x_labels), (brief(up.name, 30), y_labels)
        ),
    )


def _draw_pair(
    width: float, grouped: pd.DataFrame, x: tuple[str, list[str]], y: tuple[str, list[str]]
) -> Figure:
    """Draw a cell for each pair of values.

    Args:
        width: Width in inches.
        grouped: `median` and `size` by row and column.
        x: Name of the horizontal axis, and those of its cells.
        y: The same of the vertical axis.
    """
    narrow = is_narrow(width)
    (x_name, x_labels), (y_name, y_labels) = x, y
    figure, axes = new_figure(width, min(1.5 + 0.5 * len(y_labels), 6.0))
    axes.grid(visible=False)
    low, high = lower_end(grouped["median"]), float(grouped["median"].max())
    norm = Normalize(low - 0.2 * (high - low), high)  # the lowest one must not look empty
    medians = np.full((len(y_labels), len(x_labels)), np.nan)
    for (row, column), cell in grouped.iterrows():
        medians[int(row), int(column)] = cell["median"]
        axes.text(
            column + 0.5,
            row + 0.5,
            f"{100 * cell['median']:.1f}{'' if narrow else ' %'}\nn = {cell['size']:.0f}",
            ha="center",
            va="center",
            fontsize=8,
        )
    axes.pcolormesh(medians.clip(low), cmap=SHADES, norm=norm, edgecolors=GROUND, linewidth=0.5)
    slant = 90 if narrow and any("\n" in label for label in x_labels) else 0
    axes.set_xticks(np.arange(len(x_labels)) + 0.5, x_labels, fontsize=8, rotation=slant)
    axes.set_yticks(np.arange(len(y_labels)) + 0.5, y_labels, fontsize=8)
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
    return figure


def _parallel(record: Record, ordered: list[Dimension]) -> Picture:
    shown = ordered[:_MOST_AXES]
    values = record.complete["value"].dropna().astype(float)
    count = min(max(_LEAST_BEST, round(0.1 * len(values))), _MOST_BEST, len(values))
    drawn = values.head(_MOST_LINES)
    caption = (
        "One line for each complete trial, over the most important hyperparameters from left to "
        f"right; the stronger the colour, the more accurate. Red: the best {count}."
    )
    if len(drawn) < len(values):
        caption += f" Drawn: the best {_MOST_LINES}."
    low = lower_end(drawn)
    if drawn.min() < low:
        caption += f" Trials below {percent(low, 1)} end at the foot."
    return Picture(
        name="importance-parallel",
        finding=f"The best {count} of {len(values)} complete trials "
        f"({percent(values.iloc[count - 1])} to {percent(values.iloc[0])}) "
        f"{_agreement(record, values.index[:count], shown)}",
        caption=caption,
        draw=lambda width: draw_parallel(width, record.params, drawn, shown, count),
    )


def _agreement(record: Record, best: pd.Index, shown: list[Dimension]) -> str:
    same = []
    for dimension in shown:
        chosen = record.params.loc[best, dimension.name]
        if not dimension.numeric and chosen.notna().all() and chosen.nunique() == 1:
            same.append(f"{dimension.name} {short(chosen.iloc[0])}")
    return f"share {listed(same)}" if same else "have no choice in common"

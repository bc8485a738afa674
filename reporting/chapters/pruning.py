"""Was pruning fair: how early and final accuracies agree, and which trials were stopped."""

from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from scipy.stats import kendalltau, spearmanr

from reporting.drawing.axes import MANY_POINTS, lower_end, set_accuracy_axis
from reporting.drawing.style import (
    BLUE,
    GREY,
    INK,
    STATES,
    VERMILION,
    legend_above,
    new_figure,
    percent,
)
from reporting.evidence import Evidence
from reporting.page.document import Block, Column, Paragraph, Picture, Table
from reporting.study_tables import Record
from search.words import counted, listed

# Source: DeepCAVE's documentation, plugin "Budget Correlation": "very strong" from here on.
_TRUSTED: Final = 0.70
_LOOK: Final = {
    "COMPLETE": {"colors": STATES["COMPLETE"], "linestyles": "solid"},
    "PRUNED": {"colors": STATES["PRUNED"], "linestyles": "dashed"},
}


def blocks(evidence: Evidence) -> list[Block]:
    """Learning curves, rank correlations with the end, and trials stopped in the upper half."""
    record = evidence.record
    stopped, ranks = stopped_trials(record), rank_correlations(record)
    known = ranks.dropna(subset="spearman")
    written: list[Block] = [Paragraph(_verdict(record, stopped, known), strong=True)]
    if record.curves.notna().to_numpy().any():
        written.append(_curves(record, stopped))
    if len(known):
        written += [_correlations(known), _correlation_table(ranks)]
    if len(stopped):
        written += [_stopped_table(stopped), Paragraph(_hindsight(len(stopped)))]
    return written


def rank_correlations(record: Record) -> pd.DataFrame:
    """Return, by epoch before the last, how complete trials rank then and at the end.

    Returns:
        Columns `n`, `spearman` and `kendall`; correlations are NaN for fewer than three trials, and
        where all are equal.
    """
    complete = record.curves.loc[record.trials["state"] == "COMPLETE"]
    final = record.trials["value"].astype(float)
    rows = {}
    for epoch in [epoch for epoch in record.curves.columns if epoch < record.max_epochs]:
        values = complete[epoch].dropna()
        ends = final.loc[values.index]
        known = len(values) >= 3 and values.nunique() > 1 and ends.nunique() > 1
        rows[int(epoch)] = {
            "n": len(values),
            "spearman": float(spearmanr(values, ends).statistic) if known else np.nan,
            "kendall": float(kendalltau(values, ends).statistic) if known else np.nan,
        }
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["n", "spearman", "kendall"])
    return frame.rename_axis("epoch")


def stopped_trials(record: Record) -> pd.DataFrame:
    """Return pruned trials that no other trial continued, compared with all at the same epoch.

    Returns:
        Columns `epoch` (the last one), `accuracy` there, `reached` (number of trials that reached
        it), `upper` (above their median) and `ahead` (of the trial that became the best).
    """
    stopped = (record.trials["state"] == "PRUNED") & ~record.trials["continued"]
    pruned = record.curves.loc[stopped].dropna(how="all")
    last = pruned.notna().mul(pruned.columns.to_numpy()).max(axis="columns").astype(int)
    value = pruned.ffill(axis="columns").iloc[:, -1] if len(pruned.columns) else last.astype(float)
    medians, reached = record.curves.median(), record.curves.notna().sum()
    best = record.complete.index[0]
    return pd.DataFrame(
        {
            "epoch": last,
            "accuracy": value,
            "reached": last.map(reached),
            "upper": value > last.map(medians),
            "ahead": value > last.map(record.curves.loc[best]),
        },
        index=pruned.index,
    )


def _verdict(record: Record, stopped: pd.DataFrame, known: pd.DataFrame) -> str:
    if stopped.empty:
        pruned = int((record.trials["state"] == "PRUNED").sum())
        start = "No trial was pruned."
        if pruned:
            start = f"{pruned} trials were pruned, but the study has no accuracies of these."
        where = "after the first epoch"
    else:
        upper, ahead = int(stopped["upper"].sum()), int(stopped["ahead"].sum())
        best = record.complete.index[0]
        start = (
            f"{upper} of {len(stopped)} pruned trials were in the upper half of the trials that "
            f"reached the same epoch; {ahead or 'none'} {'were' if ahead > 1 else 'was'} ahead of "
            f"trial {best}, the best in the end."
        )
        known = known[known.index.isin(stopped["epoch"])]
        where = "where pruning begins"
    if known.empty:
        return (
            f"{start} Whether early accuracies predict final ones is unknown: that needs three "
            "complete trials of different accuracy."
        )
    epoch, row = known.index[0], known.iloc[0]
    correlation = round(row["spearman"], 2)
    judged = "at or above" if correlation >= _TRUSTED else "below"
    return (
        f"{start} The ranking of complete trials at epoch {epoch}, {where}, agrees with their "
        f"final ranking with Spearman's correlation {correlation:.2f} (n = {row['n']:.0f}): "
        f"{judged} the {_TRUSTED:.2f} that DeepCAVE's guide asks for before an early ranking is "
        "trusted."
    )


def _curves(record: Record, stopped: pd.DataFrame) -> Picture:
    states = record.trials["state"]
    shown = record.curves.loc[states.isin(list(_LOOK))].to_numpy(float)
    ends = record.trials.loc[states == "COMPLETE", "value"].astype(float)
    low = lower_end(shown.ravel(), float(ends.median()) if ends.notna().any() else np.inf)
    below = int((np.nanmax(np.where(np.isnan(shown), -np.inf, shown), axis=1) < low).sum())
    return Picture(
        name="pruning-curves",
        finding=_where(sorted(stopped["epoch"].unique()), len(stopped), len(shown)),
        caption=f"One line for each trial: {record.measure} after each epoch."
        + (
            f" Below the axis, with crosses on its edge: {counted(below, 'trial')}."
            if below
            else ""
        ),
        draw=lambda width: _draw_curves(width, record, stopped, low, float(np.nanmax(shown))),
    )


def _draw_curves(
    width: float, record: Record, stopped: pd.DataFrame, low: float, high: float
) -> Figure:
    curves, states = record.curves, record.trials["state"]
    figure, axes = new_figure(width, 4.0)
    handles = [
        _lines(axes, curves.loc[states == state], state)
        for state in _LOOK
        if (states == state).any()
    ]
    best = record.complete.index[0]
    axes.plot(curves.columns, curves.loc[best], color=INK, linewidth=2, marker=".")
    handles.append(
        Line2D([], [], color=INK, linewidth=2, marker=".", label=f"trial {best}, the best")
    )
    set_accuracy_axis(axes, low, high)
    axes.scatter(
        stopped["epoch"],
        stopped["accuracy"].where(stopped["accuracy"] >= low, axes.get_ylim()[0]),
        marker="x",
        s=20,
        color=VERMILION,
        linewidths=1.0,
        clip_on=False,
        zorder=3,
        rasterized=len(stopped) > MANY_POINTS,
    )
    axes.set_xlabel("epoch")
    axes.set_ylabel(record.measure)
    axes.set_xlim(0.8, record.max_epochs + 0.2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    if len(stopped):
        handles.append(
            Line2D([], [], marker="x", linestyle="none", color=VERMILION, label="stopped here")
        )
    legend_above(figure, handles)
    return figure


def _where(epochs: list[int], stopped: int, trials: int) -> str:
    if not epochs:
        return "No trial was stopped early"
    where = f"after epoch{'s' if epochs[1:] else ''} {listed([*map(str, epochs)])}"
    if len(epochs) > 6:
        where = f"between epochs {epochs[0]} and {epochs[-1]}"
    return f"{stopped} of {trials} trials were stopped early {where}"


def _lines(axes: Axes, curves: pd.DataFrame, state: str) -> Line2D:
    look: dict[str, Any] = _LOOK[state]
    epochs = curves.columns.to_numpy(float)
    lines = [
        np.column_stack([epochs[np.isfinite(row)], row[np.isfinite(row)]])
        for row in curves.to_numpy(float)
    ]
    many = len(lines) > 200
    axes.add_collection(
        LineCollection(
            lines,
            **look,
            linewidths=0.5 if many else 0.9,
            alpha=0.15 if len(lines) > MANY_POINTS else 0.5,
            rasterized=many,
        )
    )
    return Line2D(
        [],
        [],
        color=look["colors"],
        linestyle=look["linestyles"],
        label=f"{state.lower()} ({len(lines):,})",
    )


def _correlations(known: pd.DataFrame) -> Picture:
    # Rounded as in the table, so that both name the same epoch.
    trusted = known.index[known["spearman"].round(2) >= _TRUSTED]
    finding = f"Early rankings never reach a correlation of {_TRUSTED:.2f} with the final one"
    if len(trusted):
        finding = (
            f"The correlation with the final ranking first reaches {_TRUSTED:.2f} at epoch "
            f"{trusted[0]}"
        )
    least, most = int(known["n"].min()), int(known["n"].max())
    return Picture(
        name="pruning-correlation",
        finding=finding,
        caption="Rank correlation of the accuracy after each epoch with the final accuracy, over "
        f"complete trials (n = {least if least == most else f'{least} to {most}'}). Pruned trials "
        "are missing, which tends to lower it.",
        draw=lambda width: _draw_correlations(width, known),
    )


def _draw_correlations(width: float, known: pd.DataFrame) -> Figure:
    figure, axes = new_figure(width, 2.8)
    axes.plot(known.index, known["spearman"], "o-", color=BLUE)
    axes.axhline(_TRUSTED, color=GREY, linestyle=":", label=f"{_TRUSTED:.2f}, DeepCAVE's guide")
    axes.set_ylim(min(-0.05, known["spearman"].min() - 0.05), 1.05)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    axes.set_xlabel("epoch")
    axes.set_ylabel("Spearman's correlation")
    axes.legend(loc="lower right", fontsize=8)
    return figure


def _correlation_table(ranks: pd.DataFrame) -> Table:
    return Table(
        name="pruning-correlation",
        caption="Rank correlation with the final accuracy, over complete trials",
        columns=[
            Column("epoch", "epoch"),
            Column("n", "n"),
            Column("spearman", "Spearman", format=".2f"),
            Column("kendall", "Kendall", format=".2f"),
        ],
        items=ranks.reset_index(),
        fold=True,
    )


def _stopped_table(stopped: pd.DataFrame) -> Table:
    by_epoch = stopped.groupby("epoch").agg(
        pruned=("upper", "size"),
        reached=("reached", "first"),
        upper=("upper", "sum"),
        ahead=("ahead", "sum"),
    )
    return Table(
        name="pruning-stopped",
        caption="Pruned trials, compared with all trials at the same epoch",
        note="Upper half: above the median.",
        columns=[
            Column("epoch", "epoch"),
            Column("reached", "trials that got here"),
            Column("pruned", "pruned here"),
            Column("upper", "in the upper half"),
            Column(
                None,
                "share in the upper half",
                lambda row: row["upper"] / row["pruned"],
                lambda share: percent(share, 0),
            ),
            Column("ahead", "ahead of the later best"),
        ],
        items=by_epoch.reset_index(),
        fold=len(by_epoch) > 12,
    )


def _hindsight(stopped: int) -> str:
    return (
        "This is hindsight: the comparison is with all trials of the study, of which the pruner "
        "knew only the earlier ones. A pruner that keeps the best part of trials "
        "may stop some of the upper half by design. How the stopped trial"
        f"{' would' if stopped == 1 else 's would'} have ended is unknown."
    )

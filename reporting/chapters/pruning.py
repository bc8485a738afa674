"""Was pruning fair: what early accuracies say of final ones, and which trials were stopped."""

from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reporting.analysis.pruned_trials import rank_correlations, stopped_trials
from reporting.drawing.axes import MANY_POINTS, lower_end, set_accuracy_axis
from reporting.drawing.style import (
    BLUE,
    GREY,
    MISSING,
    STATES,
    VERMILION,
    listed,
    new_figure,
    percent,
)
from reporting.evidence import Evidence
from reporting.page.document import Block, Paragraph, Picture, Table
from reporting.study_tables import Record

_FEW: Final = 10
# Source: DeepCAVE's documentation, plugin "Budget Correlation".
_GUIDE: Final = ((0.70, "very strong"), (0.40, "strong"), (0.30, "moderate"), (0.20, "weak"))
_LOOK: Final = {
    "COMPLETE": {"colors": STATES["COMPLETE"], "linestyles": "solid"},
    "PRUNED": {"colors": STATES["PRUNED"], "linestyles": "dashed"},
}


def blocks(evidence: Evidence) -> list[Block]:
    """Learning curves, rank correlations with the end, and who was stopped in the upper half."""
    record = evidence.record
    stopped, ranks = stopped_trials(record), rank_correlations(record)
    written: list[Block] = [Paragraph(_verdict(record, stopped, ranks), strong=True)]
    complete = int((record.trials["state"] == "COMPLETE").sum())
    if complete < _FEW:
        written.append(
            Paragraph(
                f"Only {complete} complete trial{'s' if complete > 1 else ''}: rank "
                f"correlations of fewer than {_FEW} say very little."
            )
        )
    if record.curves.notna().to_numpy().any():
        written.append(_curves(record, stopped))
    if ranks["spearman"].notna().any():
        written += [_correlations(ranks), _correlation_table(ranks)]
    if len(stopped):
        written += [_stopped_table(stopped), Paragraph(_hindsight(stopped))]
    return written


def _verdict(record: Record, stopped: pd.DataFrame, ranks: pd.DataFrame) -> str:
    if stopped.empty:
        pruned = int((record.trials["state"] == "PRUNED").sum())
        start = "No trial was pruned, so no trial was stopped unfairly."
        if pruned:
            start = f"{pruned} trials were pruned, but the study has no accuracies of theirs."
        known = ranks.dropna(subset="spearman")
        where = "after the first epoch"
    else:
        upper, ahead = int(stopped["upper"].sum()), int(stopped["ahead"].sum())
        best = record.complete.index[0]
        start = (
            f"{upper} of {len(stopped)} pruned trials were in the upper half of all trials that "
            f"reached their last epoch; {ahead or 'none'} {'were' if ahead > 1 else 'was'} ahead "
            f"of trial {best}, the later best, at the same epoch."
        )
        known = ranks[ranks.index.isin(stopped["epoch"])].dropna(subset="spearman")
        where = "at the earliest epoch where trials were pruned"
    if known.empty:
        return (
            f"{start} Whether early accuracies foretell final ones cannot be said: that takes "
            "three complete trials of different accuracy."
        )
    epoch, row = known.index[0], known.iloc[0]
    return (
        f"{start} Among complete trials the ranking {where} ({epoch}) agrees with the final one "
        f"with Spearman's correlation {row['spearman']:.2f} (n = {row['n']:.0f}): "
        f"{_strength(row['spearman'])} by DeepCAVE's guide, which asks for 0.70 or more to trust "
        "an early ranking."
    )


def _strength(correlation: float) -> str:
    for least, word in _GUIDE:
        if correlation >= least:
            return f"a {word} relationship"
    return "no relationship to speak of"


def _curves(record: Record, stopped: pd.DataFrame) -> Picture:
    curves, states = record.curves, record.trials["state"]
    figure, axes = new_figure(4.0)
    handles = [
        _lines(axes, curves.loc[states == state], state)
        for state in _LOOK
        if (states == state).any()
    ]
    best = record.complete.index[0]
    axes.plot(curves.columns, curves.loc[best], color="black", linewidth=2, marker=".")
    handles.append(
        Line2D([], [], color="black", linewidth=2, marker=".", label=f"trial {best}, the best")
    )
    shown = curves.loc[states.isin(list(_LOOK))].to_numpy(float)
    ends = record.trials.loc[states == "COMPLETE", "value"].astype(float)
    low = lower_end(shown.ravel(), float(ends.median()) if ends.notna().any() else np.inf)
    set_accuracy_axis(axes, low, float(np.nanmax(shown)))
    axes.scatter(
        stopped["epoch"],
        stopped["accuracy"].clip(lower=low),
        marker="x",
        s=20,
        color=VERMILION,
        linewidths=1.0,
        zorder=3,
        rasterized=len(stopped) > MANY_POINTS,
    )
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation accuracy")
    axes.set_xlim(0.8, record.max_epochs + 0.2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    if len(stopped):
        handles.append(
            Line2D([], [], marker="x", linestyle="none", color=VERMILION, label="stopped here")
        )
    figure.legend(handles=handles, loc="outside upper left", ncols=4, frameon=False, fontsize=8)
    epochs = sorted(stopped["epoch"].unique())
    where = (
        f"after epoch{'s' if epochs[1:] else ''} {listed([*map(str, epochs)])}" if epochs else ""
    )
    if len(epochs) > 6:
        where = f"between epochs {epochs[0]} and {epochs[-1]}"
    below = int((np.nanmax(np.where(np.isnan(shown), -np.inf, shown), axis=1) < low).sum())
    return Picture(
        name="pruning-curves",
        finding=f"{len(stopped)} of {len(shown)} trials were stopped early {where}"
        if epochs
        else "No trial was stopped early",
        caption="One line for each trial: validation accuracy after each epoch."
        + (f" Not drawn, wholly below the axis: {below}; crosses on its end." if below else ""),
        figure=figure,
    )


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


def _correlations(ranks: pd.DataFrame) -> Picture:
    known = ranks.dropna(subset="spearman")
    figure, axes = new_figure(3.0)
    axes.plot(known.index, known["spearman"], "o-", color=BLUE, label="Spearman")
    axes.plot(known.index, known["kendall"], "s--", color=VERMILION, label="Kendall")
    axes.axhline(_GUIDE[0][0], color=GREY, linestyle=":", label="0.70, very strong (Spearman)")
    axes.set_ylim(min(-0.05, known[["spearman", "kendall"]].min().min() - 0.05), 1.05)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    axes.set_xlabel("epoch")
    axes.set_ylabel("rank correlation with the end")
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    strong = known.index[known["spearman"] >= _GUIDE[0][0]]
    finding = "At no epoch is the ranking very strongly related to the final one"
    if len(strong):
        finding = (
            f"Spearman's correlation with the final ranking first reaches 0.70 at epoch {strong[0]}"
        )
    least, most = int(known["n"].min()), int(known["n"].max())
    return Picture(
        name="pruning-correlation",
        finding=finding,
        caption="Rank correlation between the accuracy after an epoch and the final one, among "
        f"complete trials (n = {least if least == most else f'{least} to {most}'}). Only trials "
        "that pruning let through are in it, which tends to lower it.",
        figure=figure,
    )


def _correlation_table(ranks: pd.DataFrame) -> Table:
    values = ranks.reset_index()
    shown = values.assign(
        **{
            name: [f"{value:.2f}" if np.isfinite(value) else MISSING for value in values[name]]
            for name in ("spearman", "kendall")
        }
    ).rename(columns={"spearman": "Spearman", "kendall": "Kendall"})
    return Table(
        name="pruning-correlation",
        caption="Rank correlation with the final accuracy, complete trials",
        shown=shown,
        values=values,
        fold=True,
    )


def _stopped_table(stopped: pd.DataFrame) -> Table:
    values = (
        stopped.groupby("epoch")
        .agg(
            pruned=("upper", "size"),
            reached=("reached", "first"),
            upper=("upper", "sum"),
            ahead=("ahead", "sum"),
        )
        .reset_index()
    )
    shares = [f"{row.upper} ({percent(row.upper / row.pruned, 0)})" for row in values.itertuples()]
    shown = values.assign(upper=shares).rename(
        columns={
            "pruned": "pruned here",
            "reached": "trials that got here",
            "upper": "of the pruned, in the upper half",
            "ahead": "of the pruned, ahead of the later best",
        }
    )
    return Table(
        name="pruning-stopped",
        caption="Pruned trials against all trials at the same epoch (upper half: above the median)",
        shown=shown,
        values=values,
        fold=len(values) > 12,
    )


def _hindsight(stopped: pd.DataFrame) -> str:
    return (
        "The comparison is made with hindsight, among all trials of the study, of which the "
        "pruner knew only the earlier ones. A pruner that keeps the best third stops some of the "
        "upper half by design. How a stopped trial would have ended nobody knows: "
        f"{'it was' if len(stopped) == 1 else f'all {len(stopped)} were'} not trained further."
    )

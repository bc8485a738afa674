"""All trials: how they ended, what they cost, why some failed, and when they ran."""

from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from reporting.drawing.axes import time_unit
from reporting.drawing.style import GROUND, STATES, legend_above, new_figure, percent
from reporting.evidence import Evidence
from reporting.page.document import Block, Column, Paragraph, Picture, Table
from reporting.study_tables import (
    Record,
    duplicates,
    epochs_trained,
    failure_reasons,
    seconds_taken,
    start_and_end,
)
from search.display import duration
from search.words import counted

_ENDINGS: Final = ("complete", "pruned", "failed", "duplicate", "running", "waiting")
_STATE_OF: Final = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
# Told apart by height too: hatching cannot be seen on bars that are a few pixels wide.
_HEIGHTS: Final = {"complete": 0.8, "pruned": 0.5, "failed": 0.25}
_HATCHES: Final = {"complete": "", "pruned": "////", "failed": "xxxx"}
_MOST_HATCHED: Final = 300
_MOST_REASONS: Final = 20
_MOST_NUMBERS: Final = 10
_MOST_TRIALS: Final = 200
# A worker gets its next trial while the end of the last one is still being recorded.
_OVERLAP_SECONDS: Final = 0.5


def blocks(evidence: Evidence) -> list[Block]:
    """Write trials, epochs and time by ending, the failures, the timeline, and every trial."""
    record = evidence.record
    costs = _costs(record)
    return [
        _by_ending(costs),
        Paragraph(_saved(record, costs)),
        *_failures(record, costs),
        _timeline(record, costs),
        _every_trial(record, costs),
    ]


def _costs(record: Record) -> pd.DataFrame:
    """Return ending, epochs and seconds of each trial."""
    endings = record.trials["state"].str.lower().replace({"fail": "failed"})
    return pd.DataFrame(
        {
            "ending": endings.mask(duplicates(record), "duplicate"),
            "epochs": epochs_trained(record),
            "seconds": seconds_taken(record),
            "continued": record.trials["continued"],
        }
    )


def _by_ending(costs: pd.DataFrame) -> Table:
    grouped = costs.groupby("ending").agg(
        trials=("epochs", "size"),
        epochs=("epochs", "sum"),
        seconds=("seconds", lambda seconds: seconds.sum(min_count=1)),
    )
    rows = grouped.reindex([name for name in _ENDINGS if name in grouped.index])
    for name in ("trials", "epochs", "seconds"):
        total = rows[name].sum()
        rows[f"share of {name}"] = rows[name] / total if total else np.nan
    unknown = int(costs["seconds"].isna().sum())
    return Table(
        name="budget",
        caption="Trials by ending",
        note=f"Worker hours leave out {counted(unknown, 'trial')} of unknown duration."
        if unknown
        else "",
        columns=[
            Column("ending", "ending"),
            Column("trials", "trials", format=","),
            Column("share of trials", "share of trials", format=_share),
            Column("epochs", "epochs", format=",.0f"),
            Column("seconds", "worker hours", format=lambda seconds: f"{seconds / 3600:.2f}"),
            Column("share of seconds", "share of hours", format=_share),
            Column("share of epochs"),
        ],
        items=rows.reset_index(),
    )


def _share(value: float) -> str:
    return percent(value, 0)


def _saved(record: Record, costs: pd.DataFrame) -> str:
    # A trial that a later one continued was not cut short.
    pruned = costs[(costs["ending"] == "pruned") & ~costs["continued"]]
    if pruned.empty:
        return "No trial was pruned."
    # A continued trial's curve has the epochs of both.
    reached = record.curves.notna().sum(axis="columns").loc[pruned.index]
    skipped = (record.max_epochs - reached.clip(lower=pruned["epochs"])).clip(lower=0)
    each = pruned["seconds"] / pruned["epochs"].where(pruned["epochs"] > 0)
    known = int(each.notna().sum())
    text = (
        f"Pruning skipped {skipped.sum():,.0f} epochs in {counted(len(pruned), 'trial')}; "
        f"{costs['epochs'].sum():,.0f} epochs were trained in all."
    )
    if not known:
        return text
    saved = float((skipped * each).sum())
    cost = saved + float(costs["seconds"].sum())
    if not cost:  # no trial took any time, as in a study that another program wrote
        return text
    share = saved / cost
    text += (
        f" This saved at most about {duration(saved)} of worker time, {percent(share, 0)} of the "
        "cost without pruning. It is an upper bound: a skipped epoch counts like the trial's other "
        "epochs, with their share of its startup"
    )
    return text + ("." if known == len(pruned) else f" (known for {known} of these trials).")


def _failures(record: Record, costs: pd.DataFrame) -> list[Block]:
    twins = costs[costs["ending"] == "duplicate"]
    written: list[Block] = []
    reasons = failure_reasons(record)
    if reasons.empty:
        written.append(Paragraph("No trial failed."))
    else:
        written.append(_failure_table(costs.loc[reasons.index].assign(reason=reasons)))
    if len(twins):
        written.append(
            Paragraph(
                f"Rejected before training: {counted(len(twins), 'duplicate proposal')}, at a cost "
                f"of {duration(float(twins['seconds'].sum()))}."
            )
        )
    return written


def _failure_table(failed: pd.DataFrame) -> Table:
    failed = failed.rename_axis("number").reset_index()
    rows = failed.groupby("reason", as_index=False).agg(
        trials=("number", "size"),
        epochs=("epochs", "sum"),
        seconds=("seconds", lambda seconds: seconds.sum(min_count=1)),
        numbers=("number", list),
    )
    return Table(
        name="budget-failures",
        caption="Failed trials by reason",
        note="N: any number.",
        columns=[
            Column("reason", "reason"),
            Column("trials", "trials", format=","),
            Column("epochs", "epochs lost", format=",.0f"),
            Column("seconds", "time lost", format=duration),
            Column(
                "numbers", "trial numbers", lambda row: ", ".join(map(str, row["numbers"])), _cut
            ),
        ],
        items=rows.sort_values(["seconds", "trials"], ascending=False),
        most=_MOST_REASONS,
    )


def _cut(numbers: str) -> str:
    parts = numbers.split(", ")
    cut = ", ".join(parts[:_MOST_NUMBERS])
    return cut if len(parts) <= _MOST_NUMBERS else f"{cut} and {len(parts) - _MOST_NUMBERS} more"


def _every_trial(record: Record, costs: pd.DataFrame) -> Table:
    # Only complete trials have an accuracy that can be compared; the others follow.
    order = {state: place for place, state in enumerate(("COMPLETE", "PRUNED", "RUNNING", "FAIL"))}
    rows = record.trials.assign(
        value=pd.to_numeric(record.trials["value"], errors="coerce"),
        epochs=costs["epochs"],
        seconds=costs["seconds"],
        place=record.trials["state"].map(order).fillna(len(order)),
        name=record.trials["name"].where(~record.trials["enqueued"], "enqueued"),
    )
    rows = rows.sort_values(["place", "value"], ascending=[True, False], kind="stable")
    rows = rows.drop(columns=["place", "enqueued"]).join(record.params.add_prefix("params_"))
    shown: dict[str, tuple[str, Any]] = {
        "number": ("trial", ""),
        "state": ("state", lambda state: "failed" if state == "FAIL" else state.lower()),
        "value": (record.measure, percent),
        "epochs": ("epochs", ".0f"),
        "parameters": ("parameters", ",.0f"),
        "seconds": ("time", duration),
        "name": ("name", ""),
    }
    for name, heading, form in (("flops", "FLOPs", ",.0f"), ("latency_ms", "ms an image", ".3g")):
        if rows[name].notna().any():
            shown[name] = (heading, form)
        else:  # the search had no use for it
            rows = rows.drop(columns=name)
    if rows["reason"].notna().any():
        shown["reason"] = ("failure", "")
    rows = rows.rename_axis("number").reset_index()
    first = [*shown, *(name for name in rows.columns if name not in shown)]
    return Table(
        name="trials",
        caption="All trials, the best first",
        note="Complete trials by accuracy, then pruned ones by the accuracy of their last epoch, "
        "which does not compare with that of complete ones. The CSV has the hyperparameters too.",
        columns=[
            Column(name, shown[name][0], format=shown[name][1]) if name in shown else Column(name)
            for name in first
        ],
        items=rows,
        most=_MOST_TRIALS,
        fold=True,
    )


def _timeline(record: Record, costs: pd.DataFrame) -> Block:
    times = start_and_end(record).join(costs["ending"]).dropna()
    times = times[times["ending"].isin(list(_HEIGHTS))].sort_values("start")
    if times.empty or times["end"].max() <= 0:
        return Paragraph("No timeline: the study has no start and end times.")
    times = times.assign(row=_rows(times["start"].tolist(), times["end"].tolist()))
    count, span = int(times["row"].max()) + 1, float(times["end"].max())
    busy = float((times["end"] - times["start"]).sum()) / (count * span)
    return Picture(
        name="budget-timeline",
        finding=f"{'One trial' if count == 1 else f'Up to {count} trials'} ran at a time; workers "
        f"were busy {percent(min(busy, 1.0), 0)} of {duration(span)}",
        caption=f"{len(times):,} ended trials: tall bars complete, half as tall pruned, low "
        "failed. Trials in different rows ran at the same time; gaps are idle workers or an "
        "interrupted search.",
        draw=lambda width: _draw_timeline(width, times, count, span),
    )


def _draw_timeline(width: float, times: pd.DataFrame, count: int, span: float) -> Figure:
    length, unit = time_unit(span)
    figure, axes = new_figure(width, min(1.5 + 0.45 * count, 6.0))
    for ending in _HEIGHTS:
        _bars(axes, times, ending, length)
    axes.set_xlim(0, span / length)
    axes.set_ylim(-0.1, count)
    axes.set_xlabel(f"{unit} since the first start")
    axes.set_ylabel("trials at a time")
    step = 1 + (count - 1) // 16
    axes.set_yticks(
        [row + 0.4 for row in range(0, count, step)], range(1, count + 1, step), minor=False
    )
    axes.grid(axis="y", visible=False)
    legend_above(figure)
    return figure


def _rows(starts: list[float], ends: list[float]) -> list[int]:
    """Return the first free row at each start; intervals are sorted by their starts."""
    free_from: list[float] = []
    chosen = []
    for start, end in zip(starts, ends, strict=True):
        row = next(
            (i for i, free in enumerate(free_from) if free <= start + _OVERLAP_SECONDS),
            len(free_from),
        )
        free_from[row : row + 1] = [end]
        chosen.append(row)
    return chosen


def _bars(axes: Axes, times: pd.DataFrame, ending: str, length: float) -> None:
    rows = times[times["ending"] == ending]
    if rows.empty:
        return
    few = len(times) <= _MOST_HATCHED
    left, right = rows["start"] / length, rows["end"] / length
    bottom, top = rows["row"], rows["row"] + _HEIGHTS[ending]
    corners = [(left, bottom), (left, top), (right, top), (right, bottom)]
    axes.add_collection(
        PolyCollection(
            list(np.stack([np.column_stack(corner) for corner in corners], axis=1)),
            facecolors=STATES[_STATE_OF[ending]],
            edgecolors=GROUND if few else "none",
            linewidths=0.4 if few else 0,
            hatch=_HATCHES[ending] if few else None,
            label=f"{ending} ({len(rows):,})",
            rasterized=not few,
        )
    )

"""Where the time went: trials by how they ended, what pruning saved, what failures cost."""

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from reporting.drawing.axes import time_unit
from reporting.drawing.style import MISSING, STATES, new_figure, percent
from reporting.evidence import Evidence
from reporting.page.document import Block, Paragraph, Picture, Table
from reporting.study_tables import (
    Record,
    duplicates,
    epochs_trained,
    failure_reasons,
    seconds_taken,
    start_and_end,
    surplus,
)
from search.display import duration

_ENDINGS: Final = ("complete", "pruned", "failed", "duplicate", "surplus", "running", "waiting")
_STATE_OF: Final = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
# Told apart by height too: hatching cannot be seen on bars that are a few pixels wide.
_HEIGHTS: Final = {"complete": 0.8, "pruned": 0.5, "failed": 0.25}
_HATCHES: Final = {"complete": "", "pruned": "////", "failed": "xxxx"}
_MOST_HATCHED: Final = 300
_MOST_REASONS: Final = 20
# A worker is handed its next trial while the end of the last one is being written down.
_OVERLAP_SECONDS: Final = 0.5


def blocks(evidence: Evidence) -> list[Block]:
    """Trials, epochs and time by ending, and the workers' timeline."""
    record = evidence.record
    costs = _costs(record)
    written: list[Block] = [_by_ending(costs), Paragraph(_saved(record, costs))]
    written += _lost(record, costs)
    written.append(_timeline(record, costs))
    return written


def _costs(record: Record) -> pd.DataFrame:
    """Ending, epochs and seconds of each trial."""
    endings = record.trials["state"].str.lower().replace({"fail": "failed"})
    endings = endings.mask(duplicates(record), "duplicate").mask(surplus(record), "surplus")
    return pd.DataFrame(
        {
            "ending": endings,
            "epochs": epochs_trained(record),
            "seconds": seconds_taken(record),
            "continued": record.trials["continued"],
        }
    )


def _by_ending(costs: pd.DataFrame) -> Table:
    grouped = costs.groupby("ending").agg(
        trials=("epochs", "size"),
        epochs=("epochs", "sum"),
        seconds=("seconds", "sum"),
        timed=("seconds", "count"),
    )
    values = grouped.reindex([name for name in _ENDINGS if name in grouped.index])
    for name in ("trials", "epochs", "seconds"):
        total = values[name].sum()
        values[f"share of {name}"] = values[name] / total if total else np.nan
    shown = pd.DataFrame(
        {
            "ending": values.index,
            "trials": [f"{count:,}" for count in values["trials"]],
            "share of trials": [percent(share, 0) for share in values["share of trials"]],
            "epochs": [f"{count:,.0f}" for count in values["epochs"]],
            "hours": [
                f"{row.seconds / 3600:.2f}" if row.timed else MISSING for row in values.itertuples()
            ],
            "share of hours": [percent(share, 0) for share in values["share of seconds"]],
        }
    )
    caption = "Trials by ending; hours are the workers' hours added up"
    unknown = int(values["trials"].sum() - values["timed"].sum())
    if unknown:
        caption += f"; the time of {unknown} trials is not known and counts as none"
    return Table(
        name="budget",
        caption=caption,
        shown=shown,
        values=values.reset_index(),
    )


def _saved(record: Record, costs: pd.DataFrame) -> str:
    # What another trial went on with was not left out.
    pruned = costs[(costs["ending"] == "pruned") & ~costs["continued"]]
    if pruned.empty:
        return "No trial was pruned, so pruning saved nothing."
    # Of a trial that went on with another, the epochs of both are done.
    reached = record.curves.notna().sum(axis="columns").loc[pruned.index]
    skipped = (record.max_epochs - reached.clip(lower=pruned["epochs"])).clip(lower=0)
    each = pruned["seconds"] / pruned["epochs"].where(pruned["epochs"] > 0)
    known = int(each.notna().sum())
    text = (
        f"Pruning left out {skipped.sum():,.0f} epochs of {len(pruned)} trials, against "
        f"{costs['epochs'].sum():,.0f} epochs trained in all. "
    )
    if not known:
        return text + "How long these would have taken is not known."
    saved = float((skipped * each).sum())
    share = saved / (saved + float(costs["seconds"].sum()))
    text += (
        f"They would have taken about {duration(saved)} of workers' time, {percent(share, 0)} of "
        "what the same trials would have cost unpruned. This is an estimate: epochs left out "
        "times the trial's own mean seconds an epoch"
    )
    return text + ("." if known == len(pruned) else f", for the {known} trials whose are known.")


def _lost(record: Record, costs: pd.DataFrame) -> list[Block]:
    twins = costs[costs["ending"] == "duplicate"]
    text = "No duplicates were proposed."
    if len(twins):
        text = (
            f"{len(twins)} proposals repeated an earlier trial's configuration. They were refused "
            f"before training and cost {duration(float(twins['seconds'].sum()))} in all."
        )
    reasons = failure_reasons(record)
    if reasons.empty:
        return [Paragraph(f"No trial failed. {text}")]
    failed = costs.loc[reasons.index].assign(reason=reasons)
    values = failed.groupby("reason").agg(
        trials=("epochs", "size"),
        epochs=("epochs", "sum"),
        seconds=("seconds", lambda s: s.sum(min_count=1)),
    )
    values = values.sort_values(["seconds", "trials"], ascending=False).reset_index()
    shown = values.head(_MOST_REASONS)
    shown = shown.assign(
        epochs=[f"{epochs:,.0f}" for epochs in shown["epochs"]],
        seconds=[duration(s) if np.isfinite(s) else MISSING for s in shown["seconds"]],
    ).rename(columns={"seconds": "time"})
    caption = "Time lost to failures, by reason (N: any number)"
    if len(values) > len(shown):
        caption += f": the first {len(shown)} of {len(values)}; the file has all"
    table = Table(name="budget-failures", caption=caption, shown=shown, values=values)
    return [table, Paragraph(text)]


def _timeline(record: Record, costs: pd.DataFrame) -> Block:
    times = start_and_end(record).join(costs["ending"]).dropna()
    times = times[times["ending"].isin(list(_HEIGHTS))].sort_values("start")
    if times.empty or times["end"].max() <= 0:
        return Paragraph("The study has no start and end times, so there is no timeline.")
    lanes = _lanes(times["start"].tolist(), times["end"].tolist())
    count, span = max(lanes) + 1, float(times["end"].max())
    busy = float((times["end"] - times["start"]).sum()) / (count * span)
    length, unit = time_unit(span)
    figure, axes = new_figure(min(1.5 + 0.45 * count, 6.0))
    for ending in _HEIGHTS:
        _bars(axes, times.assign(lane=lanes), ending, length)
    axes.set_xlim(0, span / length)
    axes.set_ylim(-0.1, count)
    axes.set_xlabel(f"{unit} since the first start")
    axes.set_ylabel("lane")
    step = 1 + (count - 1) // 16
    axes.set_yticks(
        [lane + 0.4 for lane in range(0, count, step)], range(1, count + 1, step), minor=False
    )
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    lanes_words = "1 lane was" if count == 1 else f"{count} lanes were"
    return Picture(
        name="budget-timeline",
        finding=f"{lanes_words} busy {percent(min(busy, 1.0), 0)} of {duration(span)}",
        caption=f"Bars: {len(times):,} ended trials, tall complete, half as tall pruned, low "
        "failed. Lanes are rebuilt from start and end times: as few as hold all without overlap; "
        "an interruption of the search is an empty stretch.",
        figure=figure,
    )


def _lanes(starts: list[float], ends: list[float]) -> list[int]:
    """The first lane that is free at each start; the intervals come sorted by their starts."""
    free_from: list[float] = []
    chosen = []
    for start, end in zip(starts, ends, strict=True):
        lane = next(
            (i for i, free in enumerate(free_from) if free <= start + _OVERLAP_SECONDS),
            len(free_from),
        )
        free_from[lane : lane + 1] = [end]
        chosen.append(lane)
    return chosen


def _bars(axes: Axes, times: pd.DataFrame, ending: str, length: float) -> None:
    rows = times[times["ending"] == ending]
    if rows.empty:
        return
    few = len(times) <= _MOST_HATCHED
    left, right = rows["start"] / length, rows["end"] / length
    bottom, top = rows["lane"], rows["lane"] + _HEIGHTS[ending]
    corners = [(left, bottom), (left, top), (right, top), (right, bottom)]
    axes.add_collection(
        PolyCollection(
            list(np.stack([np.column_stack(corner) for corner in corners], axis=1)),
            facecolors=STATES[_STATE_OF[ending]],
            edgecolors="white" if few else "none",
            linewidths=0.4 if few else 0,
            hatch=_HATCHES[ending] if few else None,
            label=f"{ending} ({len(rows):,})",
            rasterized=not few,
        )
    )

"""The best validation accuracy so far, over trials and over time."""

from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from reporting.dimensions import brief
from reporting.drawing.axes import (
    below_words,
    lower_end,
    scatter_accuracies,
    set_accuracy_axis,
    time_unit,
)
from reporting.drawing.style import BLUE, GREY, STATES, new_figure, percent, points
from reporting.evidence import Evidence
from reporting.page.document import Block, Column, Paragraph, Picture, Table
from reporting.study_tables import Record, start_and_end
from search.display import duration

_MARKERS: Final = {"COMPLETE": ("o", "complete"), "PRUNED": ("x", "pruned, last epoch's value")}
_MOST_LEVELS: Final = 8
# Pruned trials end low; the line of the best needs the room.
_REACH: Final = 0.75
_LONGEST_NAME: Final = 22
_READING: Final = (
    "Line: best validation accuracy of a complete trial so far; points: trials, one training each; "
    "dashed: baselines."
)


def blocks(evidence: Evidence) -> list[Block]:
    """Show how the best accuracy rose, and when it passed the baselines."""
    record = evidence.record
    ended, levels = _ended(record), _levels(record)
    if not ended["better"].any():
        return [Paragraph("No complete trial has a validation accuracy.")]
    written: list[Block] = [
        Paragraph(_summary(ended, levels), strong=True),
        _over_trials(ended, levels),
    ]
    if ended["time"].notna().all():
        written.append(_over_time(ended, levels))
    else:
        unknown = int(ended["time"].isna().sum())
        written.append(
            Paragraph(
                f"No figure over time: {unknown} of {len(ended)} ended trials have no start or "
                "end time."
            )
        )
    written.append(_steps(ended))
    return written


def _ended(record: Record) -> pd.DataFrame:
    """Return ended trials in order of completion, with the finished ones and the best by then."""
    trials = record.trials.assign(time=start_and_end(record)["end"])
    trials = trials[trials["state"].isin(["COMPLETE", "PRUNED", "FAIL"])]
    rows = trials.sort_values("time", kind="stable")[["state", "value", "time", "baseline"]]
    values = pd.to_numeric(rows["value"], errors="coerce").where(rows["state"] == "COMPLETE")
    best = values.cummax().ffill()
    before = best.shift().fillna(-np.inf)
    return rows.assign(
        count=(rows["state"] != "FAIL").cumsum(), best=best, better=values > before, before=before
    )


def _levels(record: Record) -> dict[str, float]:
    """Return the accuracy of each baseline that has a complete trial, highest first."""
    named = record.complete[record.complete["baseline"].notna()].dropna(subset="value")
    highest = named.groupby("baseline")["value"].max().sort_values(ascending=False)
    return {str(name): float(value) for name, value in highest.items()}


def _summary(ended: pd.DataFrame, levels: dict[str, float]) -> str:
    steps = ended[ended["better"]]
    number, last = steps.index[-1], steps.iloc[-1]
    complete = int((ended["state"] == "COMPLETE").sum())
    which = (
        "The only complete trial" if complete == 1 else f"The best of {complete} complete trials"
    )
    text = f"{which} is trial {number}, with {percent(last['best'])} validation accuracy. "
    if not levels:
        return text + "No baseline has a complete trial to compare with."
    name, level = next(iter(levels.items()))
    if pd.notna(last["baseline"]):
        return text + f"It is a baseline ({last['baseline']}): no other trial beat it."
    passed = ended[ended["better"] & (ended["best"] > level) & ended["baseline"].isna()]
    if passed.empty:
        return text + f"No trial beat {name} ({percent(level)}), the best baseline."
    return (
        f"{text}Trial {passed.index[0]}, finished trial {int(passed['count'].iloc[0])}, was the "
        f"first to beat {name} ({percent(level)}), the best baseline. These are single trainings, "
        "measured on the images that the search optimizes for."
    )


def _over_trials(ended: pd.DataFrame, levels: dict[str, float]) -> Picture:
    steps = ended[ended["better"]]
    found, total = int(steps["count"].iloc[-1]), int(ended["count"].iloc[-1])
    figure, axes = new_figure(4.0)
    below = _draw(axes, ended, ended["count"].to_numpy(float), levels)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("finished trials (complete or pruned), in order of completion")
    figure.legend(loc="outside upper left", ncols=5, frameon=False, fontsize=8)
    return Picture(
        name="progress-trials",
        finding=f"The best trial, {steps.index[-1]}, was number {found:,} of {total:,} finished "
        "trials",
        caption=_READING + below_words(below),
        figure=figure,
    )


def _over_time(ended: pd.DataFrame, levels: dict[str, float]) -> Picture:
    found, total = ended.loc[ended["better"], "time"].iloc[-1], ended["time"].max()
    number = ended.index[ended["better"]][-1]
    length, unit = time_unit(total)
    figure, axes = new_figure(4.0)
    below = _draw(axes, ended, ended["time"].to_numpy(float) / length, levels)
    axes.set_xlabel(f"{unit} since the first start, with interruptions")
    figure.legend(loc="outside upper left", ncols=5, frameon=False, fontsize=8)
    return Picture(
        name="progress-time",
        finding=f"The best trial, {number}, ended after {duration(found)} of {duration(total)}",
        caption=_READING + below_words(below),
        figure=figure,
    )


def _draw(axes: Axes, ended: pd.DataFrame, x: Any, levels: dict[str, float]) -> int:
    shown = dict(list(levels.items())[:_MOST_LEVELS])
    values = pd.to_numeric(ended["value"], errors="coerce").to_numpy(float)
    finished = (ended["state"] != "FAIL").to_numpy()
    best = ended["best"].to_numpy(float)
    low = lower_end(values[finished], min([*shown.values(), float(np.nanmedian(best))]), _REACH)
    below = 0
    for state, (marker, label) in _MARKERS.items():
        here = (ended["state"] == state).to_numpy() & np.isfinite(values)
        if here.any():
            look = {"marker": marker, "color": STATES[state], "label": label, "alpha": 0.8}
            below += scatter_accuracies(axes, x[here], values[here], low, **look)
    failed = x[~finished]
    if len(failed):
        axes.plot(
            failed,
            np.full(len(failed), 0.02),
            marker="|",
            linestyle="none",
            color=STATES["FAIL"],
            label="failed",
            transform=axes.get_xaxis_transform(),
            rasterized=True,
        )
    axes.step(x, best, where="post", color=BLUE, linewidth=2, label="best so far")
    high = float(np.nanmax(values[finished]))
    set_accuracy_axis(axes, low, high)
    axes.set_ylabel("validation accuracy")
    axes.set_xlim(left=0)
    _label_levels(axes, shown)
    return below


def _label_levels(axes: Axes, levels: dict[str, float]) -> None:
    """Draw dashed lines, named at their right end; names that would overlap are moved apart."""
    bottom, top = axes.get_ylim()
    gap = 0.06 * (top - bottom)
    place = top + gap
    # From the highest down; the names still to come need room above the lower end.
    for left, (name, level) in zip(range(len(levels) - 1, -1, -1), levels.items(), strict=True):
        place = max(min(level, place - gap), bottom + left * gap)
        axes.axhline(level, color=GREY, linewidth=0.8, linestyle="--", zorder=1)
        axes.annotate(
            f"{brief(name, _LONGEST_NAME)} {percent(level)}",
            xy=(1.0, level),
            xytext=(1.03, place),
            xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(),
            fontsize=8,
            va="center",
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6},
            annotation_clip=False,
        )


def _steps(ended: pd.DataFrame) -> Table:
    steps = ended[ended["better"]]
    return Table(
        name="progress",
        caption="Each new best trial, in order of completion",
        columns=[
            Column("trial", "trial"),
            Column("finished trials", "finished trials", lambda step: step["count"]),
            Column("seconds", "time", lambda step: step["time"], duration),
            Column(
                "validation accuracy", "validation accuracy", lambda step: step["best"], percent
            ),
            Column("gain", "gain (pp)", _gain, points),
        ],
        items=steps.rename_axis("trial").reset_index(),
    )


def _gain(step: dict[str, Any]) -> float | None:
    return float(step["best"] - step["before"]) if np.isfinite(step["before"]) else None

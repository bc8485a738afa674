"""The best validation accuracy so far, over trials."""

from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reporting.dimensions import brief
from reporting.drawing.axes import (
    below_words,
    lower_end,
    scatter_accuracies,
    set_accuracy_axis,
)
from reporting.drawing.style import (
    BLUE,
    GREY,
    STATES,
    is_narrow,
    legend_above,
    new_figure,
    percent,
    points,
)
from reporting.evidence import Evidence
from reporting.page.document import Block, Column, Paragraph, Picture, Table
from reporting.study_tables import Record, start_and_end
from search.display import duration

_MARKERS: Final = {"COMPLETE": ("o", "complete"), "PRUNED": ("x", "pruned, last epoch's value")}
_MOST_LEVELS: Final = 8
_MOST_OF_IT: Final = 0.9
_LONGEST_NAME: Final = 22
_LONGEST_NARROW: Final = 12


def blocks(evidence: Evidence) -> list[Block]:
    """Show how the best accuracy rose, and when it passed what the search began with."""
    record = evidence.record
    ended, levels = ended_trials(record), _levels(record)
    if not ended["better"].any():
        return [Paragraph(f"No complete trial has a {record.measure}.")]
    return [
        Paragraph(_summary(ended, levels, record.measure), strong=True),
        _picture(ended, levels, record.measure),
        _steps(ended, record.measure),
    ]


def ended_trials(record: Record) -> pd.DataFrame:
    """Return ended trials in order of completion, with the finished ones and the best by then."""
    trials = record.trials.assign(time=start_and_end(record)["end"])
    trials = trials[trials["state"].isin(["COMPLETE", "PRUNED", "FAIL"])]
    rows = trials.sort_values("time", kind="stable")[["state", "value", "time", "name", "enqueued"]]
    values = pd.to_numeric(rows["value"], errors="coerce").where(rows["state"] == "COMPLETE")
    best = values.cummax().ffill()
    before = best.shift().fillna(-np.inf)
    return rows.assign(
        count=(rows["state"] != "FAIL").cumsum(), best=best, better=values > before, before=before
    )


def _levels(record: Record) -> dict[str, float]:
    """Return the accuracy of each named configuration with a complete trial, highest first."""
    named = record.complete[record.complete["name"].notna()].dropna(subset="value")
    highest = named.groupby("name")["value"].max().sort_values(ascending=False)
    return {str(name): float(value) for name, value in highest.items()}


def _summary(ended: pd.DataFrame, levels: dict[str, float], measure: str) -> str:
    steps = ended[ended["better"]]
    number, last = steps.index[-1], steps.iloc[-1]
    complete = int((ended["state"] == "COMPLETE").sum())
    which = (
        "The only complete trial" if complete == 1 else f"The best of {complete} complete trials"
    )
    text = f"{which} is trial {number}, with {percent(last['best'])} {measure}. "
    if not levels:
        return text + "No configuration that the search began with has a complete trial."
    name, level = next(iter(levels.items()))
    if pd.notna(last["name"]):
        return text + f"The search began with it ({last['name']}): no other trial beat it."
    passed = ended[ended["better"] & (ended["best"] > level) & ended["name"].isna()]
    if passed.empty:
        return text + f"No trial beat {name} ({percent(level)}), the best that it began with."
    first = passed.iloc[0]
    by_user = ", which a user enqueued" if first["enqueued"] else ""
    return (
        f"{text}Trial {passed.index[0]}{by_user}, finished trial {int(first['count'])}, was the "
        f"first to beat {name} ({percent(level)}), the best that it began with. These are single "
        "trainings, measured on the images that the search optimizes for."
    )


def _picture(ended: pd.DataFrame, levels: dict[str, float], measure: str) -> Picture:
    shown = dict(list(levels.items())[:_MOST_LEVELS])
    # Pruned trials have trained for fewer epochs: they do not set the scale.
    complete = ended.loc[ended["state"] == "COMPLETE", "value"].dropna().astype(float)
    low = lower_end(complete, min([*shown.values(), float(ended["best"].median())]))
    values = pd.to_numeric(ended.loc[ended["state"] != "FAIL", "value"], errors="coerce")
    return Picture(
        name="progress",
        finding=_finding(ended, measure),
        caption=f"Line: best {measure} of a complete trial so far; points: trials, one "
        "training each; dashed: what the search began with."
        + below_words(int((values < low).sum())),
        draw=lambda width: _draw(width, ended, shown, low, measure),
    )


def _finding(ended: pd.DataFrame, measure: str) -> str:
    """Say how far the measure rose, and how soon most of it was reached."""
    steps = ended[ended["better"]]
    total = int(ended["count"].iloc[-1])
    first, last = float(steps["best"].iloc[0]), float(steps["best"].iloc[-1])
    if len(steps) == 1:
        return f"No later trial beat trial {steps.index[0]}, with {percent(last)}"
    value = measure.removeprefix("validation ")
    words = f"The best {value} rose from {percent(first)} to {percent(last)}"
    early = steps[steps["best"] >= first + _MOST_OF_IT * (last - first)].iloc[0]
    share = (float(early["best"]) - first) / (last - first)
    how_much = "all of it" if share == 1.0 else f"{100 * share:.0f} % of the rise"
    return f"{words}, {how_much} within the first {int(early['count']):,} of {total:,} trials"


def _draw(
    width: float, ended: pd.DataFrame, levels: dict[str, float], low: float, measure: str
) -> Figure:
    figure, axes = new_figure(width, 4.0)
    x = ended["count"].to_numpy(float)
    values = pd.to_numeric(ended["value"], errors="coerce").to_numpy(float)
    finished = (ended["state"] != "FAIL").to_numpy()
    for state, (marker, label) in _MARKERS.items():
        here = (ended["state"] == state).to_numpy() & np.isfinite(values)
        if here.any():
            look = {"marker": marker, "color": STATES[state], "label": label, "alpha": 0.8}
            scatter_accuracies(axes, x[here], values[here], low, **look)
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
    best = ended["best"].to_numpy(float)
    axes.step(x, best, where="post", color=BLUE, linewidth=2, label="best so far")
    set_accuracy_axis(axes, low, float(np.nanmax(values[finished])))
    axes.set_xlabel("finished trials, in order of completion")
    axes.set_ylabel(measure)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _label_levels(axes, levels, narrow=is_narrow(width))
    legend_above(figure)
    return figure


def _label_levels(axes: Axes, levels: dict[str, float], *, narrow: bool) -> None:
    """Draw dashed lines, named at their right end; names that would overlap are moved apart."""
    bottom, top = axes.get_ylim()
    gap = (0.11 if narrow else 0.06) * (top - bottom)
    place = top + gap
    # From the highest down; the names still to come need room above the lower end.
    for left, (name, level) in zip(range(len(levels) - 1, -1, -1), levels.items(), strict=True):
        place = max(min(level, place - gap), bottom + left * gap)
        axes.axhline(level, color=GREY, linewidth=0.8, linestyle="--", zorder=1)
        axes.annotate(
            f"{brief(name, _LONGEST_NARROW)}\n{percent(level)}"
            if narrow
            else f"{brief(name, _LONGEST_NAME)} {percent(level)}",
            xy=(1.0, level),
            xytext=(1.03, place),
            xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(),
            fontsize=8,
            va="center",
            # From the name's left edge: from its middle, the line would cross the names above.
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "relpos": (0, 0.5)},
            annotation_clip=False,
        )


def _steps(ended: pd.DataFrame, measure: str) -> Table:
    steps = ended[ended["better"]]
    return Table(
        name="progress",
        caption="Each new best trial, in order of completion",
        columns=[
            Column("trial", "trial"),
            Column("finished trials", "finished trials", lambda step: step["count"]),
            Column("seconds", "time", lambda step: step["time"], duration),
            Column("validation accuracy", measure, lambda step: step["best"], percent),
            Column("gain", "gain (pp)", _gain, points),
        ],
        items=steps.rename_axis("trial").reset_index(),
    )


def _gain(step: dict[str, Any]) -> float | None:
    return float(step["best"] - step["before"]) if np.isfinite(step["before"]) else None

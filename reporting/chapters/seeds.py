"""Every test accuracy there is: one point for each seed, nothing averaged away."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reporting.drawing.style import (
    BLUE,
    MISSING,
    ORANGE,
    VERMILION,
    bounds,
    new_figure,
    percent,
    spread,
)
from reporting.evidence import Evidence, Row
from reporting.page.document import Block, Paragraph, Picture, Table
from spaces.baselines import BASELINES

_BASELINES: Final = {baseline.name: baseline for baseline in BASELINES}
_BELOW: Final = 0.22


def blocks(evidence: Evidence) -> list[Block]:
    """Test accuracy of every seed of every row."""
    rows = sorted(evidence.scored, key=lambda row: -row.accuracy.mean)
    missing = evidence.gaps
    written: list[Block] = (
        [_picture(rows), _table(rows), *([Paragraph(missing)] if missing else [])]
        if rows
        else [Paragraph(evidence.no_test_results)]
    )
    return written


def published(row: Row) -> float | None:
    """Return the published accuracy of a baseline, in [0, 1]; None without one."""
    return _BASELINES[row.name].published_accuracy if _is_published(row) else None


def _picture(rows: Sequence[Row]) -> Picture:
    figure, axes = new_figure(0.5 * len(rows) + 1.4)
    for position, row in enumerate(rows):
        _draw_row(axes, position, row)
    handles = [
        axes.plot([], [], "o", color=BLUE, markersize=5, alpha=0.7, label="one seed")[0],
        axes.errorbar(
            [], [], xerr=[], fmt="D", color=ORANGE, markersize=5, label="mean, 95 % interval"
        ),
    ]
    if any(published(row) is not None for row in rows):
        handles.append(
            axes.plot([], [], "s", mfc="none", color=VERMILION, markersize=8, label="published")[0]
        )
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    names = [f"{row.name} (n = {row.accuracy.n})" for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.05)
    axes.set_xlabel("test accuracy (%)")
    return Picture(
        name="seeds-points",
        finding=_finding(rows),
        caption=(
            "Rows by their mean. Interval: t, of the mean over seeds; none for n = 1. A published "
            "number is drawn as it is given, often of one run; see the table for its words."
        ),
        figure=figure,
    )


def _draw_row(axes: Axes, position: int, row: Row) -> None:
    values = 100 * row.correct.mean(axis=1)
    axes.plot(values, np.full(len(values), position), "o", color=BLUE, markersize=5, alpha=0.7)
    accuracy = row.accuracy
    below = position + _BELOW
    axes.plot(100 * accuracy.mean, below, "D", color=ORANGE, markersize=5)
    if accuracy.low is not None and accuracy.high is not None:
        axes.hlines(below, 100 * accuracy.low, 100 * accuracy.high, ORANGE, linewidth=1.5)
    claim = published(row)
    if claim is not None:
        axes.plot(100 * claim, position, "s", mfc="none", color=VERMILION, markersize=8)


def _finding(rows: Sequence[Row]) -> str:
    first = rows[0]
    words = f"{first.name} has the highest mean, {percent(first.accuracy.mean)}"
    tuned = next((row for row in rows if row.kind == "tuned"), None)
    baseline = next((row for row in rows if row.kind == "baseline"), None)
    if tuned is None or baseline is None:
        return words
    best = f"{baseline.name}, the best baseline"
    ours, theirs = (row.correct.mean(axis=1) for row in (tuned, baseline))
    if ours.min() > theirs.max():
        return f"{words}; every seed of {tuned.name} is above every one of {best}"
    if ours.max() < theirs.min():
        return f"{words}; every seed of {tuned.name} is below every one of {best}"
    return f"{words}; seeds of {tuned.name} and of {best}, overlap"


def _table(rows: Sequence[Row]) -> Table:
    each = [row.correct.mean(axis=1) for row in rows]
    values = pd.DataFrame(
        [
            {
                "row": row.name,
                "n": row.accuracy.n,
                "mean": row.accuracy.mean,
                "sd": row.accuracy.sd,
                "low": row.accuracy.low,
                "high": row.accuracy.high,
                "published": published(row),
            }
            | {f"seed {index}": value for index, value in enumerate(accuracies, start=1)}
            for row, accuracies in zip(rows, each, strict=True)
        ]
    )
    shown = pd.DataFrame(
        {
            "row": [row.name for row in rows],
            "n": [row.accuracy.n for row in rows],
            "mean": [spread(row.accuracy) for row in rows],
            "95 % interval": [bounds(row.accuracy) for row in rows],
            "lowest": [percent(float(accuracies.min())) for accuracies in each],
            "highest": [percent(float(accuracies.max())) for accuracies in each],
            "published": [_claim(row) for row in rows],
        }
    )
    return Table(
        name="seeds-accuracy",
        caption="Test accuracy over seeds; ± is the deviation between them.",
        shown=shown,
        values=values,
    )


def _claim(row: Row) -> str:
    return _BASELINES[row.name].published if _is_published(row) else MISSING


def _is_published(row: Row) -> bool:
    return row.kind == "baseline" and row.name in _BASELINES

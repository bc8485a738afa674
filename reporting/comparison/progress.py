"""The best validation value so far of each study, over trials and over worker time."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reporting.chapters.progress import ended_trials
from reporting.comparison.studies import Compared
from reporting.dimensions import brief
from reporting.drawing.axes import lower_end, set_accuracy_axis, time_unit
from reporting.drawing.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    VERMILION,
    is_narrow,
    legend_above,
    new_figure,
    percent,
)
from reporting.page.document import Block, Column, Paragraph, Picture, Table
from reporting.study_tables import seconds_taken
from search.display import duration

_COLORS: Final = (BLUE, ORANGE, GREEN, VERMILION, INK)
_LINES: Final = ("-", "--", ":")
_LONGEST_NAME: Final = 24


def blocks(studies: Sequence[Compared]) -> list[Block]:
    """Draw the curves, and say when each study reached what the others ended with."""
    curves = {study.name: _curve(study) for study in studies}
    measures = {study.record.measure for study in studies}
    written: list[Block] = [
        Picture(
            name="best-so-far",
            finding=_finding(curves),
            caption=f"Best {' or '.join(sorted(measures))} of a complete trial so far, over "
            "finished trials and over worker time (the time of all trials, one after another).",
            draw=lambda width: _draw(width, curves, measures),
        ),
        _reached(curves),
    ]
    if warning := _warning(studies):
        written.append(Paragraph(warning))
    return written


def _curve(study: Compared) -> pd.DataFrame:
    """Return `count`, `seconds` and `best` after each ended trial, once there is a best."""
    ended = ended_trials(study.record)
    seconds = seconds_taken(study.record).reindex(ended.index).fillna(0).cumsum()
    return ended.assign(seconds=seconds)[["count", "seconds", "best"]].dropna(subset="best")


def _finding(curves: dict[str, pd.DataFrame]) -> str:
    last = {name: float(curve["best"].iloc[-1]) for name, curve in curves.items()}
    best = max(last, key=lambda name: last[name])
    return f"{best} has the highest validation value, {percent(last[best])}"


def _draw(width: float, curves: dict[str, pd.DataFrame], measures: set[str]) -> Figure:
    narrow = is_narrow(width)
    rows, columns = (2, 1) if narrow else (1, 2)
    figure, (left, right) = new_figure(
        width, 5.4 if narrow else 3.8, nrows=rows, ncols=columns, sharey=True
    )
    # The first trials of a search may be far below all others.
    low = lower_end(np.concatenate([curve["best"].to_numpy(float) for curve in curves.values()]))
    high = max(float(curve["best"].iloc[-1]) for curve in curves.values())
    longest = max(float(curve["seconds"].iloc[-1]) for curve in curves.values())
    unit, name_of_unit = time_unit(longest)
    looks = zip(curves.items(), cycle(_looks()), strict=False)
    for (name, curve), look in looks:
        best = curve["best"].to_numpy(float)
        label = brief(name, _LONGEST_NAME)
        for axes, x in (
            (left, curve["count"].to_numpy(float)),
            (right, curve["seconds"].to_numpy(float) / unit),
        ):
            _step(axes, x, best, label=label, **look)
    for axes in (left, right):
        set_accuracy_axis(axes, low, high)
        axes.set_xlim(left=0)
    left.set_xlabel("finished trials")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_xlabel(f"worker time ({name_of_unit})")
    left.set_ylabel(f"best {' or '.join(sorted(measures))}")
    legend_above(figure)
    return figure


def _looks() -> list[dict[str, Any]]:
    return [{"linestyle": line, "color": color} for line in _LINES for color in _COLORS]


def _step(
    axes: Any, x: npt.NDArray[np.float64], best: npt.NDArray[np.float64], **look: Any
) -> None:
    axes.step(x, best, where="post", linewidth=1.8, **look)
    axes.plot(x[-1:], best[-1:], "o", markersize=4, color=look["color"])


def _reached(curves: dict[str, pd.DataFrame]) -> Table:
    """Say when each study reached the lowest of the final values, which all reach."""
    common = min(float(curve["best"].iloc[-1]) for curve in curves.values())
    rows = []
    for name, curve in curves.items():
        there = curve[curve["best"] >= common].iloc[0]
        rows.append(
            {
                "study": name,
                "best": float(curve["best"].iloc[-1]),
                "trials": int(there["count"]),
                "seconds": float(there["seconds"]),
            }
        )
    return Table(
        name="reached",
        caption=f"When each study reached {percent(common)}, which all reach",
        columns=[
            Column("study", "study"),
            Column("best", "highest value", format=percent),
            Column("trials", "finished trials", format=","),
            Column("seconds", "worker time", format=duration),
        ],
        items=rows,
    )


def _warning(studies: Sequence[Compared]) -> str:
    """Say why validation values may not be comparable; empty if they are."""
    splits = {study.record.sizes for study in studies}
    epochs = {study.record.max_epochs for study in studies}
    objectives = {study.record.objective for study in studies}
    reasons = [
        words
        for differs, words in (
            (len(splits) > 1, "training or validation images"),
            (len(epochs) > 1, "epochs of a trial"),
            (len(objectives) > 1, "objectives"),
        )
        if differs
    ]
    if not reasons:
        return ""
    return (
        f"The studies differ in {' and '.join(reasons)}, so their validation values cannot be "
        "compared; the test accuracies of the leaderboard can."
    )

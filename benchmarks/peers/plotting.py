"""A figure of the incumbents' accuracy over CPU seconds."""

from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.peers.results import Finished
from benchmarks.peers.summary import groups, methods
from reporting.drawing.axes import lower_end, set_accuracy_axis
from reporting.drawing.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    VERMILION,
    WIDE,
    figure_style,
    legend_above,
    new_figure,
)
from reporting.statistics import interval

_LOOKS: Final = (
    *((BLUE, "-"), (ORANGE, "-"), (GREEN, "-"), (VERMILION, "-")),
    *((INK, "--"), (GREY, "-"), (GREY, ":")),
)
_POINTS: Final = 200


def draw(searches: list[Finished], file: Path) -> None:
    """Draw the mean over seeds and its 95 % t interval, a panel for each comparison."""
    found = groups(searches)
    if not found:
        raise SystemExit("peers: there is nothing to draw yet")
    with figure_style():
        figure, axes = new_figure(
            WIDE, 0.6 + 3.0 * len(found), nrows=len(found), squeeze=False, sharex=True
        )
        for axis, (title, group) in zip(axes[:, 0], found.items(), strict=True):
            end = max(one.budget for one in group)
            seconds = np.linspace(0, end, _POINTS)
            lowest, highest = [], []
            for name, (color, line) in zip(methods(group), _LOOKS, strict=False):
                intervals = [
                    interval([one.score_at(at) for one in group if one.job.peer == name])
                    for at in seconds
                ]
                means = np.array([one.mean for one in intervals])
                axis.plot(seconds, means, line, color=color, label=name)
                if intervals[0].low is not None:
                    lows, highs = (
                        [getattr(one, side) for one in intervals] for side in ("low", "high")
                    )
                    axis.fill_between(seconds, lows, highs, color=color, alpha=0.12, linewidth=0)
                lowest.append(lower_end(means[_POINTS // 4 :]))
                highest.append(means.max())
            set_accuracy_axis(axis, min(lowest), max(highest))
            axis.set_title(title, fontsize=9)
            axis.set_ylabel("accuracy of the incumbent")
        axes[-1, 0].set_xlabel("CPU seconds of the search")
        legend_above(figure)
        figure.savefig(file)

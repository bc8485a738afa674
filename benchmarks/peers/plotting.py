"""A figure of the incumbents' accuracy over CPU seconds."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes

from benchmarks.peers.registry import PEERS
from benchmarks.peers.results import Finished
from benchmarks.peers.summary import LEAST_SEEDS, groups, methods
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
    wrapped,
)
from reporting.statistics import interval

_LOOKS: Final = (  # in the order of the registry
    *((BLUE, "-"), (ORANGE, "-"), (GREEN, "-"), (VERMILION, "-")),
    *((INK, "--"), (GREY, "-"), (GREY, ":")),
)
_POINTS: Final = 200


def draw(searches: list[Finished], file: Path) -> None:
    """Draw the mean over seeds, a panel for each comparison.

    Around it is its 95 % t interval or, of few seeds, a thin line for each.
    """
    found = groups(searches)
    if not found:
        raise SystemExit("peers: there is nothing to draw yet")
    with figure_style():
        figure, axes = new_figure(
            WIDE, 0.6 + 3.3 * len(found), nrows=len(found), squeeze=False, sharex=True
        )
        for axis, (title, group) in zip(axes[:, 0], found.items(), strict=True):
            seconds = np.linspace(0, max(one.budget for one in group), _POINTS)
            levels = [
                _draw_method(axis, [one for one in group if one.job.peer == name], seconds, name)
                for name in methods(group)
            ]
            set_accuracy_axis(axis, min(low for low, _ in levels), max(high for _, high in levels))
            axis.set_title(wrapped(title, 90), fontsize=9)
            axis.set_ylabel("accuracy of the incumbent")
        axes[-1, 0].set_xlabel("CPU seconds of the search")
        handles = {
            label: handle
            for axis in axes[:, 0]
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        legend_above(figure, list(handles.values()))
        figure.savefig(file)


def _draw_method(
    axis: Axes, searches: list[Finished], seconds: Any, peer: str
) -> tuple[float, float]:
    """Draw the searches of a method, and return the lowest and highest accuracy to be seen."""
    color, line = _LOOKS[list(PEERS).index(peer)]
    seconds = seconds[seconds <= min(one.budget for one in searches)]
    scores = np.array([[one.score_at(at) for one in searches] for at in seconds])
    means = scores.mean(axis=1)
    axis.plot(seconds, means, line, color=color, label=peer)
    if len(searches) < LEAST_SEEDS:
        axis.plot(seconds, scores, line, color=color, alpha=0.35, linewidth=0.7)
    else:
        bands = [interval(list(row)) for row in scores]
        lows, highs = ([getattr(one, side) for one in bands] for side in ("low", "high"))
        axis.fill_between(seconds, lows, highs, color=color, alpha=0.12, linewidth=0)
    return lower_end(means[len(means) // 4 :]), scores.max()

"""The picture of how one configuration learned, over its seeds."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from reporting.drawing.style import BLUE, GREY, ORANGE, new_figure, percent
from reporting.page.document import Block, Paragraph, Picture
from reporting.retraining.order import Retrained

_MOST_MARKERS: Final = 40


def learning_curves(runs: Sequence[Retrained]) -> Block:
    """Accuracy, loss and learning rate by epoch, over the seeds of one configuration.

    Args:
        runs: With validation, as fresh seeds have it.
    """
    curves = {
        name: _curve(runs, name)
        for name in ("val_accuracy", "accuracy", "val_loss", "loss", "learning_rate")
    }
    if curves["val_accuracy"].empty:
        return Paragraph("No fresh training of it is finished, so there are no learning curves.")
    panels = [("accuracy (%)", 100.0, ("val_accuracy", "accuracy"))]
    panels += [("loss", 1.0, ("val_loss", "loss"))] if not curves["val_loss"].empty else []
    rated = not curves["learning_rate"].empty
    figure, axes = new_figure(
        2.4 * len(panels) + 1.5 * rated,
        nrows=len(panels) + rated,
        sharex=True,
        squeeze=False,
        height_ratios=[2.4] * len(panels) + [1.5] * rated,
    )
    column = axes[:, 0]
    for panel, (label, factor, (validation, training)) in zip(column, panels, strict=False):
        _draw(panel, curves[validation] * factor, "validation", BLUE, "o-")
        _draw(panel, curves[training] * factor, "training", ORANGE, "s--")
        panel.set_ylabel(label)
    column[0].legend(loc="lower right")
    if rated:
        _draw(column[-1], curves["learning_rate"], "", GREY, ".-")
        column[-1].set_ylabel("learning rate")
        column[-1].set_ylim(bottom=0)
    column[-1].set_xlabel("epoch")
    column[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return Picture(
        name="winner-learning",
        finding=_finding(curves["val_accuracy"], curves["accuracy"]),
        caption=(
            f"{_seeds_in_words(len(curves['val_accuracy']))} Training values are taken during the "
            "epoch, with dropout and augmentation on where it has them; the learning rate at its "
            "end."
        ),
        figure=figure,
    )


def _seeds_in_words(count: int) -> str:
    if count == 1:
        return "One fresh seed (n = 1), so no band."
    return f"Line: mean of {count} fresh seeds (n = {count}). Band: lowest to highest."


def _curve(runs: Sequence[Retrained], name: str) -> pd.DataFrame:
    """One row for each run that has such values, one column for each epoch from 1."""
    rows = [[entry.get(name, np.nan) for entry in run.history] for run in runs]
    frame = pd.DataFrame(rows, dtype=float).dropna(how="all")
    return frame.set_axis(range(1, frame.shape[1] + 1), axis="columns")


def _draw(axes: Axes, curve: pd.DataFrame, label: str, color: str, style: str) -> None:
    """Draw the mean over runs and, from two on, the band from lowest to highest."""
    if curve.empty:
        return
    drawn = style if curve.shape[1] <= _MOST_MARKERS else style[1:]
    axes.plot(curve.columns, curve.mean(), drawn, color=color, label=label, markersize=4)
    if len(curve) > 1:
        axes.fill_between(
            curve.columns, curve.min(), curve.max(), color=color, alpha=0.25, linewidth=0
        )


def _finding(validation: pd.DataFrame, training: pd.DataFrame) -> str:
    last = float(validation.iloc[:, -1].mean())
    words = f"Validation accuracy is {percent(last)} after epoch {validation.shape[1]}"
    if training.empty:
        return words
    gap = 100 * (float(training.iloc[:, -1].mean()) - last)
    return f"{words}, {abs(gap):.2f} points {'below' if gap >= 0 else 'above'} training accuracy"

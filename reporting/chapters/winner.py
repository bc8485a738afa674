"""The chosen configuration: hyperparameters, layers, code and learning curves."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from predicting.model import ModelError, load_model
from reporting.drawing.style import (
    BLUE,
    GREY,
    MISSING,
    ORANGE,
    counted,
    new_figure,
    percent,
    spread,
)
from reporting.evidence import Evidence, Remeasured
from reporting.page.document import Block, Code, Column, Paragraph, Picture, Table
from reporting.retraining import MODEL_FILE, Retrained
from spaces import load_space
from spaces.errors import one_line

_MOST_MARKERS: Final = 40
_MOST_ROWS: Final = 12


def blocks(evidence: Evidence) -> list[Block]:
    """Describe the winner of the search."""
    winner = evidence.winner
    if winner is None:
        return [Paragraph("Nothing was retrained, so no winner was chosen.")]
    return [
        *_configuration(evidence, winner),
        *_architecture(evidence),
        _learning_curves(winner.runs),
    ]


def _configuration(evidence: Evidence, winner: Remeasured) -> list[Block]:
    number = winner.candidate.number
    params = evidence.record.trial_params(number)
    measured = winner.accuracy
    written: list[Block] = [
        Paragraph(
            f"Trial {number} has the highest mean validation accuracy of "
            f"{counted(len(evidence.remeasured), 'retrained trial')}: {spread(measured)} over "
            f"{counted(0 if measured is None else measured.n, 'fresh seed')}."
        )
    ]
    words = _described(str(evidence.record.facts["space"]), params)
    if words is not None:
        written.append(Paragraph(words, strong=True))
    written.append(
        Table(
            name="winner-hyperparameters",
            caption=f"The {len(params)} hyperparameters of trial {number}",
            columns=[
                Column("hyperparameter", "hyperparameter", lambda item: item[0]),
                Column("value", "value", lambda item: item[1], _as_text),
            ],
            items=list(params.items()),
            fold=len(params) > _MOST_ROWS,
        )
    )
    return written


def _described(space_name: str, params: Mapping[str, Any]) -> str | None:
    try:
        describe = getattr(load_space(space_name), "describe", None)
        return None if describe is None else str(describe(params))
    except Exception:  # a user's space may raise anything
        return None


def _as_text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _architecture(evidence: Evidence) -> list[Block]:
    tuned = evidence.tuned
    if tuned is None or not tuned.runs:
        return [Paragraph(f"Layers are not listed. {evidence.no_test_results}")]
    path = tuned.runs[0].folder / MODEL_FILE
    try:
        model = load_model(path).keras_model
    except ModelError as error:
        return [Paragraph(f"Layers are not listed: {one_line(error)}.")]
    # Imports Keras, which takes seconds that a report without a model does not need.
    from reporting.keras_code import keras_code

    return [
        Table(
            name="winner-layers",
            caption=f"{len(model.layers)} layers, {model.count_params():,} parameters",
            columns=[
                Column("layer", "layer", lambda layer: layer.name),
                Column("kind", "type", lambda layer: type(layer).__name__),
                Column("output shape", "output shape", _shape),
                Column("parameters", "parameters", lambda layer: layer.count_params(), ","),
            ],
            items=model.layers,
            fold=len(model.layers) > _MOST_ROWS,
        ),
        Paragraph(
            "This code builds the same network, untrained. best_config.json beside this page has "
            "the training settings."
        ),
        Code(keras_code(model), "python"),
    ]


def _shape(layer: Any) -> str:
    try:
        shape = layer.output.shape
    except AttributeError:  # a layer with several outputs, or of a model that is not functional
        return MISSING
    return " x ".join("any" if size is None else str(size) for size in shape[1:])


def _learning_curves(runs: Sequence[Retrained]) -> Block:
    """Draw accuracy, loss and learning rate by epoch, over the seeds of the winner.

    Args:
        runs: Retrainings with validation.
    """
    curves = {
        name: _curve(runs, name)
        for name in ("val_accuracy", "accuracy", "val_loss", "loss", "learning_rate")
    }
    if curves["val_accuracy"].empty:
        return Paragraph("No learning curves: no retraining with a fresh seed is finished.")
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
            f"{_seeds_in_words(len(curves['val_accuracy']))} Training values are means over the "
            "epoch, with dropout and augmentation if it has them; the learning rate is that at its "
            "end."
        ),
        figure=figure,
    )


def _seeds_in_words(count: int) -> str:
    if count == 1:
        return "One fresh seed (n = 1)."
    return f"Line: mean of {count} fresh seeds (n = {count}). Band: lowest to highest."


def _curve(runs: Sequence[Retrained], name: str) -> pd.DataFrame:
    """Return the values by run and epoch (columns), without runs that have none."""
    rows = [[entry.get(name, np.nan) for entry in run.history] for run in runs]
    frame = pd.DataFrame(rows, dtype=float).dropna(how="all")
    return frame.set_axis(range(1, frame.shape[1] + 1), axis="columns")


def _draw(axes: Axes, curve: pd.DataFrame, label: str, color: str, style: str) -> None:
    """Draw the mean over runs, and with two or more the band from lowest to highest."""
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

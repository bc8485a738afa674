"""The chosen configuration: hyperparameters, layers, code and learning curves."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from predicting.archive import ModelError
from predicting.model import load_model
from reporting.drawing.style import (
    BLUE,
    GREY,
    MISSING,
    ORANGE,
    VERMILION,
    legend_above,
    new_figure,
    percent,
    spread,
)
from reporting.evidence import Evidence, Remeasured, Row
from reporting.page.document import Block, Code, Column, Paragraph, Picture, Table
from reporting.retraining import MODEL_FILE, Retrained
from reporting.views import ALONE
from search.words import counted
from spaces import DataShape, SpaceError, description, load_space
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
        *_models(evidence),
        _learning_curves(winner.runs, evidence.tuned),
    ]


def _configuration(evidence: Evidence, winner: Remeasured) -> list[Block]:
    candidate = winner.candidate
    params, number = candidate.params, candidate.number
    changed = candidate.augmentation
    measured = winner.accuracy
    written: list[Block] = [
        Paragraph(
            f"The winner is {candidate.name}: of "
            f"{counted(len(evidence.remeasured), 'configuration')} from "
            f"{counted(evidence.retrained_trials, 'retrained trial')} it has the highest mean "
            f"{evidence.record.measure}, {spread(measured)} over "
            f"{counted(0 if measured is None else measured.n, 'new seed')}, after "
            f"{counted(evidence.settings.final_epochs, 'epoch')}."
        )
    ]
    if changed is not None:
        written.append(
            Paragraph(
                f"The augmentation {changed} was chosen at that length; in the search the trial "
                f"had {evidence.record.trial_params(number)['augmentation']}. All else is as in "
                "the search."
            )
        )
    words = _described(evidence.record.space, evidence.dataset.shape, params)
    if words is not None:
        written.append(Paragraph(words, strong=True))
    written.append(
        Table(
            name="winner-hyperparameters",
            caption=f"The {len(params)} hyperparameters of {candidate.name}",
            columns=[
                Column("hyperparameter", "hyperparameter", lambda item: item[0]),
                Column("value", "value", lambda item: item[1], _as_text),
            ],
            items=list(params.items()),
            fold=len(params) > _MOST_ROWS,
        )
    )
    return written


def _described(space: str, data: DataShape, params: Mapping[str, Any]) -> str | None:
    try:
        return description(load_space(space, data), params)
    except SpaceError:  # a user's module may be gone
        return None


def _as_text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _architecture(evidence: Evidence) -> list[Block]:
    tuned = evidence.tuned
    if tuned is None or not tuned.runs:
        return [Paragraph(f"Layers are not listed. {evidence.no_test_results}")]
    path = tuned.runs[0].folder / MODEL_FILE
    try:
        model = load_model(path, evidence.dataset.shape).keras_model
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


def _models(evidence: Evidence) -> list[Block]:
    """Say what the models beside the page take and give."""
    readout = evidence.readout
    if evidence.tuned is None:
        return []
    if readout.plain:
        return [
            Paragraph(
                "best_model.keras is the network alone, for images in [0, 1], without other "
                f"views and temperature: it cannot be put into one graph ({readout.plain})."
            )
        ]
    views = readout.views
    mean = f", from the mean over {views.count} views ({views})" if views != ALONE else ""
    if readout.temperature == 1:
        probabilities = "probabilities, which are not calibrated"
    else:
        probabilities = f"calibrated probabilities (temperature {readout.temperature:.3g})"
    return [
        Paragraph(
            f"best_model.keras, row tuned of this report, maps images in [0, 255] to "
            f"{probabilities}{mean}. best_logits.keras maps images in [0, 1] to the logits of the "
            "network alone."
        )
    ]


def _shape(layer: Any) -> str:
    try:
        shape = layer.output.shape
    except AttributeError:  # a layer with several outputs, or of a model that is not functional
        return MISSING
    return " x ".join("any" if size is None else str(size) for size in shape[1:])


def _learning_curves(chosen: Sequence[Retrained], tuned: Row | None) -> Block:
    """Draw accuracy, loss and learning rate by epoch: of the final trainings if there are any.

    Args:
        chosen: Retrainings with validation, by which the winner was chosen.
        tuned: The final trainings, on training and validation images together.
    """
    runs = chosen if tuned is None else tuned.runs
    curves = {
        name: _curve(runs, name)
        for name in ("val_accuracy", "accuracy", "val_loss", "loss", "learning_rate")
    }
    if curves["accuracy"].empty and curves["val_accuracy"].empty:
        return Paragraph("No learning curves: no training has recorded its accuracies.")
    count = max(len(curves["accuracy"]), len(curves["val_accuracy"]))
    over = (
        f"Line: mean of n = {count} seeds; band: lowest to highest."
        if count > 1
        else "One seed (n = 1)."
    )
    if tuned is None:
        finding = _finding(curves["val_accuracy"], curves["accuracy"])
        images = "The retrainings by which the winner was chosen."
    else:
        finding = _against_test(curves["accuracy"], tuned.accuracy.mean)
        images = (
            "The final trainings, one of which is best_model.keras, use the validation images too; "
            "diamond: mean test accuracy."
        )
    return Picture(
        name="winner-learning",
        finding=finding,
        caption=f"{images} {over} Training values are means over the epoch, with dropout and "
        "augmentation if it has them; the learning rate is that at its end.",
        draw=lambda width: _draw(width, curves, None if tuned is None else tuned.accuracy.mean),
    )


def _draw(width: float, curves: Mapping[str, pd.DataFrame], test: float | None) -> Figure:
    panels = [("accuracy (%)", 100.0, "val_accuracy", "accuracy", 2.2)]
    panels += [("loss", 1.0, "val_loss", "loss", 1.8)] if not curves["loss"].empty else []
    rated = not curves["learning_rate"].empty
    heights = [panel[-1] for panel in panels] + [1.3] * rated
    figure, axes = new_figure(
        width,
        sum(heights) + 0.4,
        nrows=len(heights),
        sharex=True,
        squeeze=False,
        height_ratios=heights,
    )
    column = axes[:, 0]
    for panel, (label, factor, validation, training, _) in zip(column, panels, strict=False):
        _draw_curve(panel, curves[training] * factor, "training", ORANGE, "s--")
        _draw_curve(panel, curves[validation] * factor, "validation", BLUE, "o-")
        panel.set_ylabel(label)
    if test is not None:
        last = curves["accuracy"].shape[1]
        column[0].plot(last, 100 * test, "D", color=VERMILION, markersize=7, label="test", zorder=4)
    if rated:
        _draw_curve(column[-1], curves["learning_rate"], "", GREY, ".-")
        column[-1].set_ylabel("learning rate")
        column[-1].set_ylim(bottom=0)
    column[-1].set_xlabel("epoch")
    column[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(figure)
    return figure


def _curve(runs: Sequence[Retrained], name: str) -> pd.DataFrame:
    """Return the values by run and epoch (columns), without runs that have none."""
    rows = [[entry.get(name, np.nan) for entry in run.history] for run in runs]
    frame = pd.DataFrame(rows, dtype=float).dropna(how="all")
    return frame.set_axis(range(1, frame.shape[1] + 1), axis="columns")


def _draw_curve(axes: Axes, curve: pd.DataFrame, label: str, color: str, style: str) -> None:
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


def _against_test(training: pd.DataFrame, test: float) -> str:
    if training.empty:  # a space's own `fit` need not log it
        return f"Test accuracy is {percent(test)}; no training accuracy was recorded"
    last = float(training.iloc[:, -1].mean())
    side = "above" if last >= test else "below"
    return (
        f"After epoch {training.shape[1]} training accuracy is {percent(last)}, "
        f"{100 * abs(last - test):.2f} points {side} test accuracy"
    )

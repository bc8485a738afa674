"""The chosen configuration: in words, as numbers, as layers, as code, and how it learned."""

from collections.abc import Mapping
from typing import Any

from predicting.models import ModelError, load_model
from reporting.drawing.learning import learning_curves
from reporting.drawing.style import MISSING, spread
from reporting.evidence import Evidence, Remeasured
from reporting.page.document import Block, Code, Column, Paragraph, Section, Table
from reporting.retraining.order import MODEL_FILE
from spaces import load_space


def section(evidence: Evidence) -> Section:
    """The winner of the search."""
    winner = evidence.winner
    blocks: list[Block] = (
        [Paragraph("Nothing was retrained, so no winner was chosen.")]
        if winner is None
        else [
            *_configuration(evidence, winner),
            *_architecture(evidence),
            learning_curves(winner.runs),
        ]
    )
    return Section(name="winner", title="The winner", blocks=blocks)


def _configuration(evidence: Evidence, winner: Remeasured) -> list[Block]:
    number = winner.candidate.number
    params = evidence.record.trial_params(number)
    measured = winner.accuracy
    blocks: list[Block] = [
        Paragraph(
            f"Trial {number} won: of {len(evidence.remeasured)} retrained trials it has the "
            f"highest mean validation accuracy over fresh seeds, {spread(measured)} "
            f"(n = {0 if measured is None else measured.n})."
        )
    ]
    words = _described(str(evidence.record.facts["space"]), params)
    if words is not None:
        blocks.append(Paragraph(words, strong=True))
    blocks.append(
        Table(
            name="winner-hyperparameters",
            caption=f"The {len(params)} hyperparameters of trial {number}",
            columns=[
                Column("hyperparameter", "hyperparameter", lambda item: item[0]),
                Column("value", "value", lambda item: item[1], _as_text),
            ],
            items=list(params.items()),
        )
    )
    return blocks


def _described(space_name: str, params: Mapping[str, Any]) -> str | None:
    try:
        describe = getattr(load_space(space_name), "describe", None)
        return None if describe is None else str(describe(params))
    except Exception:  # a space may be a user's: anything may come, and the table says it all
        return None


def _as_text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _architecture(evidence: Evidence) -> list[Block]:
    tuned = evidence.tuned
    if tuned is None or not tuned.runs:
        return [Paragraph(f"Its layers are not listed. {evidence.no_test_results}")]
    path = tuned.runs[0].folder / MODEL_FILE
    try:
        model = load_model(path).keras_model
    except ModelError as error:
        return [Paragraph(f"Its layers are not listed: {error}")]
    # Importing Keras takes seconds, which a report without a model need not spend.
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
        ),
        Paragraph(
            "This code builds the same layers with fresh weights. It says nothing of training; "
            "the hyperparameters above do."
        ),
        Code(keras_code(model), "python"),
    ]


def _shape(layer: Any) -> str:
    try:
        shape = layer.output.shape
    except AttributeError:  # a layer with several outputs, or of a model that is not functional
        return MISSING
    return " x ".join("any" if size is None else str(size) for size in shape[1:])

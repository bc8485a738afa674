"""`best_model.keras`: one stock-Keras graph from raw images to calibrated probabilities."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from predicting.archive import ModelError
from predicting.config import CONFIG_FILE, dataset_facts
from predicting.model import BATCH_SIZE, RAW_INPUT, Model, load_model
from reporting.evidence import Evidence, Row
from reporting.plan import Candidate
from reporting.readout import Readout, Tried, choose
from reporting.retraining import MODEL_FILE, Retrained
from reporting.scoring import SMALLEST, VALIDATION_SCORES_FILE, Probabilities, Scorer
from reporting.study_tables import Record
from reporting.views import ALONE, Views, views_in_graph
from search.data.dataset import Dataset, LabeledImages
from search.data.split import Split
from search.escape import write_csv
from search.study.objective import COSTS
from spaces import DataShape
from spaces.errors import one_line

BEST_MODEL_FILE: Final = "best_model.keras"
LOGITS_FILE: Final = "best_logits.keras"
# Allowed difference between float32 in the graph and float64 in `Readout.probabilities`.
_TOLERANCE: Final = 1e-3


def graph_of(network: Model, readout: Readout, data: DataShape) -> Any:
    """Return a Keras model from (batch, height, width, channels) in [0, 255] to probabilities.

    Args:
        network: From [0, 1] to logits or probabilities, (batch, classes).
        readout: Turns its outputs into probabilities.
        data: What the images look like.
    """
    import keras

    pixels = keras.Input(data.image_shape, dtype="float32", name=RAW_INPUT)
    images = keras.layers.Rescaling(1 / 255, dtype="float32", name="from_0_to_1")(pixels)
    logits = [_logits(network, view) for view in views_in_graph(images, readout.views)]
    # `Average` takes two inputs or more.
    mean = keras.layers.Average(dtype="float32", name="mean")(logits) if logits[1:] else logits[0]
    divide = keras.layers.Rescaling(1 / readout.temperature, dtype="float32", name="temperature")
    softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
    return keras.Model(pixels, softmax(divide(mean)), name="best_model")


def choose_readout(
    runs: Sequence[Retrained], split: Split, *, views: Views, objective: str = "accuracy"
) -> Readout:
    """Choose how the winner's outputs become probabilities, on validation images.

    Args:
        runs: Retrainings of the winner on the training part.
        split: Training and validation images.
        views: Views worth averaging.
        objective: What the search maximized.

    Returns:
        The chosen readout; the plain one, with the reason, if no network can predict or be saved
        inside another model.
    """
    validation = LabeledImages(images=split.val_images, labels=split.val_labels)
    scorer = Scorer(validation, split.shape, VALIDATION_SCORES_FILE)
    scored, why = [], ""
    for run in runs:
        try:
            scored.append((run.folder / MODEL_FILE, scorer.score(run, views)))
        except ModelError as error:
            why = one_line(error)
    if not scored:
        return Readout(plain=why)
    readout = choose(
        [scores for _, scores in scored], split.val_labels, views=views, objective=objective
    )
    file, scores = scored[0]
    why = _refusal(file, readout, split, readout.probabilities(scores))
    if not why:
        return readout
    compared = {way: Tried(tried.value) for way, tried in readout.compared.items()}
    return replace(readout, views=ALONE, temperature=1.0, compared=compared, plain=why)


def _refusal(file: Path, readout: Readout, split: Split, expected: Probabilities) -> str:
    """Return why a network cannot be saved as one graph, in one line; empty if it can.

    Keras may save a custom network inside another model, and then load other weights.

    Args:
        file: The network, as a `.keras` file.
        readout: Turns its outputs into probabilities.
        split: The graph predicts its first validation images.
        expected: (n, classes) probabilities that it must give for them, up to rounding.
    """
    from search.training.saving import save_model

    images, data = split.val_images[:BATCH_SIZE], split.shape
    try:
        with TemporaryDirectory() as folder:
            saved = Path(folder) / BEST_MODEL_FILE
            graph = graph_of(load_model(file, data), readout, data)
            saved.write_bytes(save_model(graph, data))
            found = load_model(saved, data).probabilities(images)
    except Exception as error:  # code of the user
        return one_line(error)
    worst = float(np.abs(found - expected[: len(images)]).max())
    return f"its probabilities change by {worst:.2g}" if worst > _TOLERANCE else ""


def write_winner(evidence: Evidence, directory: Path) -> None:
    """Write the models of the winner, `best_config.json` and `predictions.csv`."""
    tuned = evidence.tuned
    if evidence.winner is None or tuned is None:
        return
    # Of the first seed, not the best one: a choice by test accuracy would bias that accuracy.
    file, data = tuned.runs[0].folder / MODEL_FILE, evidence.dataset.shape
    network = load_model(file, data)
    _write_models(network, file, tuned.readout, data, directory)
    config = config_of(
        evidence.record,
        evidence.winner.candidate,
        tuned,
        evidence.dataset,
        train_size=evidence.settings.train_size,
        gives_probabilities=network.gives_probabilities,
    )
    if evidence.has_rule:
        config |= _choice(evidence)
    (directory / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
    write_csv(evidence.predictions(), directory / "predictions.csv")


def config_of(
    record: Record,
    candidate: Candidate,
    tuned: Row,
    dataset: Dataset,
    *,
    train_size: int | None,
    gives_probabilities: bool,
) -> dict[str, Any]:
    """Return the content of `best_config.json`.

    Args:
        record: The search.
        candidate: The winner.
        tuned: Its row, with a finished training or more.
        dataset: The data set of the search.
        train_size: Training images, besides the validation images; None: all.
        gives_probabilities: Whether its networks end in a softmax.
    """
    readout = tuned.readout
    config = {
        "space": record.space,
        "trial": candidate.number,
        "candidate": candidate.name,
        "params": dict(tuned.params),
        "epochs": tuned.epochs,
        "train_size": train_size,
        "seeds": [run.seed for run in tuned.runs],
        "test_accuracy": [float(value) for value in tuned.correct.mean(axis=1)],
        **dataset_facts(dataset),
    }
    origin = {"seed": tuned.runs[0].seed, "row": tuned.name}
    if readout.plain:
        gives = "probabilities" if gives_probabilities else "logits"
        alone = {"file": BEST_MODEL_FILE, "input": [0, 1], "output": gives}
        return config | {"model": alone | origin}
    model: dict[str, Any] = {
        "file": BEST_MODEL_FILE,
        "input": [0, 255],
        "output": "probabilities",
        "temperature": readout.temperature,
        "mirror_averaged": readout.views.mirror,
        "shift_averaged": readout.views.shifts,
    }
    logits = {"file": LOGITS_FILE, "input": [0, 1], "output": "logits"}
    return config | {"model": model | origin, "logits_model": logits}


def _choice(evidence: Evidence) -> dict[str, Any]:
    """Return the rule that chose the winner, and the costs of the winner."""
    number = evidence.winner.candidate.number if evidence.winner is not None else -1
    costs = {COSTS[name].attr: cost for name, cost in evidence.winner_costs.items()}
    return {
        "objective": evidence.record.objectives.text,
        "rule": evidence.rule,
        "costs": costs | dict(evidence.record.times.get(number, {})),
    }


def _write_models(
    network: Model, file: Path, readout: Readout, data: DataShape, directory: Path
) -> None:
    """Write the model, and the network alone if it is part of it."""
    from search.training.saving import save_model

    if readout.plain:
        shutil.copyfile(file, directory / BEST_MODEL_FILE)
        return
    graph = save_model(graph_of(network, readout, data), data)
    (directory / BEST_MODEL_FILE).write_bytes(graph)
    if network.gives_probabilities:
        (directory / LOGITS_FILE).write_bytes(save_model(_logits_model(network, data), data))
    else:
        shutil.copyfile(file, directory / LOGITS_FILE)


def _logits_model(network: Model, data: DataShape) -> Any:
    import keras

    images = keras.Input(data.image_shape, dtype="float32", name="images")
    return keras.Model(images, _logits(network, images), name="logits")


def _logits(network: Model, images: Any) -> Any:
    """Return logits: the logarithms of the outputs of a network that ends in a softmax."""
    import keras

    outputs = network.keras_model(images)
    if not network.gives_probabilities:
        return outputs
    shares = keras.ops.cast(outputs, "float32")  # half precision cannot hold the smallest
    return keras.ops.log(keras.ops.maximum(shares, SMALLEST))

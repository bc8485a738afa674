"""`best_model.keras` as one graph, for all kinds of networks."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predicting.model import load_model
from predicting.prediction import predict
from reporting.chapters import mistakes, winner
from reporting.evidence import Evidence
from reporting.final_model import choose_readout, graph_of, write_winner
from reporting.readout import Readout, Tried
from reporting.retraining import Retrained
from reporting.views import ALONE, Views
from search.data.split import Split
from spaces import DataShape
from tests.reporting.band_model import band_images
from tests.reporting.written import words

DATA = DataShape((28, 28, 1), 10)
LABELS = (np.arange(200) % 10).astype(np.uint8)


def noisy_images() -> np.ndarray:
    """Bands whose left half is less noisy, so that mirror images have other probabilities."""
    noise = np.random.default_rng(0).integers(0, 140, (200, 28, 28, 1), dtype=np.uint8)
    noise[:, :, :14] //= 2
    return np.maximum(band_images(LABELS) // 3, noise)


SPLIT = Split(
    train_images=band_images(range(10)),
    train_labels=np.arange(10, dtype=np.uint8),
    val_images=noisy_images(),
    val_labels=LABELS,
    classes=10,
)


def network(kind: str, input_shape: tuple[int, ...] = (28, 28, 1)) -> Any:
    """A network that looks at the left half more than at the right one."""
    import keras

    images = keras.Input(input_shape)
    dense = keras.layers.Dense(10, activation="softmax" if kind == "softmax" else None)
    outputs = dense(keras.layers.Flatten()(images))
    rows = np.arange(28)[:, None].repeat(28, axis=1).ravel()
    kernel = (rows[:, None] // 3 == np.arange(10)).astype(np.float32) / 84
    kernel *= np.tile(np.linspace(9, 1, 28), 28)[:, None]
    dense.set_weights([kernel, np.zeros(10)])
    if kind == "operation":
        outputs = keras.ops.softmax(outputs)
    return keras.Model(images, outputs)


def retrained(folder: Path, model: Any) -> Retrained:
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "model.keras")
    return Retrained(
        folder=folder,
        seed=7,
        parameters=1,
        history=[{"accuracy": 0.5, "val_accuracy": 0.5}],
        train_seconds=1.0,
        cpu_seconds=1.0,
        val_accuracy=0.5,
        origin={},
    )


@pytest.mark.parametrize("views", Views(True, True).ways, ids=str)
@pytest.mark.parametrize(
    ("kind", "input_shape"),
    [
        ("logits", (28, 28, 1)),
        ("softmax", (28, 28, 1)),
        ("operation", (28, 28, 1)),
        ("logits", (28, 28)),
    ],
)
def test_the_graph_gives_the_probabilities_of_the_readout(
    tmp_path: Path, kind: str, input_shape: tuple[int, ...], views: Views
) -> None:
    from scipy.special import softmax

    kept = retrained(tmp_path, network(kind, input_shape))
    alone = load_model(tmp_path / "model.keras", DATA)
    readout = Readout(views=views, temperature=0.5)
    graph_of(alone, readout, DATA).save(tmp_path / "best_model.keras")
    # The name and the folder of the file do not matter: the graph says that it takes [0, 255].
    found = load_model((tmp_path / "best_model.keras").rename(tmp_path / "m.keras"), DATA)
    images = SPLIT.val_images
    edge = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    seen = [images, images[:, :, ::-1]] if views.mirror else [images]
    if views.shifts:
        for of in [edge, edge[:, :, ::-1]] if views.mirror else [edge]:
            seen += [of[:, :-2, 1:-1], of[:, 2:, 1:-1], of[:, 1:-1, :-2], of[:, 1:-1, 2:]]
    assert len(seen) == views.count
    logits = [np.log(alone.probabilities(view)) for view in seen]
    assert views.count == 1 or np.abs(logits[0] - logits[1]).max() > 0.01
    mean = softmax(np.mean(logits, axis=0) / 0.5, axis=1)
    np.testing.assert_allclose(found.probabilities(images), mean, atol=1e-5)
    raw = found.keras_model.predict(images.astype(np.float32), verbose=0)
    np.testing.assert_allclose(raw, mean, atol=1e-5)
    assert kept.folder == tmp_path


def test_it_is_chosen_on_validation_images_and_their_predictions_are_kept(tmp_path: Path) -> None:
    runs = [retrained(tmp_path / name, network("logits")) for name in ("a", "b")]
    found = choose_readout(runs, SPLIT, views=Views(True, True))
    assert (found.images, found.runs, found.plain) == (200, 2, "")
    assert list(found.compared) == list(Views(True, True).ways)
    assert found.compared[found.views].temperature == found.temperature
    assert found.temperature != 1
    for run in runs:
        assert {file.name for file in run.folder.iterdir()} == {"model.keras", "val_scores.npz"}


def subclassed(method: str) -> Any:
    """A model of the user's that cannot be part of another model: it has this method."""
    import keras

    def predict(self: Any, images: Any, **more: Any) -> Any:
        return 2 * keras.Model.predict(self, images, **more)

    def compute_output_shape(self: Any, *shapes: Any) -> Any:
        raise NotImplementedError("shapes are not known")

    @keras.saving.register_keras_serializable("tests", name=method)
    class OfTheUsers(keras.Model):  # type: ignore[misc]
        def __init__(self, **more: Any) -> None:
            super().__init__(**more)
            self.network = network("logits")

        def call(self, images: Any) -> Any:
            return self.network(images)

    model = OfTheUsers()
    model(np.zeros((1, 28, 28, 1), np.float32))
    methods = {"predict": predict, "compute_output_shape": compute_output_shape}
    setattr(OfTheUsers, method, methods[method])
    return model


def reported(evidence: Evidence, run: Retrained, readout: Readout, directory: Path) -> Evidence:
    """Evidence whose winner is a training of these tests, with its files written."""
    rows = [
        replace(row, runs=[run, *row.runs[1:]], readout=readout) if row.kind == "tuned" else row
        for row in evidence.rows
    ]
    made = replace(evidence, rows=rows, readout=readout)
    directory.mkdir()
    write_winner(made, directory)
    return made


@pytest.mark.parametrize(
    ("method", "why"),
    [
        ("predict", "its probabilities change by 0."),
        ("compute_output_shape", "shapes are not known"),
    ],
)
def test_a_network_that_fits_in_no_graph_is_the_best_model_itself(
    tmp_path: Path, evidence: Evidence, method: str, why: str
) -> None:
    run = retrained(tmp_path / "run", subclassed(method))
    readout = choose_readout([run], SPLIT, views=Views(mirror=True))
    assert why in readout.plain
    assert (readout.views, readout.temperature) == (ALONE, 1)
    made = reported(evidence, run, readout, tmp_path / "report")
    files = {file.name for file in (tmp_path / "report").iterdir()}
    assert files == {"best_config.json", "best_model.keras", "predictions.csv"}
    said = json.loads((tmp_path / "report" / "best_config.json").read_text())
    assert said["model"] == {
        "file": "best_model.keras",
        "input": [0, 1],
        "output": "logits",
        "seed": 7,
        "row": "tuned",
    }
    assert "logits_model" not in said
    alone = load_model(run.folder / "model.keras", DATA).probabilities(SPLIT.val_images)
    found = predict(SPLIT.val_images, tmp_path / "report" / "best_model.keras")
    assert [one.probability for one in found] == pytest.approx(alone.max(axis=1).tolist())
    said = words(winner.blocks(made))
    assert said.count("best_model.keras is the network alone, for images in [0, 1]") == 1
    assert why in said
    assert "not calibrated: best_model.keras is the network alone" in words(mistakes.blocks(made))


def test_no_network_that_can_predict_is_said(tmp_path: Path) -> None:
    run = retrained(tmp_path / "run", network("logits"))
    (run.folder / "model.keras").write_bytes(b"")
    assert "is not a .keras file" in choose_readout([run], SPLIT, views=Views(mirror=True)).plain


@pytest.mark.parametrize("kind", ["logits", "softmax"])
def test_the_logits_model_lies_beside_the_best_model(
    tmp_path: Path, evidence: Evidence, kind: str
) -> None:
    run = retrained(tmp_path / "run", network(kind))
    views = Views(mirror=True)
    readout = Readout(
        views=views,
        temperature=0.5,
        images=200,
        runs=1,
        compared={ALONE: Tried(0.8), views: Tried(0.9)},
    )
    made = reported(evidence, run, readout, tmp_path / "report")
    said = json.loads((tmp_path / "report" / "best_config.json").read_text())
    assert said["model"] == {
        "file": "best_model.keras",
        "input": [0, 255],
        "output": "probabilities",
        "temperature": 0.5,
        "mirror_averaged": True,
        "shift_averaged": False,
        "seed": 7,
        "row": "tuned",
    }
    assert evidence.winner is not None
    assert said["candidate"] == evidence.winner.candidate.name
    assert said["logits_model"] == {
        "file": "best_logits.keras",
        "input": [0, 1],
        "output": "logits",
    }
    logits = load_model(tmp_path / "report" / "best_logits.keras", DATA)
    assert not logits.gives_probabilities
    alone = load_model(run.folder / "model.keras", DATA)
    np.testing.assert_allclose(
        logits.probabilities(SPLIT.val_images), alone.probabilities(SPLIT.val_images), atol=1e-6
    )
    text = words(winner.blocks(made))
    assert (
        "maps images in [0, 255] to calibrated probabilities (temperature 0.5), from the mean over "
        "2 views (mirror images)" in text
    )
    plain = replace(made, readout=replace(made.readout, temperature=1.0))
    assert "to probabilities, which are not calibrated, from the mean" in words(
        winner.blocks(plain)
    )

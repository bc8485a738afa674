"""The worker's side of a retraining: real small trainings, models that anybody can load."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predicting.model import load_model
from reporting.retraining.order import MODEL_FILE, Retrained, Retraining
from reporting.retraining.worker import Kept, Order, Retrainer, Unwritable
from search.data.split import SplitSizes, load_split
from search.workers.messages import Failed
from search.workers.process import WorkerSettings
from spaces.mlp import MlpSpace


class Recorder:
    """In place of the line to a coordinator."""

    def __init__(self) -> None:
        self.epochs: list[Any] = []

    def ask(self, message: Any) -> bool:
        self.epochs.append(message)
        return False


@pytest.fixture(scope="module")
def retrainer(small_data: Path) -> Retrainer:
    settings = WorkerSettings(
        space="mlp",
        load_split=partial(load_split, small_data, SplitSizes(val=100)),
        precision="float32",
    )
    return Retrainer(Recorder(), settings)  # type: ignore[arg-type]


def order(folder: Path, **changes: Any) -> Order:
    given: dict[str, Any] = {
        "space": "mlp",
        "params": MlpSpace().default.params(),
        "seed": 3,
        "epochs": 2,
        "part": "train",
        "data": "",
        "split": "",
        "precision": "float32",
    }
    return Order(Retraining(**(given | changes)), folder)


def test_a_kept_model_predicts_what_was_validated(retrainer: Retrainer, tmp_path: Path) -> None:
    assert retrainer.run(order(tmp_path / "a")) == Kept()
    kept = Retrained.load(tmp_path / "a")
    assert kept is not None
    split = retrainer._split
    probabilities = load_model(tmp_path / "a" / MODEL_FILE).probabilities(split.val_images)
    accuracy = np.mean(probabilities.argmax(axis=1) == split.val_labels)
    assert kept.val_accuracy == pytest.approx(accuracy, abs=1e-6)
    assert kept.val_accuracy == kept.history[-1]["val_accuracy"]
    assert (kept.seed, len(kept.history)) == (3, 2)
    assert kept.cpu_seconds > 0
    assert {"commit", "machine", "keras"} <= set(kept.origin)


def test_all_images_together_leave_nothing_to_validate_on(
    retrainer: Retrainer, tmp_path: Path
) -> None:
    assert retrainer.run(order(tmp_path / "b", part="all")) == Kept()
    kept = Retrained.load(tmp_path / "b")
    assert kept is not None
    assert kept.val_accuracy is None
    assert "val_accuracy" not in kept.history[0]


def test_bfloat16_is_for_training_only(retrainer: Retrainer, tmp_path: Path) -> None:
    assert retrainer.run(order(tmp_path / "c", precision="bfloat16")) == Kept()
    model = load_model(tmp_path / "c" / MODEL_FILE).keras_model
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


def test_a_configuration_that_cannot_be_built_fails_with_its_reason(
    retrainer: Retrainer, tmp_path: Path
) -> None:
    failed = retrainer.run(order(tmp_path / "d", params={}))
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("KeyError")
    assert not (tmp_path / "d").exists()


def test_a_folder_that_cannot_be_written_is_no_failed_training(
    retrainer: Retrainer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    ended = retrainer.run(order(tmp_path / "file" / "e"))
    assert isinstance(ended, Unwritable)
    assert ended.reason

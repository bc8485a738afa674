"""Score retrained models on the test split: the only module that opens it."""

import hashlib
import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from predicting.model import BATCH_SIZE, load_model
from reporting.folder import writing
from reporting.retraining import MODEL_FILE, Retrained
from search.data.dataset import Dataset, LabeledImages
from search.errors import DataError
from search.files import write_atomically
from search.training.hardware import machine
from spaces import DataShape

SCORES_FILE: Final = "test_scores.npz"
Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """Predictions of one model for the test images.

    Args:
        probabilities: (n, classes).
        mirrored: (n, classes), for the images mirrored left-right.
        milliseconds_per_image: Wall time of prediction in batches of at most 500, on all cores.
        machine: Where that time was measured.
    """

    probabilities: Probabilities
    mirrored: Probabilities
    milliseconds_per_image: float
    machine: str = ""


def load_test_split(dataset: Dataset) -> LabeledImages:
    """Read the test part; call it only once the configuration is chosen.

    Raises:
        DataError: A file is missing or damaged, or does not fit the training part.
    """
    test = dataset.files.test()
    if test.images.shape[1:] != dataset.image_shape:
        raise DataError(
            f"{dataset.name} has test images of shape {test.images.shape[1:]}, but training images "
            f"of shape {dataset.image_shape}. Fetch both again."
        )
    return test


def score(kept: Retrained, test: LabeledImages, data: DataShape) -> Scores:
    """Predict the test images, or return the predictions stored beside the model.

    Args:
        kept: A retraining.
        test: The test split.
        data: What the images and the outputs of its model look like.

    Raises:
        ModelError: The model cannot be loaded, or predicts values that are not finite.
        ReportError: The predictions cannot be stored.
    """
    file = kept.folder / SCORES_FILE
    if (known := _load(file, test, data.classes)) is not None:
        return known
    model = load_model(kept.folder / MODEL_FILE, data)
    model.probabilities(test.images[:BATCH_SIZE])  # compiles
    began = time.perf_counter()
    probabilities = model.probabilities(test.images)
    milliseconds = 1000 * (time.perf_counter() - began) / len(test.images)
    scores = Scores(
        probabilities=probabilities,
        mirrored=model.probabilities(test.images[:, :, ::-1]),
        milliseconds_per_image=milliseconds,
        machine=machine(),
    )
    with writing(kept.folder):
        _save(file, scores, test)
    return scores


def _load(file: Path, test: LabeledImages, classes: int) -> Scores | None:
    """Return the stored predictions; None if there are none of this test split, or damaged ones."""
    try:
        with np.load(file, allow_pickle=False) as known:
            if str(known["test"]) != _digest(test):
                return None
            scores = Scores(
                probabilities=known["probabilities"],
                mirrored=known["mirrored"],
                milliseconds_per_image=float(known["milliseconds_per_image"]),
                machine=str(known["machine"]),
            )
    # A file that somebody else wrote may hold anything, NumPy raises errors of many types.
    except Exception:
        return None
    shape = (len(test.labels), classes)
    parts = (scores.probabilities, scores.mirrored)
    sound = all(
        part.shape == shape
        and part.dtype == np.float64
        and np.all(part >= 0)
        and np.allclose(part.sum(axis=1), 1)
        for part in parts
    )
    return scores if sound and 0 <= scores.milliseconds_per_image < np.inf else None


def _save(file: Path, scores: Scores, test: LabeledImages) -> None:
    content = io.BytesIO()
    np.savez(
        content,
        probabilities=scores.probabilities,
        mirrored=scores.mirrored,
        milliseconds_per_image=scores.milliseconds_per_image,
        machine=scores.machine,
        test=_digest(test),
    )
    write_atomically(file, content.getvalue())


def _digest(test: LabeledImages) -> str:
    """Identify images and labels by content."""
    digest = hashlib.md5(np.ascontiguousarray(test.images).data)
    digest.update(np.ascontiguousarray(test.labels).data)
    return digest.hexdigest()

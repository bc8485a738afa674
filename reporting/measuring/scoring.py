"""Score retrained models on images, with stock Keras alone."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from reporting.measuring.test_split import TestSplit
from reporting.retraining.order import MODEL_FILE, Retrained

_BATCH: Final = 500
_SCORES_FILE: Final = "test_scores.npz"
Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """What one model says of the test images.

    Args:
        probabilities: (n, 10).
        mirrored: (n, 10), of the images mirrored left-right.
        milliseconds_per_image: Wall time of prediction in batches of 500, on all cores.
    """

    probabilities: Probabilities
    mirrored: Probabilities
    milliseconds_per_image: float


def score(kept: Retrained, test: TestSplit) -> Scores:
    """Predict the test images; kept beside the model, so that it is done once.

    Args:
        kept: Its model takes (batch, 28, 28, 1) float32 in [0, 1].
        test: The test split.
    """
    file = kept.folder / _SCORES_FILE
    if file.exists():
        with np.load(file) as known:
            if len(known["probabilities"]) == len(test.labels):
                return Scores(
                    probabilities=known["probabilities"].astype(np.float64),
                    mirrored=known["mirrored"].astype(np.float64),
                    milliseconds_per_image=float(known["milliseconds_per_image"]),
                )
    model = load_model(kept.folder / MODEL_FILE)
    images = test.images[..., None].astype(np.float32) / 255
    _predict(model, images[:_BATCH])  # compiles
    began = time.perf_counter()
    probabilities = _predict(model, images)
    milliseconds = 1000 * (time.perf_counter() - began) / len(images)
    scores = Scores(
        probabilities=probabilities,
        mirrored=_predict(model, images[:, :, ::-1]),
        milliseconds_per_image=milliseconds,
    )
    _save(file, scores)
    return scores


def load_model(path: Path) -> Any:
    """Load a model as anybody would: stock Keras, safe mode, nothing of ours.

    Args:
        path: A `.keras` file.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras

    return keras.saving.load_model(path, compile=False, safe_mode=True)


def _predict(model: Any, images: npt.NDArray[np.floating]) -> Probabilities:
    from reporting.predicting.prediction import as_probabilities

    return as_probabilities(np.asarray(model.predict(images, batch_size=_BATCH, verbose=0)))


def _save(file: Path, scores: Scores) -> None:
    partial = file.with_suffix(".partial.npz")
    np.savez(
        partial,
        probabilities=scores.probabilities.astype(np.float32),
        mirrored=scores.mirrored.astype(np.float32),
        milliseconds_per_image=scores.milliseconds_per_image,
    )
    partial.replace(file)

"""Score retrained models on the test split."""

import hashlib
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from predicting.model import BATCH_SIZE, load_model
from reporting.retraining.order import MODEL_FILE, Retrained
from reporting.test_split import TestSplit
from search.training.hardware import machine

SCORES_FILE: Final = "test_scores.npz"
Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """What one model says of the test images.

    Args:
        probabilities: (n, 10).
        mirrored: (n, 10), of the images mirrored left-right.
        milliseconds_per_image: Wall time of prediction in batches of 500, on all cores.
        machine: Where that was measured.
    """

    probabilities: Probabilities
    mirrored: Probabilities
    milliseconds_per_image: float
    machine: str = ""


def score(kept: Retrained, test: TestSplit) -> Scores:
    """Predict the test images; kept beside the model, so that it is done once.

    Args:
        kept: Its model takes (batch, 28, 28, 1) float32 in [0, 1].
        test: The test split.

    Raises:
        ModelError: The model cannot be loaded or gives no numbers.
    """
    file = kept.folder / SCORES_FILE
    if (known := _known(file, test)) is not None:
        return known
    model = load_model(kept.folder / MODEL_FILE)
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
    _save(file, scores, test)
    return scores


def _known(file: Path, test: TestSplit) -> Scores | None:
    try:
        with np.load(file) as known:
            if str(known["test"]) != _name(test):
                return None
            return Scores(
                probabilities=known["probabilities"],
                mirrored=known["mirrored"],
                milliseconds_per_image=float(known["milliseconds_per_image"]),
                machine=str(known["machine"]),
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # none yet, or torn
        return None


def _save(file: Path, scores: Scores, test: TestSplit) -> None:
    partial = file.with_suffix(".partial.npz")
    np.savez(
        partial,
        probabilities=scores.probabilities,
        mirrored=scores.mirrored,
        milliseconds_per_image=scores.milliseconds_per_image,
        machine=scores.machine,
        test=_name(test),
    )
    partial.replace(file)


def _name(test: TestSplit) -> str:
    """Names the images and labels by content."""
    return hashlib.md5(test.images.tobytes() + test.labels.tobytes()).hexdigest()

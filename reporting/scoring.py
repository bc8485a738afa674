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
from search.data.classes import CLASS_NAMES
from search.data.files import Bytes, download, keras_cache, read_idx
from search.errors import DataError
from search.files import write_atomically
from search.training.hardware import machine

SCORES_FILE: Final = "test_scores.npz"
IMAGES_FILE: Final = "t10k-images-idx3-ubyte.gz"
LABELS_FILE: Final = "t10k-labels-idx1-ubyte.gz"
Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TestSplit:
    """The official test images.

    Args:
        images: (n, 28, 28) uint8.
        labels: (n,) uint8.
    """

    __test__ = False  # pytest: not a class of tests

    images: Bytes
    labels: Bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """Predictions of one model for the test images.

    Args:
        probabilities: (n, classes).
        mirrored: (n, classes), for the images mirrored left-right.
        milliseconds_per_image: Wall time of prediction in batches of 500, on all cores.
        machine: Where that time was measured.
    """

    probabilities: Probabilities
    mirrored: Probabilities
    milliseconds_per_image: float
    machine: str = ""


def require_test_files(directory: Path) -> None:
    """Check that the test files exist, without opening them.

    Args:
        directory: Folder from `search.data.split.find_data`. Files that the Keras cache lacks are
            downloaded into it.

    Raises:
        DataError: A file is missing.
    """
    for name in (IMAGES_FILE, LABELS_FILE):
        if (directory / name).is_file():
            continue
        try:
            if directory != keras_cache():
                raise FileNotFoundError("only the Keras cache is filled by download")
            download(name, directory)
        except OSError as error:
            raise DataError(
                f"{directory} has no {name} ({error}). Put {IMAGES_FILE} and {LABELS_FILE} there."
            ) from error


def load_test_split(directory: Path) -> TestSplit:
    """Read the test files; call it only once the configuration is chosen.

    Args:
        directory: As for `require_test_files`.

    Raises:
        DataError: A file is missing or damaged, or the two do not fit together.
    """
    require_test_files(directory)
    images = read_idx(directory, IMAGES_FILE, dimensions=3)
    labels = read_idx(directory, LABELS_FILE, dimensions=1)
    if images.shape[1:] != (28, 28) or len(images) != len(labels) or not np.all(labels < 10):
        raise DataError(
            f"{directory} has test images {images.shape} and labels {labels.shape}; "
            "they must be (n, 28, 28) and (n,), with labels 0 to 9. Fetch both files again."
        )
    return TestSplit(images=images, labels=labels)


def score(kept: Retrained, test: TestSplit) -> Scores:
    """Predict the test images, or return the predictions stored beside the model.

    Args:
        kept: A retraining whose model takes (batch, 28, 28, 1) float32 in [0, 1].
        test: The test split.

    Raises:
        ModelError: The model cannot be loaded, or predicts values that are not finite.
        ReportError: The predictions cannot be stored.
    """
    file = kept.folder / SCORES_FILE
    if (known := _load(file, test)) is not None:
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
    with writing(kept.folder):
        _save(file, scores, test)
    return scores


def _load(file: Path, test: TestSplit) -> Scores | None:
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
    shape = (len(test.labels), len(CLASS_NAMES))
    parts = (scores.probabilities, scores.mirrored)
    sound = all(
        part.shape == shape
        and part.dtype == np.float64
        and np.all(part >= 0)
        and np.allclose(part.sum(axis=1), 1)
        for part in parts
    )
    return scores if sound and 0 <= scores.milliseconds_per_image < np.inf else None


def _save(file: Path, scores: Scores, test: TestSplit) -> None:
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


def _digest(test: TestSplit) -> str:
    """Identify images and labels by content."""
    return hashlib.md5(test.images.tobytes() + test.labels.tobytes()).hexdigest()

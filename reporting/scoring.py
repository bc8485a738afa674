"""Predict images with retrained models; the only module that opens the test part."""

import hashlib
import io
import math
import time
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from predicting.model import BATCH_SIZE, Model, load_model
from reporting.folder import writing
from reporting.retraining import MODEL_FILE, Retrained
from reporting.views import ALONE, Views, group_of
from search.data.dataset import Bytes, Dataset, LabeledImages
from search.errors import DataError
from search.files import write_atomically
from search.training.hardware import machine
from spaces import DataShape

SCORES_FILE: Final = "test_scores.npz"
VALIDATION_SCORES_FILE: Final = "val_scores.npz"
# In place of a probability of 0, whose logarithm is not finite; float32 can hold it.
SMALLEST: Final = 1e-37
_OTHER_BYTES: Final = 10**6  # of stored predictions, beside the numbers
_MOST_BYTES: Final = 10**9  # of stored predictions: a forged report may claim any number of images
_PART_BYTES: Final = 2**26  # of images whose other views are made at once
Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """Predictions of one model for the images of one part of the data.

    Args:
        probabilities: (n, classes).
        others: (n, classes) for each group of other views of the images, by `Views.others`: the
            geometric mean of the probabilities, as means of logits give it.
        milliseconds_per_image: Wall time of prediction in batches of at most 500, on all cores.
        machine: Where that time was measured.
        part: Digest of these images and labels.
    """

    probabilities: Probabilities
    others: Mapping[str, Probabilities] = field(default_factory=dict)
    milliseconds_per_image: float = 0.0
    machine: str = ""
    part: str = ""


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


class Scorer:
    """Scores models on one part of the data.

    Args:
        part: The test part, or the validation part.
        data: What the images and the outputs of the models look like.
        file: Name of the file beside a model that keeps its predictions for this part.
    """

    def __init__(self, part: LabeledImages, data: DataShape, file: str = SCORES_FILE) -> None:
        self.part = part
        self._data = data
        self._file = file
        self._digest = _digest(part)

    def score(self, kept: Retrained, views: Views = ALONE) -> Scores:
        """Predict the images, or return the predictions stored beside the model.

        Args:
            kept: A retraining.
            views: Views of the images that are needed.

        Raises:
            ModelError: The model cannot be loaded, or predicts values that are not finite.
            ReportError: The predictions cannot be stored.
        """
        known = stored_scores(kept.folder / self._file, (len(self.part), self._data.classes))
        is_of_this = known is not None and known.part == self._digest
        if known is not None and is_of_this and views.others.keys() <= known.others.keys():
            return known
        images = self.part.images
        model = load_model(kept.folder / MODEL_FILE, self._data)
        model.probabilities(images[:BATCH_SIZE])  # compiles
        began = time.perf_counter()
        probabilities = model.probabilities(images)
        milliseconds = 1000 * (time.perf_counter() - began) / len(images)
        scores = Scores(
            probabilities=probabilities,
            others={name: _predict_group(model, images, name) for name in views.others},
            milliseconds_per_image=milliseconds,
            machine=machine(),
            part=self._digest,
        )
        with writing(kept.folder):
            self._save(kept.folder / self._file, scores)
        return scores

    @staticmethod
    def _save(file: Path, scores: Scores) -> None:
        arrays: dict[str, Any] = {
            "probabilities": scores.probabilities,
            "milliseconds_per_image": scores.milliseconds_per_image,
            "machine": scores.machine,
            "test": scores.part,  # the name of earlier versions
            **scores.others,
        }
        content = io.BytesIO()
        np.savez(content, **arrays)
        write_atomically(file, content.getvalue())


def stored_scores(file: Path, shape: tuple[int, int]) -> Scores | None:
    """Return stored predictions, without a check of the images that they are for.

    Args:
        file: Written by a `Scorer`.
        shape: Number of images and of classes.

    Returns:
        None if the file is missing or damaged, or its predictions have another shape.
    """
    try:
        _check_size(file, shape)
        with np.load(file, allow_pickle=False) as known:
            scores = Scores(
                probabilities=known["probabilities"],
                others={
                    name: known[name] for name in Views(True, True).others if name in known.files
                },
                milliseconds_per_image=float(known["milliseconds_per_image"]),
                machine=str(known["machine"]),
                part=str(known["test"]),
            )
    # A file that somebody else wrote may hold anything, NumPy raises errors of many types.
    except Exception:
        return None
    sound = all(
        part.shape == shape
        and part.dtype == np.float64
        and np.all(part >= 0)
        and np.allclose(part.sum(axis=1), 1)
        for part in (scores.probabilities, *scores.others.values())
    )
    return scores if sound and 0 <= scores.milliseconds_per_image < np.inf else None


def _check_size(file: Path, shape: tuple[int, int]) -> None:
    """Refuse a file that is larger, packed or unpacked, than predictions of a shape can be.

    `zipfile` reads no more of an array than its declared size.

    Raises:
        ValueError: It is larger.
    """
    arrays = 1 + len(Views(mirror=True, shifts=True).others)
    most = min(arrays * 8 * math.prod(shape) + _OTHER_BYTES, _MOST_BYTES)
    size = file.stat().st_size
    if size <= most:
        with zipfile.ZipFile(file) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    if size > most:
        raise ValueError(f"{file} takes {size:,} bytes; at most {most:,}")


def _predict_group(model: Model, images: Bytes, name: str) -> Probabilities:
    """Return the mean prediction (n, classes) for a group of views of images."""
    # The images may be mapped from a file larger than the memory, and views are copies.
    rows = max(1, _PART_BYTES // images[0].size)
    parts = [images[start : start + rows] for start in range(0, len(images), rows)]
    return np.concatenate(
        [_geometric_mean(map(model.probabilities, group_of(part, name))) for part in parts]
    )


def _geometric_mean(parts: Iterable[Probabilities]) -> Probabilities:
    """Return (n, classes); a single part is returned unchanged."""
    first, *others = parts
    if not others:
        return first
    mean = np.mean([logarithms(part) for part in (first, *others)], axis=0)
    return np.asarray(softmax(mean, axis=1), np.float64)


def logarithms(part: Probabilities) -> Probabilities:
    """Return the logarithms of probabilities, finite even for 0."""
    return np.asarray(np.log(np.where(part > 0, part, SMALLEST)), np.float64)


def _digest(part: LabeledImages) -> str:
    """Identify images and labels by content."""
    digest = hashlib.md5(np.ascontiguousarray(part.images).data)
    digest.update(np.ascontiguousarray(part.labels).data)
    return digest.hexdigest()

"""Soft targets: what trained networks say of the training images, mixed with the labels."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt

from search.data.dataset import Bytes
from search.data.split import Split
from search.errors import SearchError
from search.training.batches import prediction_batch
from search.training.saving import load_saved

SoftTargets = npt.NDArray[np.float32]
_LABEL_SHARE: Final = 0.5


def soft_targets(teachers: Sequence[bytes], split: Split) -> SoftTargets:
    """Return the targets of a network that is distilled from others.

    The target of an image is the mean of its label, as one-hot, and of the teachers' mean
    prediction, with equal weights. Teachers see the image as it is, so all its augmented versions
    have the same target.

    Args:
        teachers: `.keras` files, one or more, from (batch, height, width, channels) in [0, 255] to
            (batch, classes) probabilities.
        split: Its training part is used.

    Returns:
        (n, classes), for the training images in their order; each row sums to 1.

    Raises:
        SearchError: A teacher cannot be loaded, or predicts values that are not finite.

    Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2: targets
    of an ensemble and labels, weighted; Furlanello et al. 2018, "Born-Again Neural Networks":
    students of their teachers' configuration, at temperature 1.
    """
    mean = np.mean([_predict(teacher, split) for teacher in teachers], axis=0)
    if not np.isfinite(mean).all():
        raise SearchError("a teacher predicts values that are not finite: its training diverged")
    labels = keras.utils.to_categorical(split.train_labels, split.classes)
    targets = _LABEL_SHARE * labels + (1 - _LABEL_SHARE) * mean
    return np.asarray(targets, np.float32)


def _predict(teacher: bytes, split: Split) -> SoftTargets:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "teacher.keras"
        file.write_bytes(teacher)
        model = load_saved(file, split.shape)
    size, images = prediction_batch(split.shape), split.train_images
    parts = [
        _probabilities(model, images[start : start + size]) for start in range(0, len(images), size)
    ]
    return np.concatenate(parts)


def _probabilities(model: Any, images: Bytes) -> SoftTargets:
    return np.asarray(model.predict_on_batch(images.astype(np.float32)), np.float32)

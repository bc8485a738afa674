"""The training images in two parts: one to train on, one to choose by."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from search.data.files import IMAGES_FILE, LABELS_FILE, Bytes, find_data, fingerprint, read_idx
from search.errors import DataError

__all__ = ["Bytes", "Split", "find_data", "fingerprint", "load_split"]

# The same for every trial and every search: scores of two searches stay comparable.
_SPLIT_SEED: Final = 20_170_825


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Training and validation parts of the official training images.

    Args:
        train_images: (n, 28, 28) uint8.
        train_labels: (n,) uint8.
        val_images: (m, 28, 28) uint8.
        val_labels: (m,) uint8.

    Raises:
        DataError: An array has another type or shape, or images and labels differ in number.
    """

    train_images: Bytes
    train_labels: Bytes
    val_images: Bytes
    val_labels: Bytes

    def __post_init__(self) -> None:
        for part, images, labels in (
            ("train", self.train_images, self.train_labels),
            ("val", self.val_images, self.val_labels),
        ):
            count = len(labels)
            if (
                images.dtype != np.uint8
                or labels.dtype != np.uint8
                or images.shape != (count, 28, 28)
                or labels.shape != (count,)
                or count == 0
            ):
                raise DataError(
                    f"Split.{part}_images is {images.dtype}{images.shape} with labels "
                    f"{labels.dtype}{labels.shape}; use uint8 (n, 28, 28) and (n,), n at least 1."
                )


def load_split(directory: Path, *, train_size: int | None = None, val_size: int) -> Split:
    """Read the training files and part them, always in the same way.

    Every class has its share of both parts (to within one image where the sizes do not divide), and
    a smaller part is contained in a larger one. An image that occurs twice never goes into
    validation, so no validation image has a twin in training.

    Args:
        directory: Folder from `find_data`.
        train_size: Training images; None for all that validation leaves.
        val_size: Validation images.

    Raises:
        DataError: A file is missing, damaged or wrong, or a size does not fit.
    """
    images = read_idx(directory, IMAGES_FILE, dimensions=3)
    labels = read_idx(directory, LABELS_FILE, dimensions=1)
    if images.shape[1:] != (28, 28) or len(images) != len(labels):
        raise DataError(
            f"{directory} has images {images.shape} and labels {labels.shape}; "
            "they must be (n, 28, 28) and (n,). Fetch both files again."
        )
    # RandomState, not Generator: NumPy promises that its stream never changes.
    order = np.random.RandomState(_SPLIT_SEED).permutation(len(labels))
    keys = [image.tobytes() for image in images]
    counts = Counter(keys)
    single = np.array([counts[keys[index]] == 1 for index in order])
    candidates = _interleave(order[single], labels)
    classes = len(np.unique(labels))
    _check_size("val_size", val_size, classes, len(candidates) - classes)
    val = candidates[:val_size]
    rest = _interleave(order[~np.isin(order, val)], labels)
    if train_size is not None:
        _check_size("train_size", train_size, classes, len(rest))
    train = rest[:train_size]
    return Split(
        train_images=images[train],
        train_labels=labels[train],
        val_images=images[val],
        val_labels=labels[val],
    )


def _interleave(order: npt.NDArray[np.int64], labels: Bytes) -> npt.NDArray[np.int64]:
    """Reorder indices so that every leading part holds each class in proportion."""
    position = np.empty(len(order))
    for label in np.unique(labels[order]):
        members = np.flatnonzero(labels[order] == label)
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(position, kind="stable")]


def _check_size(name: str, size: int, lowest: int, highest: int) -> None:
    if not lowest <= size <= highest:
        raise DataError(
            f"{name} is {size}; with this data it must be in [{lowest}, {highest}]. "
            "Ask for another size, or use a larger data set."
        )

"""The fixed split of the training images into a training and a validation part."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from search.data.dataset import Bytes, Dataset
from search.data.parts import digests
from search.errors import DataError
from spaces import DataShape, PixelStatistics

# The same for every search, so that scores of two searches are comparable.
_SPLIT_SEED: Final = 20_170_825
# Source: `python -m benchmarks.search --study cnn --results-dir results/reference`. It prints what
# trials of a study cost: 0.29 there, and 0.27 in the reference search before.
VALIDATION_COST: Final = 0.27  # of a validation image, over that of a training image


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSizes:
    """Numbers of images in the two parts; `load_split` checks that they fit the data.

    Args:
        train: Training images; None for all images that validation leaves.
        val: Validation images.
        epoch_size: Training images of an epoch; the next one shows others. None for all.
    """

    train: int | None = None
    val: int
    epoch_size: int | None = None

    def train_images(self, count: int) -> int:
        """Return the number of training images; `count`: those and all that validate."""
        return self.train or count - self.val

    def epoch_images(self, count: int) -> int:
        """Return the number of training images of an epoch; `count` as for `train_images`."""
        return self.epoch_size or self.train_images(count)

    def epoch_cost(self, count: int, validation: float = VALIDATION_COST) -> float:
        """Return the cost of an epoch and its validation, in training images.

        Args:
            count: As for `train_images`.
            validation: Cost of a validation image; 1 if it is trained on.
        """
        return self.epoch_images(count) + validation * self.val


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Training and validation images with their labels.

    Args:
        train_images: (n, height, width, channels) uint8.
        train_labels: (n,) uint8.
        val_images: (m, height, width, channels) uint8.
        val_labels: (m,) uint8.
        classes: Number of classes; above all labels.
        mirror: Whether a mirrored image still belongs to its class; None: not known.
        pixels: Statistics by which networks normalize the images; None: not normalized.

    Raises:
        DataError: An array has another type or shape, or images and labels differ in number.
    """

    train_images: Bytes
    train_labels: Bytes
    val_images: Bytes
    val_labels: Bytes
    classes: int
    mirror: bool | None = None
    pixels: PixelStatistics | None = None

    def __post_init__(self) -> None:
        for part, images, labels in (
            ("train", self.train_images, self.train_labels),
            ("val", self.val_images, self.val_labels),
        ):
            count = len(labels)
            if (
                images.dtype != np.uint8
                or labels.dtype != np.uint8
                or images.ndim != 4
                or images.shape != (count, *self.train_images.shape[1:])
                or labels.shape != (count,)
                or count == 0
            ):
                raise DataError(
                    f"Split.{part}_images is {images.dtype}{images.shape} with labels "
                    f"{labels.dtype}{labels.shape}; expected uint8 (n, height, width, channels) "
                    "and (n,), n >= 1."
                )

    @property
    def shape(self) -> DataShape:
        """Facts that a space needs about the images."""
        height, width, channels = self.train_images.shape[1:]
        return DataShape((height, width, channels), self.classes, self.mirror, self.pixels)

    def merged(self) -> "Split":
        """Return a split whose training part holds all images; validation is unchanged."""
        return replace(
            self,
            train_images=np.concatenate([self.train_images, self.val_images]),
            train_labels=np.concatenate([self.train_labels, self.val_labels]),
        )

    def first(self, train_size: int) -> "Split":
        """Return a split with the first training images, as `load_split` makes one of this size.

        Args:
            train_size: If above the number of training images, all of them.
        """
        return replace(
            self,
            train_images=self.train_images[:train_size],
            train_labels=self.train_labels[:train_size],
        )


def default_val_size(dataset: Dataset) -> int:
    """Return the number of validation images without `--val-size`.

    A sixth of the training part, at most 10,000 as in Fashion-MNIST, at least one of each class.

    Raises:
        DataError: The labels are missing or damaged.
    """
    share = min(len(dataset.files.labels()) // 6, 10_000)
    return max(share, len(dataset.class_names))


def load_split(dataset: Dataset, sizes: SplitSizes) -> Split:
    """Read the training part and split it, always in the same way.

    The split is stratified: each part holds every class in proportion, and at least one image of
    it. A smaller training part is contained in a larger one. Images that occur more than once stay
    out of validation, so no validation image has a duplicate in training; a class that has no other
    images is not validated.

    Args:
        dataset: The data set.
        sizes: At least one image of each class in both parts.

    Raises:
        DataError: A file is missing, damaged or wrong, the data was replaced, or a size does not
            fit it.
    """
    part = dataset.training()
    images, labels = part.images, part.labels
    # RandomState, not Generator: NumPy promises that its stream never changes.
    order = np.random.RandomState(_SPLIT_SEED).permutation(len(labels))
    keys = digests(images)
    counts = Counter(keys)
    single = np.array([counts[keys[index]] == 1 for index in order])
    candidates = _interleave(order[single], labels)
    classes = len(dataset.class_names)
    if len(candidates) < 2 * classes:
        raise DataError(
            f"only {len(candidates)} of {len(labels)} training images occur once, and no other can "
            f"be used for validation; with {classes} classes at least {2 * classes} must. Remove "
            "copies from the data."
        )
    _check_size("--val-size", sizes.val, classes, len(candidates) - classes)
    val = candidates[: sizes.val]
    rest = _interleave(order[~np.isin(order, val)], labels)
    if sizes.train is not None:
        _check_size("--train-size", sizes.train, classes, len(rest))
    train = rest[: sizes.train]
    if sizes.epoch_size is not None:
        _check_size("--epoch-size", sizes.epoch_size, classes, len(train))
    return Split(
        train_images=images[train],
        train_labels=labels[train],
        val_images=images[val],
        val_labels=labels[val],
        classes=classes,
        mirror=dataset.mirror,
        pixels=dataset.pixels,
    )


def check_sizes(dataset: Dataset, sizes: SplitSizes) -> int:
    """Refuse sizes that do not fit the data; quick, as it reads only the labels.

    `load_split` checks exactly: it knows which images occur more than once.

    Returns:
        The number of training images, of which `sizes` may use a part.

    Raises:
        DataError: A file is missing, damaged or wrong, or a size does not fit the data.
    """
    count, classes = len(dataset.files.labels()), len(dataset.class_names)
    fits = classes <= sizes.val <= count - classes
    if sizes.train is not None:
        fits = fits and classes <= sizes.train <= count - sizes.val
    if sizes.epoch_size is not None:
        fits = fits and classes <= sizes.epoch_size <= sizes.train_images(count)
    if not fits:
        load_split(dataset, sizes)  # names the limits
    return count - sizes.val


def _interleave(order: npt.NDArray[np.int64], labels: Bytes) -> npt.NDArray[np.int64]:
    """Reorder indices so that every prefix holds each class in proportion.

    The first indices are one of each class, however rare it is. The last ones are one of each class
    with two images or more.
    """
    position = np.empty(len(order))
    for label in np.unique(labels[order]):
        members = np.flatnonzero(labels[order] == label)
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    order = order[np.argsort(position, kind="stable")]
    # With classes of similar size, this changes nothing.
    first = np.unique(labels[order], return_index=True)[1]
    others = np.delete(np.arange(len(order)), first)
    from_end = np.unique(labels[order[others]][::-1], return_index=True)[1]
    last = others[len(others) - 1 - from_end]
    middle = np.setdiff1d(others, last)
    interleaved: npt.NDArray[np.int64] = order[
        np.concatenate([np.sort(first), middle, np.sort(last)])
    ]
    return interleaved


def _check_size(flag: str, size: int, lowest: int, highest: int) -> None:
    if not lowest <= size <= highest:
        raise DataError(
            f"{flag} is {size}; with this data set it must be in [{lowest}, {highest}]."
        )

"""The interface to a data set: its facts and its images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from search.data.classes import FASHION_FINGERPRINT
from search.errors import DataError
from spaces import DataShape, PixelStatistics

Bytes = npt.NDArray[np.uint8]
MOST_CLASSES = 256  # labels are bytes
_ROWS: Final = 512  # images that are counted at once
_IMAGES_OF_PATCHES: Final = 500
_IMAGES_AT_ONCE: Final = 16  # whose patches are in memory: 60 MB with 224x224 pixels in colour


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabeledImages:
    """Images of one part of a data set.

    Args:
        images: (n, height, width, channels) uint8, n >= 1; 1 channel for grey, 3 for colour.
        labels: (n,) uint8, indices of class names.

    Raises:
        DataError: An array has another type or shape, or images and labels differ in number.
    """

    images: Bytes
    labels: Bytes

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if (
            images.dtype != np.uint8
            or labels.dtype != np.uint8
            or images.ndim != 4
            or images.shape[3] not in (1, 3)
            or 0 in images.shape
            or labels.shape != images.shape[:1]
        ):
            raise DataError(
                f"images are {images.dtype}{images.shape} with labels {labels.dtype}"
                f"{labels.shape}; expected uint8 (n, height, width, 1 or 3) and (n,), n >= 1."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: slice | npt.NDArray[Any]) -> "LabeledImages":
        return LabeledImages(images=self.images[indices], labels=self.labels[indices])


class Files(Protocol):
    """The files of a data set, in any format; small, so that it travels to workers."""

    def training(self) -> tuple[LabeledImages, str]:
        """Read the training part; return it with the fingerprint of what was read."""

    def labels(self) -> Bytes:
        """Return the labels of the training part, (n,) uint8, without reading its images."""

    def require_test(self) -> None:
        """Check that there is a test part, without opening it."""

    def test(self) -> LabeledImages:
        """Read the test part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A data set, the only source of image shapes and class names.

    Args:
        name: What reports call it.
        image_shape: Height, width and channels (1 or 3) of every image.
        class_names: Names of the classes, in the order of the labels; 2 to 256.
        mirror: Whether an image that is mirrored left-right still belongs to its class; None: not
            known.
        fingerprint: Identifies the training part by content.
        pixels: Statistics by which networks normalize and whiten the images; None: neither.
        files: Where its images are read from.
        source: How to open it again, as JSON values: `data`, a name or an absolute path, and the
            settings `image_size` and `mirror`, None where they were not given.
        notes: What the user must know about what was read, one line each.
    """

    name: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mirror: bool | None
    fingerprint: str
    files: Files
    pixels: PixelStatistics | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def training(self) -> LabeledImages:
        """Read the training part.

        Raises:
            DataError: A file is missing or damaged, or is not the one that this data set was opened
                from.
        """
        part, found = self.files.training()
        if found != self.fingerprint:
            raise DataError(
                f"data set {self.name} has changed since the study began (MD5 {found}, was "
                f"{self.fingerprint}). Restore it and run the same command again; finished trials "
                "and trainings are kept."
            )
        return part

    @property
    def is_fashion_mnist(self) -> bool:
        """Whether it is the official Fashion-MNIST, of which more is known than of other data."""
        return self.fingerprint == FASHION_FINGERPRINT

    @property
    def shape(self) -> DataShape:
        """Facts that a space needs."""
        return DataShape(self.image_shape, len(self.class_names), self.mirror, self.pixels)

    @property
    def fact(self) -> dict[str, Any]:
        """Facts that a study stores about its data set, beside the fingerprint."""
        return {
            "name": self.name,
            "image_shape": list(self.image_shape),
            "class_names": list(self.class_names),
            "mirror": self.mirror,
            "source": dict(self.source),
        }


def pixel_statistics(images: Bytes) -> PixelStatistics:
    """Return statistics of the pixels; each standard deviation is 1/255 or more.

    Args:
        images: (n, height, width, channels) uint8, n >= 1.
    """
    channels = images.shape[3]
    counts = np.zeros((channels, 256))
    for start in range(0, len(images), _ROWS):  # a mapped file may be larger than the memory
        part = images[start : start + _ROWS]
        for channel in range(channels):
            counts[channel] += np.bincount(part[..., channel].ravel(), minlength=256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    levels = np.arange(256) / 255
    mean = shares @ levels
    # At least one grey level: a channel that is constant here may vary in other images.
    deviation = np.sqrt(np.maximum(shares @ levels**2 - mean**2, 1 / 255**2))
    return PixelStatistics(
        tuple(mean.round(6).tolist()), tuple(deviation.round(6).tolist()), _patches(images)
    )


def _patches(images: Bytes) -> tuple[tuple[float, ...], ...] | None:
    """Return the covariance of patches of 2x2 pixels; None if all patches are constant.

    Constant patches, mostly of a blank background, would hide how the others vary.
    """
    channels = images.shape[3]
    chosen = images[:: -(-len(images) // _IMAGES_OF_PATCHES)]
    count, total, products = 0, np.zeros(4 * channels), np.zeros((4 * channels, 4 * channels))
    for start in range(0, len(chosen), _IMAGES_AT_ONCE):
        block = chosen[start : start + _IMAGES_AT_ONCE]
        windows = np.lib.stride_tricks.sliding_window_view(block, (2, 2), axis=(1, 2))
        pixels = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 4, channels)
        varied = pixels[(pixels != pixels[:, :1]).any(axis=(1, 2))].reshape(-1, 4 * channels) / 255
        count += len(varied)
        total += varied.sum(axis=0)
        products += varied.T @ varied
    if not count:
        return None
    mean = total / count
    covariance = products / count - np.outer(mean, mean)
    return tuple(tuple(row) for row in covariance.round(9).tolist())


def indices_of(labels: npt.NDArray[Any], values: Sequence[Any]) -> Bytes:
    """Return the index of each label among the values of the training labels.

    Args:
        labels: (n,) of any type that can be compared.
        values: Sorted values of the training labels, at most 256.

    Raises:
        DataError: A label is not among the values.
    """
    known: Mapping[Any, int] = {value: index for index, value in enumerate(values)}
    found, inverse = np.unique(labels, return_inverse=True)
    if strangers := [value for value in found.tolist() if value not in known]:
        raise DataError(
            f"the test part has the class {strangers[0]!r}, which the training part lacks; remove "
            "it, or add training images of it."
        )
    return np.array([known[value] for value in found.tolist()], np.uint8)[inverse]

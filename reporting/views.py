"""Views of an image that a prediction may average: mirror images and shifts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from search.data.dataset import Bytes
from spaces.training import AUGMENTATIONS

# By one pixel each, down and to the right.
_SHIFTS: Final = ((-1, 0), (1, 0), (0, -1), (0, 1))


@dataclass(frozen=True, slots=True)
class Views:
    """The views of an image that a prediction averages; by default only the image itself.

    Args:
        mirror: Its mirror image too.
        shifts: Each also shifted by one pixel in each of the four directions; black moves in.
    """

    mirror: bool = False
    shifts: bool = False

    def __str__(self) -> str:
        words = ["mirror images"] * self.mirror + ["shifts"] * self.shifts
        return " and ".join(words) or "network alone"

    @property
    def count(self) -> int:
        """Number of views of an image."""
        return 1 + sum(self.others.values())

    @property
    def others(self) -> dict[str, int]:
        """Groups of views beside the image itself, each with its number of views."""
        count = len(_SHIFTS)
        groups = {"mirrored": 1} if self.mirror else {}
        groups |= {"shifted": count} if self.shifts else {}
        return groups | ({"mirrored_shifted": count} if self.mirror and self.shifts else {})

    @property
    def ways(self) -> "tuple[Views, ...]":
        """All subsets of these views: alone, mirror images, shifts, both."""
        each = [ALONE, Views(mirror=self.mirror), Views(shifts=self.shifts), self]
        return tuple(dict.fromkeys(each))


ALONE: Final = Views()


def views_of(mirror: bool | None, params: Mapping[str, Any]) -> Views:
    """Return the views that are worth averaging for a network.

    Shifts are for networks that were trained with shifts.

    Args:
        mirror: As for `search.data.dataset.Dataset`.
        params: Hyperparameters of the network; if `mirror` is not known, their augmentation
            decides, since the search tried both.
    """
    mirrors = mirror is True or (mirror is None and trained_with_flips(params))
    return Views(mirror=mirrors, shifts=_trained_with("shift", params))


def trained_with_flips(params: Mapping[str, Any]) -> bool:
    """Return whether a network was trained on mirrored images too."""
    return _trained_with("flip", params)


def _trained_with(change: str, params: Mapping[str, Any]) -> bool:
    augmentation = params.get("augmentation")
    # A space of the user's may name its own in any way, such as `no_shift`.
    return augmentation in AUGMENTATIONS and change in str(augmentation)


def group_of(images: Bytes, name: str) -> list[Bytes]:
    """Return a group of views of images.

    Args:
        images: (n, height, width, channels).
        name: One of `Views.others`.
    """
    if name.startswith("mirrored"):
        images = images[:, :, ::-1]
    if not name.endswith("shifted"):
        return [images]
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return [
        padded[:, 1 - down : 1 - down + height, 1 - right : 1 - right + width]
        for down, right in _SHIFTS
    ]


def views_in_graph(images: Any, views: Views) -> list[Any]:
    """Return the views of images as Keras tensors, the images themselves first.

    Args:
        images: Keras tensor `(batch, height, width, channels)`.
        views: Which.
    """
    import keras

    found = [images, keras.ops.flip(images, axis=2)] if views.mirror else [images]
    if not views.shifts:
        return found
    layers = keras.layers
    pad = layers.ZeroPadding2D(1, dtype="float32", name="black_edge")
    crops = [
        layers.Cropping2D(
            ((1 - down, 1 + down), (1 - right, 1 + right)), dtype="float32", name=f"shift_{index}"
        )
        for index, (down, right) in enumerate(_SHIFTS, start=1)
    ]
    return [*found, *(crop(pad(one)) for one in found for crop in crops)]

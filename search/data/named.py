"""The data sets of `keras.datasets` that have a name here, downloaded by Keras."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from search.apart import ProcessEndedError, run_apart
from search.data.cache import open_cached
from search.data.classes import CIFAR_10, CIFAR_100, DIGITS
from search.data.dataset import Dataset, LabeledImages
from search.data.parts import Parts
from search.errors import DataError
from spaces.errors import one_line

FASHION: Final = "fashion_mnist"
_ARRAYS: Final = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a data set of `keras.datasets`.

    Args:
        class_names: Names of its classes, in the order of the labels.
        mirror: Whether an image that is mirrored left-right still belongs to its class.
    """

    class_names: tuple[str, ...]
    mirror: bool


KNOWN: Final = {
    "mnist": Known(DIGITS, mirror=False),
    "cifar10": Known(CIFAR_10, mirror=True),
    "cifar100": Known(CIFAR_100, mirror=True),
}
NAMES: Final = (FASHION, *KNOWN)


def open_named(
    name: str,
    cache: Path | None,
    *,
    create: bool = True,
    quiet: bool,
    load: Callable[[str, Path], None] | None = None,
) -> Dataset:
    """Open a data set of `keras.datasets`; Keras downloads it, unless its own cache has it.

    Args:
        name: A key of `KNOWN`.
        cache: As for `open_cached`.
        create: As there.
        quiet: Do not say that it may be downloaded.
        load: Writes its arrays into a folder, as `load_with_keras` does, which is the default.

    Raises:
        DataError: The download failed.
    """
    read = partial(_read, name, quiet, load or load_with_keras)
    dataset = open_cached(
        cache, name=name, where=name, key=name, stamp=name, read=read, create=create
    )
    if dataset.class_names != KNOWN[name].class_names:
        raise DataError(
            f"the unpacked images of {name} have other classes than {name}. Remove the folders "
            f"{name}-* in .data of the folder of the studies, and run the same command again."
        )
    return replace(dataset, mirror=KNOWN[name].mirror)


def _read(name: str, quiet: bool, load: Callable[[str, Path], None], scratch: Path) -> Parts:
    if not quiet:
        print(f"loading {name} with Keras; it is downloaded once", file=sys.stderr)  # noqa: T201
    load(name, scratch)
    arrays = {
        array: np.load(scratch / f"{array}.npy", mmap_mode="r", allow_pickle=False)
        for array in _ARRAYS
    }

    def part(of: str) -> LabeledImages:
        images, labels = arrays[f"x_{of}"], arrays[f"y_{of}"]
        return LabeledImages(
            images=images.view(np.ndarray).reshape(*images.shape[:3], -1),
            labels=labels.reshape(len(labels)).astype(np.uint8),
        )

    return Parts(train=part("train"), test=part("test"), class_names=KNOWN[name].class_names)


def load_with_keras(name: str, folder: Path) -> None:
    """Write the arrays of a data set as .npy files, in a separate process.

    Args:
        name: A module of `keras.datasets`.
        folder: Existing folder.

    Raises:
        DataError: Keras could not load it.
    """
    try:
        # Keras imports TensorFlow, which would take a GPU: not in the coordinator.
        reason = run_apart(_load, name, folder, name="loading")
    except ProcessEndedError as error:
        reason = f"its process ended with exit code {error.code}"
    if reason is not None:
        raise DataError(
            f"Keras could not load {name} ({reason}). Check the network, or put its file into "
            "Keras' cache (~/.keras/datasets), and run the same command again."
        )


def _load(name: str, folder: Path) -> str | None:
    """Write the arrays; return why that failed."""
    # Keras' progress and TensorFlow's messages; at the level of descriptors, for its C++ part.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ["KERAS_BACKEND"] = "tensorflow"  # the user may have set one that is not installed
    try:
        import keras

        keras.config.set_image_data_format("channels_last")
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
        arrays: tuple[Any, ...] = (x_train, y_train, x_test, y_test)
        for array, content in zip(_ARRAYS, arrays, strict=True):
            np.save(folder / f"{array}.npy", content)
    except Exception as error:  # Keras raises a plain Exception without a network
        return one_line(error)
    return None

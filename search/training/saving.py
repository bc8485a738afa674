"""Models as files: `.keras` files that stock Keras loads in safe mode."""

import json
import math
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from search.errors import SearchError
from spaces import DataShape
from spaces.errors import one_line


def save_model(model: keras.Model, data: DataShape) -> bytes:
    """Return a model as the content of a `.keras` file, after checking that the file works.

    Args:
        model: Built.
        data: What it is for.

    Raises:
        SearchError: The model cannot be saved, or `load_saved` refuses the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        try:
            model.save(file)
        except Exception as error:  # code of the user
            raise SearchError(f"model.save fails, {_words(error)}.") from error
        load_saved(file, data)
        return file.read_bytes()


def load_saved(file: Path, data: DataShape | None = None) -> keras.Model:
    """Load a `.keras` file with stock Keras in safe mode, and let it predict one image.

    A model without a channel axis gets the image as in training: Keras drops that axis.

    Args:
        file: Comes from anywhere; safe mode runs no code from it.
        data: What the model must be for; None: images as its own input layer takes them, and any
            two classes or more.

    Raises:
        SearchError: It cannot be loaded, or does not map images to one value for each class.
    """
    with _loading():
        model = keras.saving.load_model(file, compile=False, safe_mode=True)
    _ask(model, data)
    return model


def count_weights(file: Path, data: DataShape | None = None) -> int:
    """Return the number of weights that `load_saved` would load, without allocating them.

    Args:
        file: As there.
        data: As there.

    Raises:
        SearchError: As `load_saved`, for all but the stored weights.
    """
    with tf.Graph().as_default():  # its variables and its results have shapes only
        with _loading(), zipfile.ZipFile(file) as archive:
            config = {**json.loads(archive.read("config.json")), "compile_config": None}
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        _ask(model, data)
    return sum(math.prod(weight.shape) for weight in model.variables)


@contextmanager
def _loading() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # reading a user's file may raise anything
        raise SearchError(
            f"keras.saving.load_model cannot load it, {_words(error)}. Use no Lambda layer; "
            "decorate your own classes and functions with "
            "@keras.saving.register_keras_serializable(), and let __init__ pass **kwargs on to "
            "super().__init__."
        ) from error


def _ask(model: keras.Model, data: DataShape | None) -> None:
    shape = _own_shape(model) if data is None else data.image_shape
    try:
        outputs = model(np.zeros((1, *shape), np.float32))
    except Exception as error:  # code of the user
        known = getattr(model, "input_shape", None)  # a subclassed model has none
        why = f"its input is {known}" if known else _words(error)
        raise SearchError(f"it takes no images of shape {(None, *shape)}: {why}.") from error
    found = tuple(getattr(outputs, "shape", ()))
    if len(found) != 2 or found[1] < 2 or (data is not None and found[1] != data.classes):
        words = f"shape {(None, *found[1:])}" if found else f"type {type(outputs).__name__}"
        classes = "CLASSES" if data is None else data.classes
        raise SearchError(f"its output has the {words}; it must be one of shape (None, {classes}).")


def _own_shape(model: keras.Model) -> tuple[int, int, int]:
    known = getattr(model, "input_shape", None)  # a subclassed model has none
    sizes = (*known[1:], 1)[:3] if isinstance(known, tuple) else ()
    if len(sizes) != 3 or not all(isinstance(size, int) for size in sizes):
        raise SearchError(f"its input is {known}; it must be (None, height, width, channels).")
    return sizes


def _words(error: BaseException) -> str:
    """Describe an error of Keras: the first sentence of its cause.

    The errors around the cause, and the sentences after it, repeat the model's configuration.
    """
    while error.__context__ is not None:
        error = error.__context__
    return one_line(error, typed=True).partition(". ")[0]

"""Models as anybody has them: loaded by stock Keras alone, outputs read as probabilities."""

import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from search.data.classes import CLASS_NAMES
from search.data.files import Bytes
from search.errors import SearchError, first_line
from search.training.hardware import start_tensorflow

BATCH_SIZE: Final = 500
_INPUT: Final = (28, 28, 1)
_OUTPUT: Final = (len(CLASS_NAMES),)


class ModelError(SearchError):
    """There is no model, or it cannot be used; the message is one line for the user."""


class Model:
    """A loaded model.

    Args:
        path: Its file.
        keras_model: Maps (batch, 28, 28, 1) float32 in [0, 1] to (batch, 10).
    """

    def __init__(self, path: Path, keras_model: Any) -> None:
        self.path = path
        self.keras_model = keras_model

    def probabilities(self, images: Bytes) -> npt.NDArray[np.float64]:
        """Probabilities of all classes, in batches of 500.

        Args:
            images: (n, 28, 28) uint8.

        Returns:
            (n, 10) float64 in [0, 1].

        Raises:
            ModelError: The model gives numbers that are not finite.
        """
        scaled = images[..., np.newaxis].astype(np.float32) / 255
        outputs = self.keras_model.predict(scaled, batch_size=BATCH_SIZE, verbose=0)
        if not np.isfinite(outputs).all():
            raise ModelError(
                f"model {self.path} gives numbers that are not finite; its training diverged. "
                "Give another with --model."
            )
        return as_probabilities(outputs)


def load_model(path: Path) -> Model:
    """Load a model as anybody would: stock Keras, safe mode, nothing of ours.

    Args:
        path: A `.keras` file.

    Raises:
        ModelError: The file is missing, cannot be loaded, or has another input or output.
    """
    check_model_file(path)
    # Only now, so that errors in files and flags are told without TensorFlow's start.
    start_tensorflow()
    import keras

    try:
        # Safe mode is the default; it is named because the file may come from anywhere.
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # the file is the user's: reading it may raise anything
        raise ModelError(
            f"cannot load model {path} ({type(error).__name__}: {first_line(error)}). It must "
            "load with keras.saving.load_model alone: only Keras' own layers, no Lambda."
        ) from error
    # A model that was never built has no shapes.
    received = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    if not _fits(received[0], _INPUT) or not _fits(received[1], _OUTPUT):
        raise ModelError(
            f"model {path} maps {received[0]} to {received[1]}; it must map (None, 28, 28, 1) to "
            "(None, 10). Give another with --model."
        )
    return Model(path, model)


def as_probabilities(outputs: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Make probabilities of a model's outputs, whether it ends in softmax or in logits.

    Args:
        outputs: (n, classes), finite. Taken as probabilities when every row is non-negative and
            sums to 1 within 1e-3, else as logits.

    Returns:
        (n, classes) float64 in [0, 1], each row's sum 1 to float64's precision.
    """
    values = np.asarray(outputs, np.float64)
    if np.all(values >= 0) and np.all(np.abs(values.sum(axis=-1) - 1) <= 1e-3):
        return np.asarray(values / values.sum(axis=-1, keepdims=True))
    return np.asarray(softmax(values, axis=-1), np.float64)


def check_model_file(path: Path) -> None:
    """Refuse what cannot be a Keras file, before Keras is imported.

    Raises:
        ModelError: The file is missing or not in the `.keras` format.
    """
    if not path.exists():
        raise ModelError(
            f"model {path} does not exist. Run report.py first, or give the path of a .keras file."
        )
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise ModelError(
            f"model {path} is not a .keras file (a zip archive named *.keras). Save it with "
            "model.save('NAME.keras'), or give another with --model."
        )


def _fits(shape: object, wanted: tuple[int, ...]) -> bool:
    """Whether a shape with a batch axis is, or may become, the wanted one."""
    return (
        isinstance(shape, tuple)
        and len(shape) == 1 + len(wanted)
        and all(size in (None, need) for size, need in zip(shape[1:], wanted, strict=True))
    )

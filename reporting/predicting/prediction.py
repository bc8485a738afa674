"""Ask a saved model what images show."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from reporting.measuring.classes import CLASS_NAMES
from reporting.predicting.image_files import ImageError, load_image
from search.data_files import Bytes
from search.errors import SearchError, first_line

__all__ = [
    "ImageError",
    "ModelError",
    "Prediction",
    "as_probabilities",
    "check_model_file",
    "load_image",
    "newest_model",
    "predict",
]

_INPUT: Final = (28, 28, 1)
_OUTPUT: Final = (len(CLASS_NAMES),)
_BATCH_SIZE: Final = 256


class ModelError(SearchError):
    """There is no model, or it cannot be used; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one image.

    Args:
        class_name: The likeliest of `CLASS_NAMES`.
        probability: Of that class, in [0, 1].
        top3: The three likeliest classes with their probabilities, likeliest first.
    """

    class_name: str
    probability: float
    top3: tuple[tuple[str, float], ...]


def predict(images: Bytes | Sequence[Bytes], model_path: str | Path) -> list[Prediction]:
    """Classify images with a saved model.

    Args:
        images: (n, 28, 28) uint8, bright objects on black, as from `load_image`; n may be 0.
        model_path: A `.keras` file; input (batch, 28, 28, 1) float32 in [0, 1], output
            (batch, 10) logits or probabilities. It is loaded in Keras' safe mode.

    Returns:
        One for each image, in their order.

    Raises:
        ModelError: The file is missing, cannot be loaded, has another input or output, or gives
            numbers that are not finite.
        ValueError: `images` has another shape or type.
    """
    batch = np.asarray(images)
    if not len(batch):
        return []
    if batch.shape[1:] != _INPUT[:2] or batch.dtype != np.uint8:
        raise ValueError(f"images is {batch.dtype}{batch.shape}; use uint8 (n, 28, 28).")
    model = _load_model(Path(model_path))
    scaled = batch[..., np.newaxis].astype(np.float32) / 255
    outputs = np.asarray(model.predict(scaled, batch_size=_BATCH_SIZE, verbose=0), np.float64)
    if not np.isfinite(outputs).all():
        raise ModelError(
            f"model {model_path} gives numbers that are not finite; its training diverged. "
            "Give another with --model."
        )
    return [_prediction(row) for row in as_probabilities(outputs)]


def as_probabilities(outputs: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Make probabilities of a model's outputs, whether it ends in softmax or in logits.

    Args:
        outputs: (n, classes), finite. Taken as probabilities when every row is non-negative and
            sums to 1 within 1e-3, else as logits.

    Returns:
        (n, classes) float64 in [0, 1]; softmax of logits, probabilities as they are.
    """
    values = np.asarray(outputs, np.float64)
    if np.all(values >= 0) and np.all(np.abs(values.sum(axis=-1) - 1) <= 1e-3):
        return values
    # Less the largest, so that no exponential overflows.
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float64)


def newest_model(results_dir: Path) -> Path:
    """Find the model of the latest report.

    Args:
        results_dir: Folder of the studies.

    Raises:
        ModelError: No study in it has a report.
    """
    found = list(results_dir.glob("*/report/best_model.keras"))
    if not found:
        raise ModelError(
            f"no model found as {results_dir}/*/report/best_model.keras. Run report.py first, "
            "or give --model PATH (--results-dir, if the studies are elsewhere)."
        )
    return max(found, key=lambda path: path.stat().st_mtime)


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


def _load_model(path: Path) -> Any:
    check_model_file(path)
    # Imported here, so that errors in files and flags are told without TensorFlow's start.
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
    return model


def _fits(shape: object, wanted: tuple[int, ...]) -> bool:
    """Whether a shape with a batch axis is, or may become, the wanted one."""
    return (
        isinstance(shape, tuple)
        and len(shape) == 1 + len(wanted)
        and all(size in (None, need) for size, need in zip(shape[1:], wanted, strict=True))
    )


def _prediction(probabilities: npt.NDArray[np.float64]) -> Prediction:
    # Stable, so that equal probabilities come in the order of the labels.
    order = np.argsort(-probabilities, kind="stable")[:3]
    top3 = tuple((CLASS_NAMES[label], float(probabilities[label])) for label in order)
    return Prediction(*top3[0], top3)

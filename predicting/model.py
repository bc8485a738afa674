"""A saved model: find it, check it, load it with stock Keras, read its outputs."""

import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from search.data.files import Bytes
from search.errors import SearchError
from search.training.hardware import start_tensorflow

BATCH_SIZE: Final = 500


class ModelError(SearchError):
    """A model is missing or cannot be used; the message is one line."""


class Model:
    """A loaded model.

    Args:
        path: Its file; error messages name it.
        keras_model: Maps (batch, 28, 28, 1) float32 in [0, 1] to (batch, 10).
    """

    def __init__(self, path: Path, keras_model: Any) -> None:
        self.path = path
        self.keras_model = keras_model

    def probabilities(self, images: Bytes) -> npt.NDArray[np.float64]:
        """Return the probabilities of all classes, computed in batches of 500.

        Args:
            images: (n, 28, 28) uint8.

        Returns:
            (n, 10) float64 in [0, 1].

        Raises:
            ModelError: An output is not finite.
        """
        scaled = images[..., np.newaxis].astype(np.float32) / 255
        outputs = self.keras_model.predict(scaled, batch_size=BATCH_SIZE, verbose=0)
        if not np.isfinite(outputs).all():
            raise ModelError(
                f"model {self.path} returns values that are not finite: its training diverged. "
                "Name another one with --model."
            )
        return as_probabilities(outputs)


def newest_model(results_dir: Path) -> Path:
    """Return the model of the latest report in a folder of studies.

    Raises:
        ModelError: No study has a report, or only a preview of one.
    """
    found = list(results_dir.glob("*/report/best_model.keras"))
    if found:
        return max(found, key=lambda path: path.stat().st_mtime)
    if previews := sorted(results_dir.glob("*/report-preview/best_model.keras")):
        raise ModelError(
            f"{results_dir} has the model of a preview only. Run report.py without --quick, or "
            f"add --model {previews[0]}."
        )
    raise ModelError(
        f"no model found as {results_dir}/*/report/best_model.keras. Run report.py first, or name "
        "a model with --model, or the folder of the studies with --results-dir."
    )


def check_model_file(path: Path) -> None:
    """Check the file without importing Keras.

    Raises:
        ModelError: The file is missing or not in the `.keras` format.
    """
    if not path.exists():
        raise ModelError(
            f"model {path} does not exist. Run report.py first, or name a .keras file."
        )
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise ModelError(
            f"model {path} is not a .keras file (a zip archive named *.keras). Save it with "
            "model.save('NAME.keras'), or name another one with --model."
        )


def load_model(path: Path) -> Model:
    """Load a `.keras` file with stock Keras in safe mode.

    Raises:
        ModelError: The file is missing, cannot be loaded, or has another input or output shape.
    """
    check_model_file(path)
    # TensorFlow takes seconds to start, so it starts after the checks.
    start_tensorflow()
    from search.training.saving import load_saved

    try:
        return Model(path, load_saved(path))
    except SearchError as error:
        raise ModelError(f"model {path}: {error} Name another one with --model.") from error


def as_probabilities(outputs: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Convert the outputs of a model, probabilities or logits, to probabilities.

    Args:
        outputs: (n, classes), finite. They are probabilities if every row is non-negative and
            sums to 1 within 1e-3, else logits.

    Returns:
        (n, classes) float64 in [0, 1]; the sum of each row is 1 to the precision of float64.
    """
    values = np.asarray(outputs, np.float64)
    if np.all(values >= 0) and np.all(np.abs(values.sum(axis=-1) - 1) <= 1e-3):
        return np.asarray(values / values.sum(axis=-1, keepdims=True))
    return np.asarray(softmax(values, axis=-1), np.float64)

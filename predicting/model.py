"""A saved model: find it, load it with stock Keras, read its outputs as probabilities."""

import logging
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from predicting.archive import ModelError, check_model_file, check_weights
from search.command_line.parser import called
from search.data.dataset import Bytes
from search.errors import SearchError
from search.training.hardware import start_tensorflow
from spaces import DataShape
from spaces.errors import shown

BATCH_SIZE: Final = 500
# Larger images are predicted in smaller batches, and converted in parts: the memory stays the same.
_BATCH_PIXELS: Final = 2**22
_PART_PIXELS: Final = 2**26
# Name of the input of a model that takes [0, 255]. The range is stored in the model, not in a file
# beside it, because a renamed or moved model must predict the same.
RAW_INPUT: Final = "pixels_0_to_255"
_REFERENCE: Final = Path(__file__).resolve().parents[1] / "results" / "reference"


class Model:
    """A loaded model.

    Args:
        path: Its file; error messages name it.
        keras_model: Maps (batch, height, width, channels) float32 to (batch, classes). Images
            are in [0, 255] if its input is called `pixels_0_to_255`, else in [0, 1].
        image_shape: Height, width and channels of its images.
    """

    def __init__(self, path: Path, keras_model: Any, image_shape: tuple[int, int, int]) -> None:
        self.path = path
        self.keras_model = keras_model
        self._image_shape = image_shape
        self._ends_in_softmax = _ends_in_softmax(keras_model)

    @property
    def gives_probabilities(self) -> bool:
        """Whether its outputs are probabilities, not logits."""
        if self._ends_in_softmax is None:
            # Fixed images: the answer must not depend on which images are predicted first.
            self._ends_in_softmax = _are_probabilities(self._outputs(_probes(self._image_shape)))
        return self._ends_in_softmax

    def probabilities(self, images: Bytes) -> npt.NDArray[np.float64]:
        """Return the probabilities of all classes, computed in batches of at most 500.

        Args:
            images: (n, height, width, channels) uint8, n >= 1.

        Returns:
            (n, classes) float64 in [0, 1]; the sum of each row is 1 to the precision of float64.

        Raises:
            ModelError: An output is not finite.
        """
        outputs = self._outputs(images)
        if not np.isfinite(outputs).all():
            raise ModelError(
                f"model {shown(self.path)} returns values that are not finite: its training "
                "diverged. Name another one with --model."
            )
        if self.gives_probabilities:
            return np.asarray(outputs / outputs.sum(axis=-1, keepdims=True))
        return np.asarray(softmax(outputs, axis=-1), np.float64)

    def _outputs(self, images: Bytes) -> npt.NDArray[np.float64]:
        from search.training.batches import model_images  # imports TensorFlow

        height, width, channels = self._image_shape
        convert = _pixels if _takes_pixels(self.keras_model) else model_images
        batch = min(BATCH_SIZE, max(1, _BATCH_PIXELS // (height * width)))
        part = max(batch, _PART_PIXELS // (height * width * channels))
        outputs = [
            self.keras_model.predict(
                convert(images[start : start + part]), batch_size=batch, verbose=0
            )
            for start in range(0, len(images), part)
        ]
        return np.concatenate(outputs).astype(np.float64)


def newest_model(results_dir: Path) -> Path:
    """Return the model of the latest report in a folder of studies.

    Raises:
        ModelError: No study has a report, or only a preview of one.
    """
    found = [path for path in results_dir.glob("*/report/best_model.keras") if path.is_file()]
    if found:
        return max(found, key=lambda path: path.stat().st_mtime)
    if previews := sorted(results_dir.glob("*/report-preview/best_model.keras")):
        raise ModelError(
            f"{results_dir} has the model of a preview only. Run "
            f"{called('report.py')} without --quick, or add --model {previews[0]}."
        )
    advice = (
        f"Run {called('report.py')} first, or name a model with --model, or a folder with "
        "--results-dir."
    )
    if any(_REFERENCE.glob("*/report/best_model.keras")):
        here = Path.cwd()
        folder = _REFERENCE.relative_to(here) if _REFERENCE.is_relative_to(here) else _REFERENCE
        advice = f"For the model of the reference report add --results-dir {folder}. {advice}"
    raise ModelError(f"no model found as {results_dir}/*/report/best_model.keras. {advice}")


def load_model(path: Path, data: DataShape) -> Model:
    """Load a `.keras` file with stock Keras in safe mode.

    Its layers are first built without memory for their weights, to check shapes and sizes.

    Args:
        path: The file.
        data: What its input and output must fit.

    Raises:
        ModelError: The file is missing, cannot be loaded, is too large, or has another input or
            output shape.
    """
    check_model_file(path)
    # TensorFlow takes seconds to start, so it starts after the checks.
    start_tensorflow()
    logging.getLogger("tensorflow").addFilter(_is_not_of_tracing)
    from search.training.saving import count_weights, load_saved

    try:
        check_weights(path, count_weights(path, data))
        model = load_saved(path, data)
    except ModelError:
        raise
    except SearchError as error:
        raise ModelError(f"model {shown(path)}: {error} Name another one with --model.") from error
    _check_input(path, model, data.image_shape)
    return Model(path, model, data.image_shape)


def _check_input(path: Path, model: Any, image_shape: tuple[int, int, int]) -> None:
    """Refuse a model for images of another size: some layers, and so Keras, accept any size."""
    known = getattr(model, "input_shape", None)  # a subclassed model has none
    if not isinstance(known, tuple) or len(known) not in (3, 4):
        return
    sizes = (*known[1:], 1)[:3]  # the channel axis may be missing
    pairs = zip(sizes, image_shape, strict=True)
    if any(size not in (None, wanted) for size, wanted in pairs):
        raise ModelError(
            f"model {shown(path)}: it takes no images of shape {(None, *image_shape)}: its input "
            f"is {known}. Name another one with --model."
        )


def _is_not_of_tracing(record: logging.LogRecord) -> bool:
    """Filter out a warning: TensorFlow mistakes models that are loaded in turn for one model."""
    return "triggered tf.function retracing" not in str(record.msg)


def _takes_pixels(model: Any) -> bool:
    """Return whether a model takes images in [0, 255], by the name of its input."""
    inputs = getattr(model, "inputs", None) or ()  # a subclassed model has none
    return [getattr(one, "name", None) for one in inputs] == [RAW_INPUT]


def _pixels(images: Bytes) -> npt.NDArray[np.float32]:
    return images.astype(np.float32)


def _ends_in_softmax(model: Any) -> bool | None:
    """Return whether a model's last layer gives probabilities; None if the layer does not tell.

    A layer with weights and an activation tells. One without weights may pass on probabilities,
    and a subclassed model has no known last layer.
    """
    import keras

    last = model
    while isinstance(last, keras.Model):
        # A subclassed model lacks the attribute.
        end, *_ = getattr(last, "outputs", None) or [None]
        ends = [part for part in getattr(last, "operations", ()) if _output_of(part) is end]
        if len(ends) != 1:
            return None
        last = ends[0]
    activation = getattr(last, "activation", None)
    # The name is that of a layer and of an operation, `keras.ops.softmax`.
    if type(last).__name__ == "Softmax" or activation is keras.activations.softmax:
        return True
    return False if activation is not None and last.weights else None


def _output_of(part: Any) -> Any:
    try:
        return part.output
    except (AttributeError, ValueError):  # none, or several
        return None


def _probes(image_shape: tuple[int, int, int]) -> Bytes:
    """Return images that differ much: black, white and noise."""
    noise = np.random.default_rng(0).integers(0, 256, (30, *image_shape), np.uint8)
    black, white = (np.full((1, *image_shape), level, np.uint8) for level in (0, 255))
    return np.concatenate([black, white, noise])


def _are_probabilities(outputs: npt.NDArray[np.float64]) -> bool:
    """Return whether all rows are non-negative and sum to 1, to the precision of bfloat16."""
    return bool(np.all(outputs >= 0) and np.all(np.abs(outputs.sum(axis=-1) - 1) <= 0.01))

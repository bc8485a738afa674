"""Ask a saved model what images show."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from predicting.image_files import ImageError, load_image
from predicting.models import ModelError, as_probabilities, check_model_file, load_model
from search.data.classes import CLASS_NAMES
from search.data.files import Bytes

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
    if batch.shape[1:] != (28, 28) or batch.dtype != np.uint8:
        raise ValueError(f"images is {batch.dtype}{batch.shape}; use uint8 (n, 28, 28).")
    return [_prediction(row) for row in load_model(Path(model_path)).probabilities(batch)]


def newest_model(results_dir: Path) -> Path:
    """Find the model of the latest report.

    Args:
        results_dir: Folder of the studies.

    Raises:
        ModelError: No study in it has a report, or only a preview.
    """
    found = list(results_dir.glob("*/report/best_model.keras"))
    if not found:
        previews = sorted(results_dir.glob("*/report-preview/best_model.keras"))
        if previews:
            raise ModelError(
                f"{results_dir} has no model of a report, only of a preview. Run report.py "
                f"without --quick, or give --model {previews[0]}."
            )
        raise ModelError(
            f"no model found as {results_dir}/*/report/best_model.keras. Run report.py first, "
            "or give --model PATH (--results-dir, if the studies are elsewhere)."
        )
    return max(found, key=lambda path: path.stat().st_mtime)


def _prediction(probabilities: npt.NDArray[np.float64]) -> Prediction:
    # Stable, so that equal probabilities come in the order of the labels.
    order = np.argsort(-probabilities, kind="stable")[:3]
    top3 = tuple((CLASS_NAMES[label], float(probabilities[label])) for label in order)
    return Prediction(*top3[0], top3)

"""Predictions: classes of images, as a table, as records and as a grid of images."""

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from predicting.config import ModelConfig, read_config
from predicting.model import load_model
from search.data.dataset import Bytes
from spaces import DataShape
from spaces.errors import shown

_GRID_COLUMNS: Final = 5
_PART_BYTES: Final = 2**26  # images in memory at once
_LONGEST_NAME: Final = 22  # letters; a title is as wide as its image


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction for one image.

    Args:
        class_name: The most probable class.
        probability: Its probability, in [0, 1].
        top3: The three most probable classes, or both of two, with their probabilities, in
            falling order.
    """

    class_name: str
    probability: float
    top3: tuple[tuple[str, float], ...]


def predict(
    images: Iterable[Bytes], model_path: str | Path, config: ModelConfig | None = None
) -> list[Prediction]:
    """Classify images with a saved model.

    Args:
        images: (height, width, channels) uint8 each, as from `load_image`, or an array of them;
            the channel axis may be missing for grey images. Not all of an iterator are in memory
            at once.
        model_path: A `.keras` file; input (batch, height, width, channels) float32, in [0, 255] if
            it is called `pixels_0_to_255`, else in [0, 1]; output (batch, classes) logits or
            probabilities. It is loaded in Keras' safe mode.
        config: What the model was trained on; None: as `best_config.json` beside it says.

    Returns:
        One prediction per image.

    Raises:
        ModelError: The file is missing, cannot be loaded, has another input or output shape, or
            returns values that are not finite; or `best_config.json` cannot be used.
        ValueError: An image has another shape or type.
    """
    coming = iter(images)
    first = next(coming, None)
    if first is None:
        return []
    config = config or read_config(Path(model_path))
    shape, names = config.image_shape, config.class_names
    checked = map(partial(_checked, shape), chain([first], coming))
    found: list[Prediction] = []
    model = None
    while part := list(islice(checked, max(1, _PART_BYTES // math.prod(shape)))):
        model = model or load_model(Path(model_path), DataShape(shape, len(names)))
        found += [_prediction(row, names) for row in model.probabilities(np.stack(part))]
    return found


def _checked(shape: tuple[int, int, int], image: Bytes) -> Bytes:
    """Return an image with its channel axis."""
    full = image[..., np.newaxis] if shape[2] == 1 and image.ndim == 2 else image
    if full.shape != shape or full.dtype != np.uint8:
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"an image is {image.dtype}{image.shape}; it must be uint8 ({wanted}).")
    return full


def as_record(prediction: Prediction) -> dict[str, Any]:
    """Return a JSON object with the class, its probability and the three best classes."""
    return {
        "class": prediction.class_name,
        "probability": prediction.probability,
        "top3": [{"class": label, "probability": share} for label, share in prediction.top3],
    }


def as_table(
    names: Sequence[str], predictions: Sequence[Prediction], true_classes: Sequence[str] | None
) -> str:
    """Return aligned text with one line per image, below a header.

    Args:
        names: Path or other name of each image.
        predictions: One per image.
        true_classes: One per image; None if they are unknown.
    """
    rows = [["image", "class", "probability", "next"]]
    for name, prediction in zip(names, predictions, strict=True):
        others = ", ".join(
            f"{shown(label)} {100 * share:.1f} %" for label, share in prediction.top3[1:]
        )
        percent = f"{100 * prediction.probability:.1f} %"
        rows.append([shown(name), shown(prediction.class_name), percent, others])
    if true_classes is not None:
        rows[0].append("true class")
        for row, true_class in zip(rows[1:], true_classes, strict=True):
            name = shown(true_class)
            row.append(name if row[1] == name else f"{name} (wrong)")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def draw_grid(
    images: Sequence[Bytes],
    predictions: Sequence[Prediction],
    true_classes: Sequence[str],
    title: str,
) -> bytes:
    """Draw images in rows of five, each with its true and its predicted class.

    A wrong prediction has a cross, bold letters and a thick frame, so that it is visible without
    colours too.

    Args:
        images: (height, width, channels) uint8 each, at least one.
        predictions: One per image.
        true_classes: One per image.
        title: Title of the figure.

    Returns:
        A PNG file.
    """
    from matplotlib.figure import Figure  # slow to import, and only needed here

    rows = math.ceil(len(images) / _GRID_COLUMNS)
    figure = Figure(figsize=(2.4 * _GRID_COLUMNS, 2.5 * rows + 0.8), layout="constrained")
    grid = list(figure.subplots(rows, _GRID_COLUMNS, squeeze=False).flat)
    for axes in grid[len(images) :]:
        axes.set_axis_off()
    for axes, image, prediction, true_class in zip(
        grid, images, predictions, true_classes, strict=False
    ):
        right = prediction.class_name == true_class
        axes.set(xticks=[], yticks=[])
        grey = image.shape[2] == 1
        axes.imshow(image[..., 0] if grey else image, cmap="gray", vmin=0, vmax=255)
        axes.set_title(
            f"true: {_brief(true_class)}\n{'' if right else '✗ '}predicted: "
            f"{_brief(prediction.class_name)} {100 * prediction.probability:.1f} %",
            fontsize=9,
            fontweight="normal" if right else "bold",
            color="black" if right else "firebrick",
            parse_math=False,  # a name may hold `$`
        )
        if not right:
            for spine in axes.spines.values():
                spine.set(linewidth=4, color="firebrick")
    figure.suptitle(f"{title} (wrong: ✗, bold, thick frame)")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


def _brief(class_name: str) -> str:
    name = shown(class_name)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _prediction(probabilities: npt.NDArray[np.float64], class_names: Sequence[str]) -> Prediction:
    # A stable sort keeps classes of equal probability in the order of their labels.
    order = np.argsort(-probabilities, kind="stable")[:3]
    top3 = tuple((class_names[label], float(probabilities[label])) for label in order)
    return Prediction(*top3[0], top3)

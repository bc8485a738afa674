"""The picture that shows images with their true and predicted labels."""

import io
import math
from collections.abc import Sequence
from typing import Final

from matplotlib.figure import Figure

from predicting.prediction import Prediction
from search.data.files import Bytes

_COLUMNS: Final = 5


def draw_prediction_grid(
    images: Sequence[Bytes],
    predictions: Sequence[Prediction],
    true_classes: Sequence[str],
    title: str,
) -> bytes:
    """Draw images in rows of five, each under its true and its predicted class.

    A wrong prediction has a cross, bold letters and a thick frame, so that it is also
    found without colours.

    Args:
        images: (28, 28) uint8 each, at least one.
        predictions: One for each image.
        true_classes: Likewise.
        title: Stands above all.

    Returns:
        A PNG file.
    """
    rows = math.ceil(len(images) / _COLUMNS)
    figure = Figure(figsize=(2.4 * _COLUMNS, 2.5 * rows + 0.8), layout="constrained")
    grid = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    for axes in grid:
        axes.set_axis_off()
    for axes, image, prediction, truth in zip(
        grid, images, predictions, true_classes, strict=False
    ):
        right = prediction.class_name == truth
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[])
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        said = f"{prediction.class_name} {100 * prediction.probability:.1f} %"
        axes.set_title(
            f"true: {truth}\npredicted: {said}" if right else f"true: {truth}\n✗ predicted: {said}",
            fontsize=9,
            fontweight="normal" if right else "bold",
            color="black" if right else "firebrick",
        )
        if not right:
            for spine in axes.spines.values():
                spine.set(linewidth=4, color="firebrick")
    figure.suptitle(f"{title} (wrong: ✗, bold, in a thick frame)")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()

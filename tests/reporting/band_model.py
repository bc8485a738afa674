"""A model that needs no training: each class is a bright band of three rows."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np


def band_images(labels: Iterable[int]) -> np.ndarray:
    """(n, 28, 28, 1) uint8 with a band where the label says; the last class has only one row."""
    labels = list(labels)
    images = np.zeros((len(labels), 28, 28, 1), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[3 * label : 3 * label + 3] = 255
    return images


def save_model(
    path: Path,
    *,
    end: str | None = None,
    input_shape: tuple[int, ...] = (28, 28, 1),
    classes: int = 10,
    scale: float = 4.0,
) -> Path:
    """Save a model that gives the logit `scale` to the class of the band, 0 to the others."""
    import keras

    model = keras.Sequential(
        [
            keras.Input(input_shape),
            keras.layers.Flatten(),
            keras.layers.Dense(classes, activation=end, use_bias=False),
        ]
    )
    if input_shape == (28, 28, 1):
        rows = np.repeat(np.arange(28), 28)
        kernel = (rows[:, np.newaxis] // 3 == np.arange(classes)).astype(np.float32)
        model.layers[-1].set_weights([scale * kernel / kernel.sum(axis=0)])
    model.save(path)
    return path

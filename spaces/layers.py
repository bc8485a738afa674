"""Groups of Keras layers that several spaces share."""

from typing import Any

import keras
import numpy as np

from spaces import PixelStatistics

# With Keras' default, 0.99, the moving averages still depend on their initial values after an epoch
# of large batches. Pruning uses the validation accuracy of the first epochs, which would suffer.
BATCH_NORM_MOMENTUM = 0.9


# Added to the variance of each whitened direction, of pixels in [0, 1]. Otherwise noise in the
# smallest directions would become as large as everything else.
_LEAST_VARIANCE = 5e-4


def normalized(images: Any, pixels: PixelStatistics | None) -> Any:
    """Subtract the mean of the training part, and divide by its deviation.

    Args:
        images: Keras tensor `(batch, height, width, channels)` in [0, 1].
        pixels: None, or statistics with `normalized` unset: return the images as they are.
    """
    if pixels is None or not pixels.normalized:
        return images
    return keras.layers.Normalization(
        mean=list(pixels.mean),
        variance=[deviation**2 for deviation in pixels.deviation],
        name="normalization",
    )(images)


def whitened(images: Any, pixels: PixelStatistics) -> Any:
    """Project each patch of 2x2 pixels on the eigenvectors of their covariance, with both signs.

    Each projection is divided by its standard deviation, and negative ones are set to 0. The layer
    is not trained.

    Args:
        images: What `normalized` returns.
        pixels: With the covariance of patches.

    Returns:
        Keras tensor `(batch, height, width, 8 x channels)`.

    Source: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", section 3.2.
    """
    variances, vectors = np.linalg.eigh(np.array(pixels.patches))
    # The sign of an eigenvector is arbitrary: make its largest value positive on any machine.
    vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(vectors))])
    kernel = vectors / np.sqrt(np.maximum(variances, 0) + _LEAST_VARIANCE)
    if pixels.normalized:  # the covariance is that of the pixels before
        kernel *= np.tile(pixels.deviation, 4)[:, None]
    kernel = np.concatenate([kernel, -kernel], axis=1).reshape(2, 2, len(pixels.mean), -1)
    project = keras.layers.Conv2D(
        kernel.shape[-1],
        2,
        padding="same",
        use_bias=False,
        # As plain numbers, so that the generated code of the network shows them.
        kernel_initializer=keras.initializers.Constant(kernel.round(6).tolist()),
        trainable=False,
        name="whitening",
    )
    return keras.layers.ReLU(name="activation_whitening")(project(images))


def normalized_activation(maps: Any, activation: str, batch_norm: str, suffix: str) -> Any:
    """Apply an activation, and batch normalization before or after it.

    Args:
        maps: Keras tensor of any shape, channels last.
        activation: Keras name of the activation.
        batch_norm: `before`, `after` or `none`.
        suffix: End of the layers' names, such as `conv_1_2`.
    """
    activate = keras.layers.Activation(activation, name=f"activation_{suffix}")
    if batch_norm == "none":
        return activate(maps)
    normalize = keras.layers.BatchNormalization(
        momentum=BATCH_NORM_MOMENTUM, name=f"batch_norm_{suffix}"
    )
    if batch_norm == "before":
        return activate(normalize(maps))
    return normalize(activate(maps))


def classifier(
    features: Any,
    *,
    classes: int,
    widths: tuple[int, ...],
    activation: str,
    batch_norm: str,
    dropout: float,
    dropout_placement: str,
) -> Any:
    """Apply dense layers and return logits.

    Args:
        features: Keras tensor `(batch, features)`.
        classes: Number of classes.
        widths: Units of each dense layer before the last.
        activation: Keras name of their activation.
        batch_norm: `before`, `after` or `none`.
        dropout: Rate in [0, 1); 0 adds no dropout layer.
        dropout_placement: `last` (only before the logits) or `each` (after every dense layer).

    Returns:
        Keras tensor `(batch, classes)`, float32 under every dtype policy: the loss needs the
        precision.
    """
    for index, width in enumerate(widths, start=1):
        features = keras.layers.Dense(width, name=f"dense_{index}")(features)
        features = normalized_activation(features, activation, batch_norm, f"dense_{index}")
        if dropout and dropout_placement == "each" and index < len(widths):
            features = keras.layers.Dropout(dropout, name=f"dropout_dense_{index}")(features)
    if dropout:
        features = keras.layers.Dropout(dropout, name="dropout_logits")(features)
    return keras.layers.Dense(classes, dtype="float32", name="logits")(features)

"""Build the Keras model of an `MlpConfig` from stock layers."""

import keras

from spaces import PixelStatistics
from spaces.layers import classifier, normalized
from spaces.mlp import MlpConfig


def build_model(
    config: MlpConfig,
    image_shape: tuple[int, int, int],
    classes: int,
    pixels: PixelStatistics | None = None,
) -> keras.Model:
    """Build the network, not compiled.

    Args:
        config: Its layers.
        image_shape: Height, width and channels of an image.
        classes: Number of classes.
        pixels: Statistics by which the network normalizes images; None: not normalized.

    Returns:
        Functional model from images `(batch, height, width, channels)` float32 in [0, 1] to logits
        `(batch, classes)` float32.
    """
    images = keras.Input(image_shape, name="images")
    logits = classifier(
        keras.layers.Flatten(name="flatten")(normalized(images, pixels)),
        classes=classes,
        widths=config.dense,
        activation=config.activation,
        batch_norm=config.batch_norm,
        dropout=config.dropout,
        dropout_placement="each",
    )
    return keras.Model(images, logits, name="mlp")

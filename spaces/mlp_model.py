"""Build the Keras model of an `MlpConfig` from stock layers."""

import keras

from spaces.layers import classifier
from spaces.mlp import MlpConfig


def build_model(config: MlpConfig) -> keras.Model:
    """Build the network, not compiled.

    Returns:
        Functional model from images `(batch, 28, 28, 1)` float32 in [0, 1] to logits
        `(batch, 10)` float32.
    """
    images = keras.Input((28, 28, 1), name="images")
    logits = classifier(
        keras.layers.Flatten(name="flatten")(images),
        widths=config.dense,
        activation=config.activation,
        batch_norm=config.batch_norm,
        dropout=config.dropout,
        dropout_placement="each",
    )
    return keras.Model(images, logits, name="mlp")

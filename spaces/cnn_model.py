"""Build the Keras model of a `CnnConfig` from stock layers."""

from typing import Any

import keras

from spaces import PixelStatistics
from spaces.cnn import CnnConfig, ConvBlock
from spaces.layers import classifier, normalized, normalized_activation, whitened


def build_model(
    config: CnnConfig,
    image_shape: tuple[int, int, int],
    classes: int,
    pixels: PixelStatistics | None = None,
) -> keras.Model:
    """Build the network, not compiled.

    Args:
        config: Its layers.
        image_shape: Height, width and channels of an image.
        classes: Number of classes.
        pixels: Statistics by which the network normalizes and whitens images; None: neither.

    Returns:
        Functional model from images `(batch, height, width, channels)` float32 in [0, 1] to logits
        `(batch, classes)` float32.
    """
    images = keras.Input(image_shape, name="images")
    maps = normalized(images, pixels)
    if config.whitened and pixels is not None and pixels.patches is not None:
        maps = whitened(maps, pixels)
    for index, block in enumerate(config.blocks, start=1):
        maps = _conv_block(maps, index, block, config)
    logits = classifier(
        _head_layer(config.head)(maps),
        classes=classes,
        widths=config.dense,
        activation=config.activation,
        batch_norm=config.dense_batch_norm,
        dropout=config.head_dropout,
        dropout_placement=config.head_dropout_placement,
    )
    return keras.Model(images, logits, name="cnn")


def _conv_block(maps: Any, index: int, block: ConvBlock, config: CnnConfig) -> Any:
    maps = first = _conv(maps, f"conv_{index}_1", block.filters, config.padding, config)
    for number in range(2, block.convs + 1):
        maps = _conv(maps, f"conv_{index}_{number}", block.filters, "same", config)
    if config.residual and block.convs > 1:
        # Added after the last activation, so the path from block to block is the identity.
        maps = keras.layers.Add(name=f"skip_{index}")([first, maps])
    if block.pool == "max":
        maps = keras.layers.MaxPooling2D(2, name=f"pool_{index}")(maps)
    elif block.pool == "average":
        maps = keras.layers.AveragePooling2D(2, name=f"pool_{index}")(maps)
    if config.conv_dropout:
        maps = keras.layers.Dropout(config.conv_dropout, name=f"dropout_{index}")(maps)
    return maps


def _conv(maps: Any, name: str, filters: int, padding: str, config: CnnConfig) -> Any:
    # A bias has no effect before batch normalization, but published parameter counts include it.
    maps = keras.layers.Conv2D(filters, config.kernel_size, padding=padding, name=name)(maps)
    return normalized_activation(maps, config.activation, config.conv_batch_norm, name)


def _head_layer(head: str) -> keras.Layer:
    if head == "global_average":
        return keras.layers.GlobalAveragePooling2D(name="global_average")
    if head == "global_max":
        return keras.layers.GlobalMaxPooling2D(name="global_max")
    return keras.layers.Flatten(name="flatten")

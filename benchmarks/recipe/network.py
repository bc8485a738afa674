"""The networks of the `cnn` space with parts that the space does not have."""

from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt

from spaces import DataShape
from spaces.cnn import CnnConfig, ConvBlock


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How a network differs from that which the space builds.

    Args:
        pool_first: Maximum pooling stands before batch normalization and activation.
        normalized: Pixels are normalized by the training part's mean and deviation.
        identity: Later convolutions begin as the identity, as far as they have channels for it.
        momentum: Of batch normalization; None: that of the space.
        conv_bias: Whether convolutions have a bias.
    """

    pool_first: bool = False
    normalized: bool = False
    identity: bool = False
    momentum: float | None = None
    conv_bias: bool = True

    def build(self, config: CnnConfig, data: DataShape, images: npt.NDArray[np.uint8]) -> Any:
        """Build the network.

        Args:
            config: Its layers.
            data: What it must fit.
            images: (n, height, width, channels), the training part.
        """
        import keras

        from spaces import cnn_model, layers

        conv2d, conv_block = keras.layers.Conv2D, cnn_model._conv_block

        def convolution(filters: int, size: int, **options: Any) -> Any:
            layer = conv2d(filters, size, **({"use_bias": self.conv_bias} | options))
            if self.identity and options["name"] not in ("whitening", "conv_1_1"):
                layer.kernel_initializer = _identity_initializer(keras)
            return layer

        def block(maps: Any, index: int, given: ConvBlock, given_config: CnnConfig) -> Any:
            if index == 1:
                maps = self._stem(maps, images)
            if self.pool_first and given.pool == "max":
                return _pool_first(maps, index, given, given_config)
            return conv_block(maps, index, given, given_config)

        momentum = layers.BATCH_NORM_MOMENTUM if self.momentum is None else self.momentum
        with (
            patch.object(layers, "BATCH_NORM_MOMENTUM", momentum),
            patch.object(keras.layers, "Conv2D", convolution),
            patch.object(cnn_model, "_conv_block", block),
        ):
            return cnn_model.build_model(config, data.image_shape, data.classes, data.pixels)

    def _stem(self, maps: Any, images: npt.NDArray[np.uint8]) -> Any:
        import keras

        if self.normalized:
            pixels = images.astype(np.float32) / 255
            axes = (0, 1, 2)
            maps = keras.layers.Normalization(
                mean=pixels.mean(axes), variance=pixels.var(axes), name="normalization"
            )(maps)
        return maps


def _pool_first(maps: Any, index: int, block: ConvBlock, config: CnnConfig) -> Any:
    import keras

    from spaces import cnn_model
    from spaces.layers import normalized_activation

    for number in range(1, block.convs):
        maps = cnn_model._conv(maps, f"conv_{index}_{number}", block.filters, "same", config)
    name = f"conv_{index}_{block.convs}"
    maps = keras.layers.Conv2D(block.filters, config.kernel_size, padding="same", name=name)(maps)
    maps = keras.layers.MaxPooling2D(2, name=f"pool_{index}")(maps)
    return normalized_activation(maps, config.activation, config.conv_batch_norm, name)


def _identity_initializer(keras: Any) -> Any:
    class Identity(keras.initializers.Initializer):  # type: ignore[misc]
        def __call__(self, shape: Any, dtype: Any = None) -> Any:
            kernel = np.array(keras.initializers.GlorotUniform()(shape, dtype="float32"))
            height, width, inputs, outputs = shape
            for channel in range(min(inputs, outputs)):
                kernel[:, :, :, channel] = 0
                kernel[height // 2, width // 2, channel, channel] = 1
            return keras.ops.convert_to_tensor(kernel, dtype)

    return Identity()

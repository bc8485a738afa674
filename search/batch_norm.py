"""Run stock `keras.layers.BatchNormalization` on TensorFlow's fused operation.

Keras 3 computes batch normalisation on TensorFlow step by step; the fused operation does the same in
two passes over the data. The layer class itself is not replaced, so models stay stock Keras models.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

_stock_call = keras.layers.BatchNormalization.call


@contextmanager
def fuse_batch_norm() -> Iterator[None]:
    """While open, what traces or calls a `BatchNormalization` layer gets the fused operation.

    Layers that the operation does not cover run as ever: inputs not of rank 4 with channels last,
    masks, renorm, and synchronisation over devices.
    """
    layer = keras.layers.BatchNormalization
    previous = layer.call
    layer.call = _fused_call
    try:
        yield
    finally:
        layer.call = previous


def _fused_call(self: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
    covered = (
        len(inputs.shape) == 4
        and self.axis in (-1, 3)
        and mask is None
        and not (self.renorm or self.synchronized)
        and self.compute_dtype in ("float32", "bfloat16", "float16")
        and self.variable_dtype == "float32"
    )
    if not covered:
        return _stock_call(self, inputs, training=training, mask=mask)
    inputs = tf.cast(inputs, self.compute_dtype)
    channels = inputs.shape[-1]
    gamma = tf.convert_to_tensor(self.gamma) if self.scale else tf.ones(channels)
    beta = tf.convert_to_tensor(self.beta) if self.center else tf.zeros(channels)
    if training and self.trainable:
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=gamma,
            offset=beta,
            mean=tf.zeros(0),
            variance=tf.zeros(0),
            epsilon=self.epsilon,
            is_training=True,
        )
        # The operation gives the sample variance, Keras averages the population variance.
        count = tf.cast(tf.size(inputs) // channels, tf.float32)
        variance *= (count - 1) / count
        momentum = self.momentum
        self.moving_mean.assign(self.moving_mean * momentum + mean * (1 - momentum))
        self.moving_variance.assign(self.moving_variance * momentum + variance * (1 - momentum))
        return outputs
    outputs, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=gamma,
        offset=beta,
        mean=tf.convert_to_tensor(self.moving_mean),
        variance=tf.convert_to_tensor(self.moving_variance),
        epsilon=self.epsilon,
        is_training=False,
    )
    return outputs

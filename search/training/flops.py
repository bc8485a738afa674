"""Count the floating-point operations of a network."""

import math
from typing import Any

import keras
import tensorflow as tf

from spaces import DataShape


def count_flops(model: keras.Model, data: DataShape) -> int:
    """Return twice the multiply-adds of a model's convolutions and matrix products for one image.

    They are counted in the graph of a prediction, so custom layers, subclassed models and
    layers that are used twice count as what they compute. Additions, activations,
    normalization and pooling do not count, nor do loops, such as those of recurrent layers.

    Args:
        model: Built.
        data: What its images look like.
    """
    return 2 * _of_graph(prediction(model).get_concrete_function(image_spec(data, 1)).graph)


def prediction(model: keras.Model) -> Any:
    """Return the prediction of a model as a TensorFlow function, not traced yet."""
    # Untranslated, as Keras calls models; see `search.training.batches`.
    return tf.function(lambda images: model(images, training=False), autograph=False)


def image_spec(data: DataShape, batch: int) -> tf.TensorSpec:
    """Return what a batch of images looks like: float32."""
    return tf.TensorSpec((batch, *data.image_shape), tf.float32)


def _of_graph(graph: Any) -> int:
    return sum(_multiply_adds(operation) for operation in graph.get_operations())


def _multiply_adds(operation: tf.Operation) -> int:
    match operation.type:
        case "Conv2D" | "Conv3D":  # each value needs a whole filter, of its group of channels
            return _size(operation.outputs[0]) * math.prod(_shape(operation.inputs[1])[:-1])
        case "DepthwiseConv2dNative":
            return _size(operation.outputs[0]) * math.prod(_shape(operation.inputs[1])[:2])
        case "Conv2DBackpropInput" | "Conv3DBackpropInputV2":  # transposed: each input value does
            return _size(operation.inputs[2]) * math.prod(_shape(operation.inputs[1])[:-1])
        case "MatMul":
            rows, columns = _shape(operation.inputs[0])
            return _size(operation.outputs[0]) * (
                rows if operation.get_attr("transpose_a") else columns
            )
        case "BatchMatMulV2" | "BatchMatMulV3":
            place = -2 if operation.get_attr("adj_x") else -1
            return _size(operation.outputs[0]) * _shape(operation.inputs[0])[place]
        case "Einsum":
            return _einsum(operation)
        case "PartitionedCall" | "StatefulPartitionedCall":  # as Keras computes groups of channels
            # TensorFlow has no public way to the graph of a function that a graph calls.
            called = operation.graph._get_function(operation.get_attr("f").name)
            return _of_graph(called.graph)
    return 0


def _einsum(operation: tf.Operation) -> int:
    """Count one multiply-add for each combination of indices, as TensorFlow computes it."""
    equation = operation.get_attr("equation").decode()
    terms = equation.partition("->")[0].split(",")
    if len(terms) != 2 or "." in equation:
        return 0
    sizes = {
        index: size
        for term, given in zip(terms, operation.inputs, strict=True)
        for index, size in zip(term, _shape(given), strict=True)
    }
    return math.prod(sizes.values())


def _shape(tensor: tf.Tensor) -> list[int]:
    return [1 if size is None else int(size) for size in tensor.shape]


def _size(tensor: tf.Tensor) -> int:
    return math.prod(_shape(tensor))

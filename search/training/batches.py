"""Images and labels in the form that a model takes: batches of augmented epochs, or arrays."""

import math
from collections.abc import Callable
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from search.data.dataset import Bytes
from search.data.split import Split
from search.training.augmentation import augment
from spaces import DataShape

# An epoch of augmented images is in memory several times: a larger one is loaded in parts.
_PART_BYTES: Final = 2**28
_PREDICTION_BATCH: Final = 500
_PREDICTION_PIXELS: Final = 500 * 32 * 32  # of a batch: its maps must fit in memory
# TensorFlow translates functions of Python that it calls. Ours need no translation, and a worker
# that is killed would leave its files in the temporary directory.
_untranslated: Final = tf.autograph.experimental.do_not_convert


def training_batches(
    split: Split,
    batch_size: int,
    augmentation: str,
    rng: np.random.Generator,
    classes: int | None,
    soft_targets: npt.NDArray[np.float32] | None = None,
    *,
    epoch_size: int | None = None,
) -> Any:
    """Return the batches of an epoch; each pass over them is another epoch.

    All images are shuffled, and each epoch shows the next ones that fill its batches. When too few
    are left for an epoch, all are shuffled again, behind those that are left. An epoch, or a part
    of 256 MB of it, travels from NumPy to TensorFlow as uint8, and is batched and cast there.

    Args:
        split: Its training part is used.
        batch_size: At most the number of images that an epoch shows.
        augmentation: One of `spaces.training.AUGMENTATIONS`.
        rng: Source of everything random.
        classes: From `one_hot_classes`: number of classes, for one-hot labels; None: integer
            labels.
        soft_targets: (n, classes) of the training images, in place of their labels; an augmented
            image has the target of its original.
        epoch_size: Images of an epoch, at most all; None: all.

    Returns:
        A `tf.data.Dataset` of (batch, height, width, channels) float32 in [0, 1] and (batch,) int32
        or (batch, classes) float32.
    """
    shape = split.shape.image_shape
    targets: Any = split.train_labels if soft_targets is None else soft_targets
    steps = (epoch_size or len(split.train_labels)) // batch_size
    part_steps = max(1, _PART_BYTES // (batch_size * math.prod(shape)))
    # Each image is mirrored every other time that it is shown, while independent draws would show
    # half of the images the same way twice.
    # Source: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU".
    mirrored = rng.random(len(split.train_labels)) < 0.5
    order = left = np.arange(0)  # images of the current epoch, and those of the next ones

    def part(first: Any) -> tuple[Bytes, Any]:
        nonlocal order, left
        if first == 0:
            if len(left) < steps * batch_size:
                again = rng.permutation(len(split.train_labels))
                is_left = np.isin(again, left)  # not twice in this epoch
                left = np.concatenate([left, again[~is_left], again[is_left]])
            order, left = np.split(left, [steps * batch_size])
            mirrored[order] = ~mirrored[order]
        chosen = order[first * batch_size : (first + part_steps) * batch_size]
        images = augment(split.train_images[chosen], augmentation, rng, mirrored[chosen])
        return (
            images.reshape(-1, batch_size, *shape),
            targets[chosen].reshape(-1, batch_size, *targets.shape[1:]),
        )

    def load(first: Any) -> tuple[Any, Any]:
        images, chosen = tf.numpy_function(part, [first], (tf.uint8, targets.dtype))
        return (
            tf.ensure_shape(images, (None, batch_size, *shape)),
            tf.ensure_shape(chosen, (None, batch_size, *targets.shape[1:])),
        )

    # Not `Dataset.from_generator`: from its first use on, TensorFlow returns freed memory to the
    # system at once (M_TRIM_THRESHOLD); without oneDNN, page faults make a step 1.6 to 1.7 times
    # as slow.
    return (
        tf.data.Dataset.range(0, steps, part_steps)
        .map(_untranslated(load))
        .flat_map(_untranslated(lambda *arrays: tf.data.Dataset.from_tensor_slices(arrays)))
        .map(_untranslated(_to_model_input(classes)))
        .apply(tf.data.experimental.assert_cardinality(steps))
        .prefetch(2)
    )


def prediction_batch(data: DataShape) -> int:
    """Return how many images are predicted at once while a network trains."""
    height, width, _ = data.image_shape
    return min(_PREDICTION_BATCH, max(1, _PREDICTION_PIXELS // (height * width)))


def validation_batches(split: Split, classes: int | None) -> Any:
    """Return the validation part in its own order, in batches like those of `training_batches`."""
    return (
        tf.data.Dataset.from_tensor_slices((split.val_images, split.val_labels))
        .batch(prediction_batch(split.shape))
        .map(_untranslated(_to_model_input(classes)))
        .prefetch(2)
    )


def _to_model_input(classes: int | None) -> Callable[[Any, Any], tuple[Any, Any]]:
    def convert(images: Any, targets: Any) -> tuple[Any, Any]:
        if not targets.dtype.is_floating:  # labels, not soft targets
            targets = tf.cast(targets, tf.int32)
            targets = targets if classes is None else tf.one_hot(targets, classes)
        return tf.cast(images, tf.float32) * (1 / 255), targets

    return convert


def model_images(images: Bytes) -> Any:
    """Convert (n, height, width, channels) uint8 images to float32 in [0, 1]."""
    return np.divide(images, np.float32(255), dtype=np.float32)  # makes one copy


def labels_for(model: keras.Model, labels: Bytes, data: DataShape) -> Any:
    """Convert labels to the form that the model's loss takes: int32, or one-hot float32."""
    classes = one_hot_classes(model, data)
    return (
        labels.astype(np.int32) if classes is None else keras.utils.to_categorical(labels, classes)
    )


def one_hot_classes(model: keras.Model, data: DataShape) -> int | None:
    """Return the number of classes if the model's loss takes one-hot labels, else None.

    A loss may be named, wrapped, or written by the user. So it is called: it takes one-hot labels
    if it is lower for outputs that are right than for outputs that are wrong. A model that is not
    compiled, or compiled without a loss, gets integers.
    """
    if not model.compiled:
        return None
    classes = data.classes
    # 3 rows, or 4: a number that is not broadcast.
    rows = 3 if classes != 3 else 4
    labels = keras.utils.to_categorical(np.arange(1, rows + 1) % classes, classes)
    # As probabilities or as logits, these outputs say the same.
    right = 0.9 * labels + 0.1 / classes
    images = np.zeros((len(labels), *data.image_shape), np.float32)

    def loss(outputs: Any) -> float:
        outputs = keras.ops.convert_to_tensor(outputs, "float32")
        return float(model.compute_loss(x=images, y=keras.ops.array(labels), y_pred=outputs))

    try:
        return classes if loss(right) < loss(np.roll(right, 1, axis=0)) else None
    except Exception:  # a loss for integers may fail in any way, and be the user's
        return None

"""Labels: in the form that a loss takes, however it is written."""

import functools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from search.data.formats import open_dataset
from search.data.split import Split, SplitSizes, load_split
from search.training import batches as module
from search.training.batches import (
    labels_for,
    one_hot_classes,
    training_batches,
    validation_batches,
)
from spaces import DataShape

losses = keras.losses
DATA = DataShape((28, 28, 1), 10)


def own_one_hot(labels: Any, outputs: Any) -> Any:
    return -keras.ops.sum(labels * keras.ops.log(outputs), axis=-1)


def own_focal(labels: Any, outputs: Any) -> Any:
    chosen = keras.ops.one_hot(keras.ops.cast(labels, "int32"), 10)
    return -keras.ops.mean(chosen * (1 - outputs) ** 2 * keras.ops.log(outputs))


def own_first_column(labels: Any, outputs: Any) -> Any:
    return losses.sparse_categorical_crossentropy(labels[:, 0], outputs)


class Derived(losses.CategoricalCrossentropy):
    pass


class Written(losses.Loss):
    def call(self, y_true: Any, y_pred: Any) -> Any:
        return losses.sparse_categorical_crossentropy(y_true, y_pred)


ONE_HOT = {
    "name": "categorical_crossentropy",
    "list": ["categorical_crossentropy"],
    "dict": {"label": "categorical_crossentropy"},
    "partial": functools.partial(losses.categorical_crossentropy, label_smoothing=0.1),
    "lambda": lambda labels, outputs: losses.categorical_crossentropy(labels, outputs),
    "object": losses.CategoricalCrossentropy(from_logits=True),
    "focal": losses.CategoricalFocalCrossentropy(),
    "derived": Derived(),
    "hinge": "categorical_hinge",
    "binary": "binary_crossentropy",
    "divergence": "kl_divergence",
    "cosine": "cosine_similarity",
    "error": "mse",
    "own": own_one_hot,
    "tensorflow": lambda labels, outputs: tf.nn.softmax_cross_entropy_with_logits(labels, outputs),
}
INTEGERS = {
    "name": "sparse_categorical_crossentropy",
    "list": ["sparse_categorical_crossentropy"],
    "dict": {"label": losses.SparseCategoricalCrossentropy(from_logits=True)},
    "partial": functools.partial(losses.sparse_categorical_crossentropy, from_logits=True),
    "lambda": lambda labels, outputs: losses.sparse_categorical_crossentropy(labels, outputs),
    "written": Written(),
    "focal": own_focal,
    "first column": own_first_column,
    "none": None,
}


def compiled(loss: Any) -> keras.Model:
    inputs = keras.Input((28, 28, 1))
    output = keras.layers.Dense(10, activation="softmax", name="label")(
        keras.layers.Flatten()(inputs)
    )
    model = keras.Model(inputs, output)
    model.compile(loss=loss)
    return model


@pytest.mark.parametrize("loss", ONE_HOT.values(), ids=ONE_HOT)
def test_a_loss_gets_one_hot_labels_if_it_tells_right_from_wrong_by_them(loss: Any) -> None:
    model = compiled(loss)
    assert one_hot_classes(model, DATA) == 10
    assert labels_for(model, np.array([3], np.uint8), DATA).tolist() == [[0, 0, 0, 1, *[0] * 6]]


@pytest.mark.parametrize("loss", INTEGERS.values(), ids=INTEGERS)
def test_any_other_loss_gets_integers(loss: Any) -> None:
    model = compiled(loss)
    assert one_hot_classes(model, DATA) is None
    assert labels_for(model, np.array([3], np.uint8), DATA).tolist() == [3]


def test_a_model_that_is_not_compiled_gets_integers() -> None:
    assert one_hot_classes(keras.Sequential([keras.layers.Dense(10)]), DATA) is None


def test_each_pass_is_another_epoch_of_full_batches(small_data: Path) -> None:
    split = load_split(open_dataset(str(small_data)), SplitSizes(val=100))
    batches = training_batches(split, 32, "flip", np.random.default_rng(0), classes=None)
    assert batches.element_spec[0].shape == (32, 28, 28, 1)
    first, second = (np.concatenate([labels for _, labels in batches]) for _ in range(2))
    assert len(first) == len(second) == len(split.train_labels) // 32 * 32
    assert np.any(first != second)


@pytest.mark.parametrize("classes", [2, 3, 4, 256])
def test_the_form_of_labels_is_found_for_any_number_of_classes(classes: int) -> None:
    data = DataShape((16, 20, 3), classes)
    for loss, expected in (
        ("categorical_crossentropy", classes),
        ("sparse_categorical_crossentropy", None),
    ):
        model = keras.Sequential(
            [
                keras.Input(data.image_shape),
                keras.layers.Flatten(),
                keras.layers.Dense(classes, activation="softmax"),
            ]
        )
        model.compile(loss=loss)
        assert one_hot_classes(model, data) == expected


def colour_split(count: int) -> Split:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 20, 24, 3), dtype=np.uint8)
    labels = rng.integers(0, 7, count).astype(np.uint8)
    return Split(
        train_images=images, train_labels=labels, val_images=images, val_labels=labels, classes=7
    )


def test_a_large_epoch_is_loaded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    split = colour_split(100)
    whole, again = (
        [
            (images.numpy(), labels.numpy())
            for _ in range(2)
            for images, labels in training_batches(
                split, 8, "none", np.random.default_rng(0), classes=None
            )
        ]
        for part_bytes in (2**28, 3 * 8 * 20 * 24 * 3)
        if monkeypatch.setattr(module, "_PART_BYTES", part_bytes) is None
    )
    assert len(whole) == len(again) == 2 * 12
    for (images, labels), (same_images, same_labels) in zip(whole, again, strict=True):
        assert images.shape == (8, 20, 24, 3)
        assert np.array_equal(images, same_images)
        assert np.array_equal(labels, same_labels)


def test_batches_of_validation_are_smaller_for_larger_images() -> None:
    split = colour_split(600)
    sizes = [len(labels) for _, labels in validation_batches(split, None)]
    assert sizes == [500, 100]
    larger = Split(
        train_images=np.zeros((30, 224, 224, 3), np.uint8),
        train_labels=np.zeros(30, np.uint8),
        val_images=np.zeros((30, 224, 224, 3), np.uint8),
        val_labels=np.zeros(30, np.uint8),
        classes=2,
    )
    assert [len(labels) for _, labels in validation_batches(larger, None)] == [10, 10, 10]

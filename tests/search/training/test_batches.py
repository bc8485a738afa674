"""Labels: in the form that a loss takes, however it is written."""

import functools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from search.data.split import SplitSizes, load_split
from search.training.batches import labels_for, one_hot_classes, training_batches

losses = keras.losses


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
    assert one_hot_classes(model) == 10
    assert labels_for(model, np.array([3], np.uint8)).tolist() == [[0, 0, 0, 1, *[0] * 6]]


@pytest.mark.parametrize("loss", INTEGERS.values(), ids=INTEGERS)
def test_any_other_loss_gets_integers(loss: Any) -> None:
    model = compiled(loss)
    assert one_hot_classes(model) is None
    assert labels_for(model, np.array([3], np.uint8)).tolist() == [3]


def test_a_model_that_is_not_compiled_gets_integers() -> None:
    assert one_hot_classes(keras.Sequential([keras.layers.Dense(10)])) is None


def test_each_pass_is_another_epoch_of_full_batches(small_data: Path) -> None:
    split = load_split(small_data, SplitSizes(val=100))
    batches = training_batches(split, 32, "flip", np.random.default_rng(0), classes=None)
    assert batches.element_spec[0].shape == (32, 28, 28, 1)
    first, second = (np.concatenate([labels for _, labels in batches]) for _ in range(2))
    assert len(first) == len(second) == len(split.train_labels) // 32 * 32
    assert np.any(first != second)

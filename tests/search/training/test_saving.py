"""Saved models: those that a report cannot use are refused with a reason."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from search.errors import SearchError
from search.training.saving import count_weights, load_saved, save_model
from spaces import DataShape

DATA = DataShape((28, 28, 1), 10)


def own_activation(inputs: Any) -> Any:
    return keras.ops.relu(inputs)


class Net(keras.Model):
    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.network = dense()

    def call(self, inputs: Any) -> Any:
        return self.network(inputs)


@keras.saving.register_keras_serializable()
class Registered(Net):
    pass


@keras.saving.register_keras_serializable()
class WithoutKwargs(Registered):
    def __init__(self) -> None:
        super().__init__()


@keras.saving.register_keras_serializable()
class InADict(Net):
    def call(self, inputs: Any) -> Any:
        return {"label": self.network(inputs)}


def dense(units: int = 10, shape: Any = (28, 28, 1), **more: Any) -> keras.Model:
    layers = [keras.layers.Flatten(), keras.layers.Dense(units, **more)]
    return keras.Sequential([keras.Input(shape), *layers])


@pytest.mark.parametrize("make", [dense, lambda: dense(shape=(28, 28)), Registered])
def test_a_saved_model_answers_as_the_one_that_was_saved(make: Any, tmp_path: Path) -> None:
    model = make()
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    expected = model.predict(images, verbose=0)
    (tmp_path / "model.keras").write_bytes(save_model(model, DATA))
    loaded = load_saved(tmp_path / "model.keras", DATA)
    np.testing.assert_allclose(loaded.predict(images, verbose=0), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: keras.Sequential([dense(), keras.layers.Lambda(lambda x: 2 * x)]),
            r"cannot load it, ValueError: .* a `Lambda` layer .*\. Use no Lambda layer",
        ),
        (
            lambda: dense(activation=own_activation),
            r"Could not locate function 'own_activation'\. .*@keras\.saving\.register_keras_ser",
        ),
        (Net, r"Could not locate class 'Net'\. .*@keras\.saving\.register_keras_serializable\(\)"),
        (WithoutKwargs, r"argument 'trainable'\. .* let __init__ pass \*\*kwargs on to super"),
        (lambda: dense(12), r"output has the shape \(None, 12\); it must be .* \(None, 10\)\.$"),
        (
            lambda: dense(shape=(32, 32, 3)),
            r"takes no images of shape \(None, 28, 28, 1\): its input is \(None, 32, 32, 3\)\.$",
        ),
        (InADict, "its output has the type dict; it must be one of shape"),
    ],
)
def test_a_model_that_a_report_cannot_use_is_refused_with_a_reason(make: Any, message: str) -> None:
    model = make()
    if not model.built:
        model(keras.Input((28, 28, 1)))
    with pytest.raises(SearchError, match=message) as caught:
        save_model(model, DATA)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_model_of_unknown_data_is_asked_for_the_images_that_it_takes(tmp_path: Path) -> None:
    model = dense(3, shape=(20, 24, 3))
    (tmp_path / "model.keras").write_bytes(save_model(model, DataShape((20, 24, 3), 3)))
    assert load_saved(tmp_path / "model.keras").input_shape == (None, 20, 24, 3)
    assert count_weights(tmp_path / "model.keras") == 3 * (20 * 24 * 3 + 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dense(1), r"output has the shape \(None, 1\); it must be .* \(None, CLASSES\)\.$"),
        (
            lambda: dense(shape=(9,)),
            r"its input is \(None, 9\); it must be \(None, height, width, channels\)\.$",
        ),
        (
            lambda: keras.Sequential(
                [
                    keras.Input((None, None, 3)),
                    keras.layers.GlobalMaxPooling2D(),
                    keras.layers.Dense(4),
                ]
            ),
            r"its input is \(None, None, None, 3\); it must be \(None, height, width, channels\)",
        ),
        (Registered, r"its input is None; it must be \(None, height, width, channels\)\.$"),
    ],
)
def test_a_model_of_unknown_data_that_classifies_no_images_is_refused(
    make: Any, message: str, tmp_path: Path
) -> None:
    model = make()
    if not model.built:
        model(keras.Input((28, 28, 1)))
    model.save(tmp_path / "model.keras")
    with pytest.raises(SearchError, match=message):
        load_saved(tmp_path / "model.keras")

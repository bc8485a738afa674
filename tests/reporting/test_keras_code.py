"""Models written as Python source are rebuilt by it."""

from typing import Any

import keras
import numpy as np
import pytest

from reporting.keras_code import keras_code
from spaces.baselines import BASELINES
from spaces.cnn import CnnConfig, ConvBlock
from spaces.cnn_model import build_model


def rebuilt(model: keras.Model) -> keras.Model:
    scope: dict[str, Any] = {}
    exec(keras_code(model), scope)
    return scope["model"]


def assert_same(first: keras.Model, second: keras.Model) -> None:
    assert second.name == first.name
    assert [layer.get_config() for layer in second.layers] == [
        layer.get_config() for layer in first.layers
    ]
    assert second.count_params() == first.count_params()
    second.set_weights(first.get_weights())
    images = np.random.default_rng(0).random((2, *first.input_shape[1:]), np.float32)
    np.testing.assert_array_equal(
        np.asarray(second(images, training=False)), np.asarray(first(images, training=False))
    )


CONFIGS = {baseline.name: baseline.config for baseline in BASELINES} | {
    "default": CnnConfig.from_params({}),
    "residual": CnnConfig(
        blocks=(ConvBlock(filters=6, convs=2, pool="average"), ConvBlock(filters=16, convs=2)),
        padding="valid",
        conv_batch_norm="after",
        residual=True,
        conv_dropout=0.2,
        activation="silu",
        head="global_average",
        dense=(16, 32),
        head_dropout=0.3,
        head_dropout_placement="each",
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_code_rebuilds_a_network_of_the_space(name: str) -> None:
    model = build_model(CONFIGS[name], (28, 28, 1), 10)
    assert_same(model, rebuilt(model))
    assert max(map(len, keras_code(model).splitlines())) <= 88


def test_code_of_a_sequential_model() -> None:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(
                4,
                3,
                strides=2,
                activation="relu",
                kernel_initializer=keras.initializers.HeNormal(seed=3),
                kernel_regularizer=keras.regularizers.L2(0.01),
            ),
            layers.MaxPooling2D(3, strides=1),
            layers.Flatten(),
            layers.Dense(3, use_bias=False),
        ],
        name="small",
    )
    code = keras_code(model)
    assert "kernel_initializer=keras.initializers.HeNormal(seed=3)" in code
    assert_same(model, rebuilt(model))


def test_code_of_several_inputs_and_outputs() -> None:
    images, more = keras.Input((4,), name="1st"), keras.Input((4,), dtype="uint8", name="x")
    cast = keras.layers.Rescaling(1 / 255)(more)
    joined = keras.layers.Concatenate(axis=-1)([images, cast])
    model = keras.Model([images, more], [keras.layers.Dense(2, name="class")(joined), cast])
    copy = rebuilt(model)
    assert [layer.get_config() for layer in copy.layers] == [
        layer.get_config() for layer in model.layers
    ]
    assert [output.shape for output in copy.outputs] == [output.shape for output in model.outputs]


class Twice(keras.layers.Layer):
    def call(self, inputs: Any) -> Any:
        return 2 * inputs


def half(inputs: Any) -> Any:
    return inputs / 2


def test_code_says_what_is_not_stock_keras() -> None:
    images = keras.Input((4,))
    model = keras.Model(
        images, keras.layers.Dense(2, activation=half, name="halved")(Twice(name="twice")(images))
    )
    code = keras_code(model)
    assert f"# Make the layer twice yourself: {__name__}.Twice is not a stock Keras layer." in code
    assert "# Make the layer halved yourself: it uses half, which is not stock Keras." in code
    scope: dict[str, Any] = {}
    with pytest.raises(NameError, match="twice"):
        exec(code, scope)
    exec(code, {"twice": Twice(name="twice"), "halved": keras.layers.Dense(2)})


def test_code_of_models_that_cannot_be_written() -> None:
    images = keras.Input((4,))
    shared = keras.layers.Dense(4)
    model = keras.Model(images, shared(shared(images)), name="again")
    assert keras_code(model).startswith("# again uses a layer more than once")

    class Own(keras.Model):
        pass

    assert keras_code(Own(name="own")).startswith("# own is neither functional nor Sequential")


def test_a_name_of_several_lines_adds_no_code() -> None:
    images = keras.Input((4,))
    shared = keras.layers.Dense(4)
    model = keras.Model(images, shared(shared(images)), name="a\nimport os\r#")
    [line] = keras_code(model).splitlines()
    assert line.startswith("# a import os # uses a layer more than once")


@pytest.mark.parametrize(("image_shape", "classes"), [((20, 30, 3), 3), ((96, 96, 1), 200)])
def test_code_has_the_shape_and_the_classes_of_the_data(
    image_shape: tuple[int, int, int], classes: int
) -> None:
    model = build_model(CONFIGS["residual"], image_shape, classes)
    assert_same(model, rebuilt(model))


def test_code_of_a_network_that_normalizes_its_images() -> None:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.5, 0.25, 0.125]),
            layers.Rescaling(2.0, offset=-1),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    assert_same(model, rebuilt(model))

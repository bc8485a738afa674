import math
from dataclasses import asdict

import keras
import numpy
import pytest

from spaces.baselines import BASELINES, PUBLISHED_FOR
from spaces.cnn import CnnConfig, CnnSpace, ConvBlock
from spaces.cnn_model import build_model
from tests.spaces.random_params import random_params

SHAPE = (PUBLISHED_FOR.image_shape, PUBLISHED_FOR.classes)
SPACE = CnnSpace(**asdict(PUBLISHED_FOR))
IMAGES = numpy.random.default_rng(0).random((3, 28, 28, 1), dtype="float32")


def names(config: CnnConfig) -> list[str]:
    return [layer.name for layer in build_model(config, *SHAPE).layers][1:]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("bn-cnn", 954_752),
        ("vgg-cnn", 467_818),
        ("vgg-cnn-literal", 74_602),
        ("plain-cnn", 93_322),
        ("lenet-bn", 107_598),
        ("mlp", 101_770),
    ],
)
def test_a_baseline_has_the_published_number_of_parameters(name, parameters):
    assert build_model(SPACE.baselines[name], *SHAPE).count_params() == parameters


def test_every_baseline_has_a_unique_name():
    assert len({baseline.name for baseline in BASELINES}) == len(BASELINES) == 6


def test_the_trainable_parameters_of_bn_cnn_are_the_published_ones():
    model = build_model(SPACE.baselines["bn-cnn"], *SHAPE)
    assert sum(math.prod(weight.shape) for weight in model.trainable_weights) == 953_028


def test_the_default_has_the_measured_size():
    assert build_model(SPACE.default, *SHAPE).count_params() == 310_266


def test_layers_have_the_published_order():
    assert names(SPACE.baselines["bn-cnn"]) == [
        *("conv_1_1", "activation_conv_1_1", "batch_norm_conv_1_1", "pool_1", "dropout_1"),
        *("conv_2_1", "activation_conv_2_1", "batch_norm_conv_2_1", "pool_2", "dropout_2"),
        *("flatten", "dense_1", "activation_dense_1", "batch_norm_dense_1"),
        *("dense_2", "activation_dense_2", "batch_norm_dense_2", "dropout_logits", "logits"),
    ]


def test_batch_norm_before_and_dropout_after_each_dense_layer():
    config = CnnConfig(
        blocks=(),
        dense=(16, 16),
        dense_batch_norm="before",
        head_dropout=0.2,
        head_dropout_placement="each",
    )
    assert names(config) == [
        *("flatten", "dense_1", "batch_norm_dense_1", "activation_dense_1", "dropout_dense_1"),
        *("dense_2", "batch_norm_dense_2", "activation_dense_2", "dropout_logits", "logits"),
    ]


def test_a_skip_adds_the_first_convolution_to_the_last():
    config = CnnConfig(
        blocks=(ConvBlock(filters=6), ConvBlock(filters=16, convs=2, pool="average")),
        conv_batch_norm="before",
        padding="valid",
        residual=True,
    )
    model = build_model(config, *SHAPE)
    assert [name for name in names(config) if name.startswith("skip")] == ["skip_2"]
    first, last = (model.get_layer(f"activation_conv_2_{number}").output for number in (1, 2))
    assert model.get_layer("skip_2").input == [first, last]
    assert model.get_layer("pool_2").input is model.get_layer("skip_2").output
    assert isinstance(model.get_layer("pool_2"), keras.layers.AveragePooling2D)


def test_no_skip_dropout_or_batch_norm_unless_asked_for():
    config = CnnConfig(blocks=(ConvBlock(filters=6, convs=2),))
    kinds = {type(layer).__name__ for layer in build_model(config, *SHAPE).layers}
    assert not kinds & {"Add", "Dropout", "BatchNormalization"}


@pytest.mark.parametrize(
    ("head", "kind"),
    [("global_average", "GlobalAveragePooling2D"), ("global_max", "GlobalMaxPooling2D")],
)
def test_the_head_is_the_one_asked_for(head, kind):
    model = build_model(CnnConfig(blocks=(ConvBlock(filters=6),), head=head), *SHAPE)
    assert type(model.get_layer(head)).__name__ == kind


def test_random_configurations_build():
    for values in random_params(lambda hp: CnnConfig.sample(hp, PUBLISHED_FOR), 12, seed=3):
        assert build_model(CnnConfig.from_params(values), *SHAPE).output_shape == (None, 10)


def test_logits_stay_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_model(SPACE.default, *SHAPE)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("conv_1_1").compute_dtype == "bfloat16"
    logits = keras.ops.convert_to_numpy(model(IMAGES))
    assert logits.shape == (3, 10)
    assert logits.dtype == numpy.float32


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # Keras' own, on NumPy 2
def test_a_saved_model_loads_in_safe_mode_and_answers_the_same(tmp_path):
    model = build_model(SPACE.default, *SHAPE)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    before, after = (keras.ops.convert_to_numpy(each(IMAGES)) for each in (model, loaded))
    numpy.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)

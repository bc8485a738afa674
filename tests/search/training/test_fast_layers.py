"""Fast layers: batch normalization equals stock Keras, dropout keeps its rate and the mean."""

from contextlib import nullcontext

import keras
import numpy as np
import pytest
import tensorflow as tf

from search.training.fast_layers import fast_layers

ONES = np.ones((200, 501), "float32")
# Channel counts: 16 takes the fused operation, 6 lies below a CPU's vector width.
CHANNELS = (16, 6)
LAYERS = (
    {},
    {"scale": False},
    {"center": False},
    {"scale": False, "center": False},
    {"momentum": 0.5, "epsilon": 0.1},
)


def run(options, shape, *, fused, training=True, dtype="float32", trainable=True, mask=None):
    """Return outputs, gradients (input first) and moving statistics of one step."""
    rng = np.random.default_rng(0)
    layer = keras.layers.BatchNormalization(dtype=dtype, **options)
    layer.build(shape)
    layer.set_weights(
        [rng.uniform(0.5, 1.5, weight.shape).astype("float32") for weight in layer.weights]
    )
    layer.trainable = trainable
    inputs = tf.constant(rng.normal(2, 3, shape), layer.compute_dtype)
    weights = tf.constant(rng.normal(0, 1, shape), layer.compute_dtype)

    @tf.function
    def step(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=training, mask=mask)
        sources = [inputs, *(weight.value for weight in layer.trainable_weights)]
        return outputs, tape.gradient(outputs, sources, weights)

    with fast_layers() if fused else nullcontext():
        outputs, gradients = step(inputs)
    assert outputs.dtype == layer.compute_dtype
    moving = [layer.moving_mean.numpy(), layer.moving_variance.numpy()]
    return [np.asarray(tf.cast(part, "float32")) for part in (outputs, *gradients, *moving)]


def assert_same(options, shape, *, tolerance=2e-4, **how):
    stock = run(options, shape, fused=False, **how)
    fused = run(options, shape, fused=True, **how)
    assert len(stock) == len(fused)
    for expected, found in zip(stock, fused, strict=True):
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", LAYERS, ids=str)
def test_equals_stock_in_float32(options, training, channels):
    assert_same(options, (5, 4, 4, channels), training=training)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("training", [True, False])
def test_equals_stock_in_bfloat16_to_its_rounding(training, channels):
    # bfloat16 keeps 8 bits: one rounding is 0.4 %.
    assert_same({}, (8, 4, 4, channels), training=training, dtype="mixed_bfloat16", tolerance=0.01)


@pytest.mark.parametrize("channels", CHANNELS)
def test_a_frozen_layer_uses_and_keeps_its_moving_statistics(channels):
    assert_same({}, (5, 4, 4, channels), trainable=False)


@pytest.mark.parametrize("channels", CHANNELS)
def test_the_moving_variance_is_that_of_the_population(channels):
    # With 2 x 1 x 2 values the sample variance would be a third larger.
    assert_same({"momentum": 0.0}, (2, 4, 1, channels))


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (9, 16)),
        ({}, (3, 5, 16)),
        ({"axis": 1}, (3, 4, 4, 16)),
        ({"axis": 3}, (3, 4, 4, 16)),
        ({"renorm": True}, (3, 4, 4, 16)),
        ({}, (3, 5, 5, 6)),
    ],
    ids=str,
)
def test_other_inputs_use_the_stock_computation(options, shape):
    if options.get("renorm"):
        keras.utils.set_random_seed(0)
    assert_same(options, shape)


def test_a_mask_is_obeyed():
    mask = tf.constant(np.random.default_rng(1).random((5, 4, 4)) < 0.5)
    assert_same({}, (5, 4, 4, 16), mask=mask)


def test_a_float64_layer_uses_the_stock_computation():
    assert_same({}, (5, 4, 4, 16), dtype="float64")


@pytest.mark.parametrize("layer", [keras.layers.BatchNormalization, keras.layers.Dropout])
def test_the_class_is_stock_again_after_an_error(layer):
    stock = layer.call
    with pytest.raises(RuntimeError), fast_layers():
        assert layer.call is not stock
        raise RuntimeError
    assert layer.call is stock


def test_unknown_image_sizes_work():
    inputs = keras.Input((None, None, 6))
    with fast_layers():
        outputs = keras.layers.BatchNormalization()(inputs)
        model = keras.Model(inputs, outputs)
        result = model(np.ones((2, 3, 5, 6), "float32"), training=True)
    np.testing.assert_allclose(result, 0, atol=1e-3)


def drop(layer, inputs=ONES, training=True):
    with fast_layers():
        return np.asarray(layer(inputs, training=training))


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.9])
def test_dropout_meets_its_rate_and_keeps_the_mean(rate):
    outputs = drop(keras.layers.Dropout(rate, seed=1))
    assert np.mean(outputs == 0) == pytest.approx(rate, abs=0.006)
    np.testing.assert_allclose(outputs[outputs > 0], 1 / (1 - rate), rtol=1e-4)


def test_dropout_of_neighbours_is_independent():
    kept = drop(keras.layers.Dropout(0.5, seed=1)) > 0
    for shifted in (np.roll(kept, 1, axis=0), np.roll(kept, 1, axis=1)):
        assert np.mean(kept & shifted) == pytest.approx(0.25, abs=0.006)


def test_each_call_draws_a_new_mask_that_follows_from_the_seed():
    layers = [keras.layers.Dropout(0.5, seed=seed) for seed in (1, 1, 2)]
    first, again, other = (drop(layer) for layer in layers)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, drop(layers[0]))


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_dropout_changes_nothing_at_inference(rate):
    assert np.array_equal(drop(keras.layers.Dropout(rate), training=False), ONES)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_dropout_of_nothing_or_everything_is_exact(rate):
    assert np.array_equal(drop(keras.layers.Dropout(rate)), ONES * (1 - rate))


def test_dropout_obeys_a_noise_shape():
    outputs = drop(keras.layers.Dropout(0.5, noise_shape=(None, 1), seed=1))
    assert (outputs == outputs[:, :1]).all()
    assert 0 < np.mean(outputs == 0) < 1


def test_dropout_in_bfloat16_stays_in_bfloat16():
    layer = keras.layers.Dropout(0.5, dtype="mixed_bfloat16")
    with fast_layers():
        assert layer(ONES, training=True).dtype == "bfloat16"

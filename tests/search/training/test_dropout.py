"""The cheap mask drops as many units as stock Keras, at random, and keeps the mean."""

import keras
import numpy as np
import pytest

from search.training.dropout import cheap_dropout

ONES = np.ones((200, 501), "float32")


def drop(layer, inputs=ONES, training=True):
    with cheap_dropout():
        return np.asarray(layer(inputs, training=training))


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.9])
def test_the_rate_is_met_and_the_mean_kept(rate):
    outputs = drop(keras.layers.Dropout(rate, seed=1))
    assert np.mean(outputs == 0) == pytest.approx(rate, abs=0.006)
    np.testing.assert_allclose(outputs[outputs > 0], 1 / (1 - rate), rtol=1e-4)


def test_neighbours_are_independent():
    kept = drop(keras.layers.Dropout(0.5, seed=1)) > 0
    for shifted in (np.roll(kept, 1, axis=0), np.roll(kept, 1, axis=1)):
        assert np.mean(kept & shifted) == pytest.approx(0.25, abs=0.006)


def test_each_call_draws_anew_and_the_seed_decides():
    layers = [keras.layers.Dropout(0.5, seed=seed) for seed in (1, 1, 2)]
    first, again, other = (drop(layer) for layer in layers)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, drop(layers[0]))


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_inference_changes_nothing(rate):
    assert np.array_equal(drop(keras.layers.Dropout(rate), training=False), ONES)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_all_or_nothing_is_exact(rate):
    assert np.array_equal(drop(keras.layers.Dropout(rate)), ONES * (1 - rate))


def test_a_noise_shape_is_obeyed():
    outputs = drop(keras.layers.Dropout(0.5, noise_shape=(None, 1), seed=1))
    assert (outputs == outputs[:, :1]).all()
    assert 0 < np.mean(outputs == 0) < 1


def test_the_class_is_stock_afterwards():
    stock = keras.layers.Dropout.call
    with cheap_dropout():
        assert keras.layers.Dropout.call is not stock
    assert keras.layers.Dropout.call is stock


def test_bfloat16_stays_bfloat16():
    layer = keras.layers.Dropout(0.5, dtype="mixed_bfloat16")
    with cheap_dropout():
        assert layer(ONES, training=True).dtype == "bfloat16"

"""Optimizers: schedules, loss and weight decay; Muon trains inner kernels, AdamW the rest."""

import keras
import numpy as np
import pytest

from search.training.optimizers import OneCycle, compile_model
from spaces.training import TrainingConfig


def build():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.layers.Input((28, 28, 1)),
            keras.layers.Conv2D(8, 3, name="first"),
            keras.layers.Conv2D(16, 3, name="inner"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(12, name="hidden"),
            keras.layers.Dense(10, name="classes"),
        ]
    )


def update_of_one_step(optimizer, **settings):
    """Return what one step adds to each kernel, as a matrix with a column for each output."""
    model = build()
    config = TrainingConfig(optimizer=optimizer, learning_rate=1e-3, **settings)
    compile_model(model, config, total_steps=10, classes=10)
    rng = np.random.default_rng(0)
    images, labels = rng.random((32, 28, 28, 1), np.float32), np.eye(10)[rng.integers(0, 10, 32)]
    before = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    model.train_on_batch(images, labels)
    return {
        name: (model.get_layer(name).kernel.numpy() - kernel).reshape(-1, kernel.shape[-1])
        for name, (kernel, _) in before.items()
    }


def evenness(matrix):
    """Return mean over largest singular value: 1 for an orthogonal matrix."""
    singular = np.linalg.svd(matrix, compute_uv=False)
    return singular.mean() / singular[0]


def test_inner_kernels_get_far_more_even_updates_of_adamws_size():
    muon, adamw = update_of_one_step("muon"), update_of_one_step("adamw")
    for name in ("inner", "hidden"):
        assert evenness(muon[name]) > 2 * evenness(adamw[name])
        assert 0.05e-3 < np.sqrt(np.mean(muon[name] ** 2)) < 1e-3


def test_adamw_trains_the_first_and_the_last_kernel():
    muon, adamw = update_of_one_step("muon"), update_of_one_step("adamw")
    for name in ("first", "classes"):
        np.testing.assert_allclose(muon[name], adamw[name], rtol=1e-3, atol=1e-7)


def test_weight_decay_reaches_both_parts():
    plain, decayed = update_of_one_step("muon"), update_of_one_step("muon", weight_decay=50.0)
    for name in ("first", "inner", "hidden", "classes"):
        kernel = build().get_layer(name).kernel.numpy().reshape(plain[name].shape)
        np.testing.assert_allclose(decayed[name] - plain[name], -0.05 * kernel, rtol=0.1, atol=2e-4)


def test_the_learning_rate_follows_one_cycle():
    rates = [float(OneCycle(1.0, 100)(step)) for step in range(101)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == rates[19] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.5)
    assert rates[100] == 0.0

"""Weight averaging: validation sees the average, training does not, the model ends with it."""

import keras
import numpy as np
import pytest

from search.training.averaging import WeightAverage


class Drift(keras.callbacks.Callback):
    """Stands for training: sets the weight after each batch."""

    def __init__(self, values):
        super().__init__()
        self.values = iter(values)

    def on_train_batch_end(self, batch, logs=None):
        self.model.set_weights([np.full((1, 1), next(self.values), np.float32)])


class Notice(keras.callbacks.Callback):
    """Writes down the weight that validation and training see."""

    def __init__(self):
        super().__init__()
        self.validated, self.trained = [], []

    def on_test_batch_begin(self, batch, logs=None):
        self.validated.append(self.model.get_weights()[0].item())

    def on_epoch_end(self, epoch, logs=None):
        self.trained.append(self.model.get_weights()[0].item())


@pytest.fixture
def model():
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model


def fit(model, values, epochs):
    average, notice = WeightAverage(), Notice()
    data = np.zeros((len(values) // epochs, 1), np.float32)
    model.fit(
        data, data,
        batch_size=1,
        epochs=epochs,
        validation_data=(data[:1], data[:1]),
        callbacks=[Drift(values), average, notice],
        verbose=0,
    )  # fmt: skip
    average.apply()
    return notice


def test_the_first_steps_count_alike_and_the_random_start_not_at_all(model):
    assert fit(model, [2.0, 4.0, 9.0], epochs=1).validated == pytest.approx([5.0])
    assert model.get_weights()[0].item() == pytest.approx(5.0)


def test_later_steps_fade(model):
    values = [1.0] * 40 + [0.0] * 4
    assert fit(model, values, epochs=1).validated == pytest.approx([0.7**4], rel=1e-3)


def test_training_goes_on_with_its_own_weights(model):
    notice = fit(model, [2.0, 4.0, 6.0, 8.0], epochs=2)
    assert notice.trained == [4.0, 8.0]
    assert notice.validated[0] == pytest.approx(3.0)

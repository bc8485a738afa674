"""Weights: validation sees the average, training does not; a checkpoint continues a training."""

import math

import keras
import numpy as np
import pytest

from search.data.formats import open_dataset
from search.data.split import SplitSizes, load_split
from search.training.loop import Part, train
from search.training.optimizers import compile_model
from search.training.weights import WeightAverage, averaged_steps, unpack_checkpoint
from spaces.training import TrainingConfig

CONFIG = TrainingConfig(
    optimizer="muon",
    learning_rate=0.003,
    schedule="one_cycle",
    batch_size=32,
    weight_averaging=True,
)


def build_network(units=8):
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.layers.Input((28, 28, 1)),
            keras.layers.Conv2D(units, 5, strides=2, activation="relu"),
            keras.layers.BatchNormalization(momentum=0.5),
            keras.layers.Flatten(),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(10, dtype="float32"),
        ]
    )


def go_on(epoch, entry):
    return False


class Drift(keras.callbacks.Callback):
    """Simulates training: sets the weight after each batch."""

    def __init__(self, values):
        super().__init__()
        self.values = iter(values)

    def on_train_batch_end(self, batch, logs=None):
        self.model.set_weights([np.full((1, 1), next(self.values), np.float32)])


class Notice(keras.callbacks.Callback):
    """Records the weights that validation and training see."""

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


def fit(model, values, epochs, total_steps=5000):
    average, notice = WeightAverage(total_steps), Notice()
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


def test_the_first_steps_count_equally_and_initial_weights_not_at_all(model):
    assert fit(model, [2.0, 4.0, 9.0], epochs=1).validated == pytest.approx([5.0])
    assert model.get_weights()[0].item() == pytest.approx(5.0)


@pytest.mark.parametrize(("total_steps", "reach"), [(5000, 100), (9999, 100), (1000, 20), (10, 1)])
def test_old_steps_fade_sooner_in_a_short_training(model, total_steps, reach):
    assert averaged_steps(total_steps) == reach
    values = [1.0] * 200 + [0.0] * reach
    validated = fit(model, values, epochs=1, total_steps=total_steps).validated
    assert validated == pytest.approx([math.exp(-1)], rel=0.02)


def test_steps_count_alike_however_many_keras_executes_at_once(model):
    model.steps_per_execution = 8
    values = [1.0] * 25 + [0.0] * 2  # of 200 and 16 steps
    average = WeightAverage(total_steps=1000)
    data = np.zeros((8 * len(values), 1), np.float32)
    model.fit(data, data, batch_size=1, callbacks=[Drift(values), average], verbose=0)
    average.apply()
    assert model.get_weights()[0].item() == pytest.approx(math.exp(-16 / 20), rel=1e-3)


def test_a_shorter_last_execution_counts_its_own_steps(model):
    model.steps_per_execution = 4
    average = WeightAverage(total_steps=1000)
    data = np.zeros((10, 1), np.float32)
    callbacks = [Drift([1.0, 1.0, 0.0]), average]  # of 4, 4 and 2 steps
    model.fit(data, data, batch_size=1, callbacks=callbacks, verbose=0)
    average.apply()
    assert int(average.state()[0]) == 10
    assert model.get_weights()[0].item() == pytest.approx(8 / 10)


def test_training_continues_with_the_weights_that_it_trains(model):
    notice = fit(model, [2.0, 4.0, 6.0, 8.0], epochs=2)
    assert notice.trained == [4.0, 8.0]
    assert notice.validated[0] == pytest.approx(3.0)


@pytest.fixture(scope="module")
def split(small_data):
    return load_split(open_dataset(str(small_data)), SplitSizes(val=100))


@pytest.fixture(scope="module")
def first(split):
    model = build_network()
    part = Part(epochs=2, keep_checkpoint=True)
    result = train(model, CONFIG, split, max_epochs=4, seed=0, on_epoch=go_on, part=part)
    return result


def test_a_training_continues_where_its_checkpoint_ended(split, first) -> None:
    assert first.epochs == 2
    seen = []

    def note(epoch, entry):
        seen.append((epoch, entry["learning_rate"]))
        return False

    part = Part(initial_epoch=2, checkpoint=first.checkpoint)
    second = train(build_network(), CONFIG, split, max_epochs=4, seed=1, on_epoch=note, part=part)
    assert [epoch for epoch, _ in seen] == [3, 4]
    # The schedule goes on too, down to its end.
    assert seen[0][1] < first.history[-1]["learning_rate"]
    assert seen[1][1] < 0.01 * CONFIG.learning_rate
    assert second.history[0]["loss"] < first.history[-1]["loss"]
    assert second.checkpoint is None


def test_a_checkpoint_holds_weights_optimizer_and_average(split, first) -> None:
    model, average = build_network(), WeightAverage(total_steps=10)
    compile_model(model, CONFIG, total_steps=10, classes=10)
    unpack_checkpoint(first.checkpoint, model, average)
    assert int(model.optimizer.iterations) == 2 * (len(split.train_labels) // 32)
    assert any(np.any(np.asarray(v)) for v in model.optimizer.variables[2:])
    count, *weights = average.state()
    assert count > 0
    assert [weight.shape for weight in weights] == [weight.shape for weight in model.get_weights()]


def test_a_checkpoint_from_another_model_is_refused(split, first) -> None:
    part = Part(initial_epoch=2, checkpoint=first.checkpoint)
    with pytest.raises(ValueError, match=r"from a model with other variables.*none at random"):
        train(
            build_network(units=9), CONFIG, split, max_epochs=4, seed=1, on_epoch=go_on, part=part
        )

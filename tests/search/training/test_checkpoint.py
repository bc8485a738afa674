"""A training in parts: what one leaves, the next goes on with."""

import keras
import numpy as np
import pytest

from search.data.split import SplitSizes, load_split
from search.training.averaging import WeightAverage
from search.training.checkpoint import unpack_checkpoint
from search.training.loop import Part, train
from spaces.training import TrainingConfig

CONFIG = TrainingConfig(
    optimizer="muon",
    learning_rate=0.003,
    schedule="one_cycle",
    batch_size=32,
    weight_averaging=True,
)


def build(units=8):
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


@pytest.fixture(scope="module")
def split(small_data):
    return load_split(small_data, SplitSizes(val=100))


@pytest.fixture(scope="module")
def first(split):
    model = build()
    part = Part(epochs=2, keep_checkpoint=True)
    result = train(model, CONFIG, split, max_epochs=4, seed=0, on_epoch=go_on, part=part)
    return result


def test_the_next_part_starts_where_the_last_one_ended(split, first) -> None:
    assert first.epochs == 2
    seen = []

    def note(epoch, entry):
        seen.append((epoch, entry["learning_rate"]))
        return False

    part = Part(initial_epoch=2, checkpoint=first.checkpoint)
    second = train(build(), CONFIG, split, max_epochs=4, seed=1, on_epoch=note, part=part)
    assert [epoch for epoch, _ in seen] == [3, 4]
    # The schedule goes on too, down to its end.
    assert seen[0][1] < first.history[-1]["learning_rate"]
    assert seen[1][1] < 0.01 * CONFIG.learning_rate
    assert second.history[0]["loss"] < first.history[-1]["loss"]
    assert second.checkpoint is None


def test_everything_that_training_changed_is_in_it(split, first) -> None:
    model, average = build(), WeightAverage()
    from search.training.optimizers import compile_model

    compile_model(model, CONFIG, total_steps=10)
    unpack_checkpoint(first.checkpoint, model, average)
    assert int(model.optimizer.iterations) == 2 * (len(split.train_labels) // 32)
    assert any(np.any(np.asarray(v)) for v in model.optimizer.variables[2:])
    count, *weights = average.state()
    assert count > 0
    assert [weight.shape for weight in weights] == [weight.shape for weight in model.get_weights()]


def test_a_checkpoint_of_another_model_is_refused(split, first) -> None:
    part = Part(initial_epoch=2, checkpoint=first.checkpoint)
    with pytest.raises(ValueError, match=r"checkpoint is of another model: does build\(hp\) draw"):
        train(build(units=9), CONFIG, split, max_epochs=4, seed=1, on_epoch=go_on, part=part)

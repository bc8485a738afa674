"""Training: learns, repeats itself bit for bit, stops when told, and says how it ended."""

import dataclasses
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
import sklearn.metrics

from search.data.formats import open_dataset
from search.data.split import SplitSizes, load_split
from search.errors import DataError, SearchError
from search.training.augmentation import augment
from search.training.building import build_for_training
from search.training.hardware import set_precision
from search.training.hyperparameters import TrialHyperParameters
from search.training.loop import Ending, EpochWatcher, train
from spaces.training import TrainingConfig

CONFIG = TrainingConfig(learning_rate=0.01, batch_size=32)


@pytest.fixture(autouse=True)
def float32_afterwards():
    yield
    set_precision("float32")


@pytest.fixture(scope="module")
def split(small_data):
    return load_split(open_dataset(str(small_data)), SplitSizes(val=100))


def build(seed=1, dropout=0.1):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.layers.Input((28, 28, 1)),
            keras.layers.Conv2D(4, 5, strides=2, activation="relu"),
            keras.layers.BatchNormalization(momentum=0.5),
            keras.layers.Flatten(),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(10, dtype="float32"),
        ]
    )


def go_on(epoch, entry):
    return False


def values(result):
    """The history without what the clock says."""
    return [
        {name: value for name, value in entry.items() if name != "seconds"}
        for entry in result.history
    ]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_small_model_learns(split, precision):
    set_precision(precision)
    result = train(build(), CONFIG, split, max_epochs=4, seed=1, on_epoch=go_on)
    assert result.ended is Ending.COMPLETE
    assert result.epochs == 4
    assert result.history[-1]["val_accuracy"] > 0.9
    assert set(result.history[0]) == {
        *("loss", "accuracy", "balanced_accuracy"),
        *("val_loss", "val_accuracy", "val_balanced_accuracy", "seconds", "learning_rate"),
    }
    assert result.train_seconds > 0
    assert result.val_seconds > 0
    assert result.images_per_second > 0


# Each of both: an optimizer takes any schedule as its learning rate.
@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [
        ("adam", "constant"),
        ("adamw", "cosine"),
        ("muon", "one_cycle"),
        ("sgd", "one_cycle"),
        ("sgd", "constant"),
    ],
)
def test_every_optimizer_and_schedule_learns(split, optimizer, schedule):
    config = TrainingConfig(
        optimizer=optimizer,
        schedule=schedule,
        learning_rate=0.01,
        weight_decay=0.0 if optimizer == "adam" else 0.001,
        label_smoothing=0.1,
        batch_size=32,
    )
    result = train(build(), config, split, max_epochs=3, seed=1, on_epoch=go_on)
    assert result.history[-1]["val_accuracy"] > 0.5
    assert (result.history[-1]["learning_rate"] < 1e-4) == (schedule != "constant")


def test_the_step_is_traced_once(split):
    traced = []

    class Traced(keras.layers.Layer):
        def call(self, inputs, training=False):
            traced.append(training)
            return inputs

    model = keras.Sequential([*build().layers, Traced()])
    traced.clear()
    config = dataclasses.replace(CONFIG, optimizer="muon")
    train(model, config, split, max_epochs=2, seed=1, on_epoch=go_on)
    assert traced.count(True) == 1


def test_a_model_may_compute_its_metrics_from_the_images(split):
    class Bright(keras.Model):
        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            return super().compute_metrics(x, y, y_pred) | {"mean": keras.ops.mean(x)}

    inputs = keras.Input((28, 28, 1))
    model = Bright(inputs, build()(inputs))
    result = train(model, CONFIG, split, max_epochs=1, seed=1, on_epoch=go_on)
    assert 0 < result.history[0]["mean"] < 1


def test_the_same_seed_gives_the_same_history_to_the_last_bit(small_data):
    # A process of its own: thread limits must be set before TensorFlow starts.
    script = f"""
        import keras
        from search.data.formats import open_dataset
        from search.data.split import SplitSizes, load_split
        from search.training.hardware import set_precision
        from search.training.loop import train
        from spaces.training import TrainingConfig
        from tests.search.training.test_loop import build, go_on, values
        split = load_split(open_dataset({str(small_data)!r}), SplitSizes(val=100))
        config = TrainingConfig(batch_size=32, augmentation="flip_shift_erase")
        runs = []
        for precision, seeds in (("float32", (5, 5, 6)), ("bfloat16", (5, 5))):
            for seed in seeds:
                set_precision(precision)
                result = train(
                    build(seed), config, split, max_epochs=2, seed=seed, on_epoch=go_on
                )
                runs.append(values(result))
                keras.backend.clear_session()
        assert runs[0] == runs[1] != runs[2], runs[:3]
        assert runs[3] == runs[4], runs[3:]
    """
    one_thread = {
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=Path(__file__).parents[3],
        env={**os.environ, **one_thread},
        check=True,
    )


def test_the_callback_stops_the_training_and_sees_every_epoch(split):
    seen = []

    def stop_after_two(epoch, entry):
        seen.append((epoch, entry["val_accuracy"]))
        return epoch == 2

    result = train(build(), CONFIG, split, max_epochs=9, seed=1, on_epoch=stop_after_two)
    assert result.ended is Ending.STOPPED
    assert seen == [(n, entry["val_accuracy"]) for n, entry in enumerate(result.history, 1)]
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("images", "correct", "kept"),
    [
        (10_000, 7_980, 0.798),
        (10_000, 9_999, 0.9999),
        (60_000, 59_999, 0.99998),
        (300, 239, 0.7967),
        (1, 1, 1.0),
    ],
)
def test_validation_accuracies_are_rounded_to_what_the_images_tell_apart(images, correct, kept):
    watcher = EpochWatcher(go_on, val_images=images, initial_epoch=0, last_epoch=None)
    watcher.on_epoch_end(0, {"val_accuracy": np.float32(correct) / np.float32(images)})
    assert watcher.history[0]["val_accuracy"] == kept


def test_different_numbers_of_correct_images_stay_different():
    for images in (7, 1_000, 9_999, 10_001):
        watcher = EpochWatcher(go_on, val_images=images, initial_epoch=0, last_epoch=None)
        for correct in range(images + 1):
            watcher.on_epoch_end(0, {"val_accuracy": np.float32(correct / images)})
        assert len({entry["val_accuracy"] for entry in watcher.history}) == images + 1


def test_an_error_in_the_callback_comes_out(split):
    def fail(epoch, entry):
        raise ConnectionError("the coordinator is gone")

    with pytest.raises(ConnectionError, match="the coordinator is gone"):
        train(build(), CONFIG, split, max_epochs=2, seed=1, on_epoch=fail)


def test_a_diverging_training_ends_early(split):
    config = TrainingConfig(optimizer="sgd", learning_rate=1e30, batch_size=32)
    asked = []
    result = train(
        build(), config, split, max_epochs=3, seed=1, on_epoch=lambda *_: bool(asked.append(1))
    )
    assert result.ended is Ending.NON_FINITE_LOSS
    assert result.history == []
    assert not asked


def test_a_diverged_validation_ends_early(split):
    class Overflow(keras.layers.Layer):
        def call(self, inputs, training=False):
            return inputs if training else inputs * float("nan")

    model = keras.Sequential(
        [
            keras.layers.Input((28, 28, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
            Overflow(),
        ]
    )
    result = train(model, CONFIG, split, max_epochs=3, seed=1, on_epoch=go_on)
    assert result.ended is Ending.NON_FINITE_LOSS


def test_a_compiled_model_keeps_its_own_compilation(split):
    model = build()
    model.compile(
        optimizer=keras.optimizers.RMSprop(0.003),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    optimizer = model.optimizer
    result = train(model, CONFIG, split, max_epochs=2, seed=1, on_epoch=go_on)
    assert model.optimizer is optimizer
    assert model.compiled
    assert result.history[-1]["learning_rate"] == pytest.approx(0.003)
    assert int(optimizer.iterations) == 2 * (500 // 32)


@pytest.mark.parametrize("loss", [None, "categorical_crossentropy"])
def test_a_subclassed_model_is_trained(split, loss):
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.network = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])

        def call(self, inputs):
            logits = self.network(inputs)
            return keras.ops.softmax(logits) if loss else logits

    class Space:
        def build(self, hp):
            model = Subclassed()
            if loss:
                model.compile(loss=loss, metrics=["accuracy"])
            return model

    hp = TrialHyperParameters(lambda *_: None)
    model, config = build_for_training(Space(), hp, split.shape)
    assert model.count_params() == 7850
    result = train(model, config, split, max_epochs=1, seed=1, on_epoch=go_on)
    assert result.ended is Ending.COMPLETE


def test_a_compiled_model_needs_an_accuracy_metric(split):
    model = build()
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(SearchError, match=r"logs loss, val_loss, but val_accuracy.*metrics="):
        train(model, CONFIG, split, max_epochs=1, seed=1, on_epoch=go_on)


def test_metrics_that_are_no_number_are_left_out(split):
    model = build()
    model.compile(
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy", keras.metrics.F1Score(average=None)],
    )
    result = train(model, CONFIG, split, max_epochs=1, seed=1, on_epoch=go_on)
    assert set(result.history[0]) == {
        *("loss", "accuracy", "val_loss", "val_accuracy", "seconds", "learning_rate")
    }


def own_loop(**logs):
    """A training loop of the user that logs what it is given."""

    def fit(model, x, y, callbacks, **more):
        for callback in callbacks:
            callback.set_model(model)
            callback.on_train_batch_end(0, {"loss": None})
            callback.on_epoch_end(0, logs)

    return fit


@pytest.mark.parametrize(
    "accuracy", [0.5, np.float32(0.5), np.array([0.5]), keras.ops.array(0.5, "bfloat16")]
)
def test_a_loop_of_the_user_may_log_anything_beside_its_accuracy(split, accuracy):
    fit = own_loop(
        val_accuracy=accuracy,
        steps=7,
        phase="warm-up",
        confusion=np.eye(10),
        per_class=[0.1, 0.2],
        ragged=[[1], [1, 2]],
        nothing=None,
    )
    result = train(build(), CONFIG, split, max_epochs=1, seed=1, on_epoch=go_on, fit=fit)
    (entry,) = values(result)
    assert entry == {"val_accuracy": 0.5, "steps": 7.0}


@pytest.mark.parametrize(
    ("logged", "message"),
    [
        (70, r"logs a val_accuracy of 70; it must be within 0 and 1\. Log a fraction, not a perc"),
        (-0.1, r"logs a val_accuracy of -0\.1; it must be within 0 and 1"),
        ("0.7", r"logs a val_accuracy of type str; it must be one number from 0 to 1"),
        ([0.6, 0.7], r"logs a val_accuracy of type list; it must be one number from 0 to 1"),
    ],
)
def test_a_validation_accuracy_that_is_no_fraction_is_refused(split, logged, message):
    fit = own_loop(val_accuracy=logged)
    with pytest.raises(SearchError, match=message):
        train(build(), CONFIG, split, max_epochs=1, seed=1, on_epoch=go_on, fit=fit)


def test_a_returned_percentage_is_refused_too(split):
    def fit(*data, **more):
        return {"val_accuracy": 70}

    with pytest.raises(SearchError, match="val_accuracy of 70; it must be within 0 and 1"):
        train(build(), CONFIG, split, max_epochs=1, seed=1, on_epoch=go_on, fit=fit)


def test_a_fit_of_the_user_runs_to_its_end(split):
    model, ended = build(), []
    loss = keras.losses.SparseCategoricalCrossentropy(True)
    model.compile("sgd", loss, metrics=["accuracy"])

    class LastEpoch(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            ended.append("training")

    def fit(model, *data, callbacks, **more):
        history = model.fit(*data, callbacks=[*callbacks, LastEpoch()], **more)
        ended.append("fit")
        return history

    result = train(model, CONFIG, split, max_epochs=2, seed=1, on_epoch=go_on, fit=fit)
    assert ended == ["training", "fit"]
    assert (result.epochs, result.ended) == (2, Ending.COMPLETE)


def test_a_fit_of_the_user_that_goes_on_after_its_epochs_is_ended(split):
    begun = []

    class Begun(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            begun.append(epoch)

    def fit(model, *data, callbacks, **more):
        for _ in range(2):
            model.fit(*data, callbacks=[*callbacks, Begun()], **more)

    model = build()
    loss = keras.losses.SparseCategoricalCrossentropy(True)
    model.compile("sgd", loss, metrics=["accuracy"])
    result = train(model, CONFIG, split, max_epochs=2, seed=1, on_epoch=go_on, fit=fit)
    assert (result.epochs, result.ended, begun) == (2, Ending.COMPLETE, [0, 1])


def test_a_loop_of_the_user_that_goes_on_after_its_epochs_is_ended(split):
    begun = []

    def fit(model, x, y, callbacks, epochs, **more):
        for epoch in range(epochs + 5):
            begun.append(epoch)
            callbacks[0].on_epoch_end(epoch, {"val_accuracy": 0.1 * epoch})

    result = train(build(), CONFIG, split, max_epochs=2, seed=1, on_epoch=go_on, fit=fit)
    assert [entry["val_accuracy"] for entry in result.history] == [0.0, 0.1]
    assert (result.ended, begun) == (Ending.COMPLETE, [0, 1, 2])  # it asks no earlier


def test_an_objective_needs_its_metric(split):
    model = build()
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(True), metrics=["accuracy"])
    with pytest.raises(
        SearchError,
        match=r"logs no val_balanced_accuracy, which --objective balanced_accuracy needs\. Leave",
    ):
        train(
            model,
            CONFIG,
            split,
            max_epochs=1,
            seed=0,
            on_epoch=go_on,
            objective="balanced_accuracy",
        )


def test_at_least_one_epoch_is_needed(split):
    with pytest.raises(ValueError, match="max_epochs=0; use 1 or more"):
        train(build(), CONFIG, split, max_epochs=0, seed=1, on_epoch=go_on)


def test_all_images_are_shown_equally_often_and_each_mirrored_every_other_time(split, monkeypatch):
    count = len(split.train_labels)
    shown, ways = np.zeros(count, int), [[] for _ in range(count)]
    numbers = {image.tobytes(): number for number, image in enumerate(split.train_images)}

    def spy(images, augmentation, rng, mirrored):
        for image, way in zip(images, mirrored, strict=True):
            shown[numbers[image.tobytes()]] += 1
            ways[numbers[image.tobytes()]].append(way)
        return augment(images, augmentation, rng, mirrored)

    monkeypatch.setattr("search.training.batches.augment", spy)
    config = dataclasses.replace(CONFIG, augmentation="flip")
    train(build(), config, split, max_epochs=5, seed=1, on_epoch=go_on, epoch_size=330)
    assert shown.sum() == 5 * 320
    assert shown.max() - shown.min() <= 1
    assert all(np.all(np.diff(np.array(way, int)) != 0) for way in ways)


def test_a_fit_of_the_user_gets_as_many_images_as_an_epoch_shows(split):
    given = []

    def fit(model, x, y, callbacks, **more):
        given.append((len(x), len(y)))
        return {"val_accuracy": 0.5}

    train(build(), CONFIG, split, max_epochs=1, seed=1, on_epoch=go_on, epoch_size=100, fit=fit)
    assert given == [(100, 100)]


def test_a_batch_larger_than_the_data_is_one_step(split):
    config = dataclasses.replace(CONFIG, batch_size=4096)
    result = train(build(), config, split, max_epochs=1, seed=1, on_epoch=go_on)
    assert result.epochs == 1


def test_weight_decay_spares_biases_and_normalization(split):
    config = TrainingConfig(optimizer="sgd", learning_rate=1e-12, weight_decay=1e11, batch_size=500)
    model = build(dropout=0.0)
    before = {weight.path: weight.numpy() for weight in model.trainable_weights}
    train(model, config, split, max_epochs=1, seed=1, on_epoch=go_on)
    for weight in model.trainable_weights:
        factor = 0.9 if weight.path.endswith("kernel") else 1.0
        np.testing.assert_allclose(weight.numpy(), factor * before[weight.path], atol=1e-6)


def test_real_images_are_learnt():
    try:
        split = load_split(open_dataset(None), SplitSizes(train=2000, val=500))
    except DataError as error:
        pytest.skip(str(error))
    config = TrainingConfig(learning_rate=0.003, batch_size=64, augmentation="flip")
    result = train(build(), config, split, max_epochs=3, seed=1, on_epoch=go_on)
    assert result.history[-1]["val_accuracy"] > 0.7


def test_without_validation_nothing_of_it_is_recorded(split):
    result = train(build(), CONFIG, split, max_epochs=2, seed=1, on_epoch=go_on, validate=False)
    assert result.ended is Ending.COMPLETE
    assert set(result.history[0]) == {
        *("loss", "accuracy", "balanced_accuracy", "seconds", "learning_rate")
    }
    with_it = train(build(), CONFIG, split, max_epochs=2, seed=1, on_epoch=go_on)
    for entry, other in zip(values(result), values(with_it), strict=True):
        assert entry == {name: other[name] for name in entry}


@pytest.mark.parametrize("last_epoch", [2, 9])
def test_an_averaged_network_is_kept_as_it_was_validated(split, last_epoch):
    config = dataclasses.replace(CONFIG, weight_averaging=True)
    model, plain = build(), build()
    result = train(
        model, config, split, max_epochs=3, seed=1, on_epoch=lambda epoch, _: epoch >= last_epoch
    )
    train(plain, CONFIG, split, max_epochs=3, seed=1, on_epoch=lambda epoch, _: epoch >= last_epoch)
    images = split.val_images.astype(np.float32) / 255
    accuracy = np.mean(model.predict(images, verbose=0).argmax(axis=1) == split.val_labels)
    assert accuracy == pytest.approx(result.history[-1]["val_accuracy"], abs=1e-6)
    assert not np.allclose(model.get_weights()[0], plain.get_weights()[0], atol=1e-5)


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_occur(split):
    few = np.flatnonzero(
        (split.val_labels != 3) & ((split.val_labels != 4) | (np.arange(100) < 30))
    )
    uneven = dataclasses.replace(
        split, val_images=split.val_images[few], val_labels=split.val_labels[few]
    )
    model = build(dropout=0.5)
    slow = dataclasses.replace(CONFIG, learning_rate=3e-4)
    result = train(model, slow, uneven, max_epochs=1, seed=1, on_epoch=go_on)
    images = uneven.val_images.astype(np.float32) / 255
    predicted = model.predict(images, verbose=0).argmax(axis=1)
    expected = sklearn.metrics.balanced_accuracy_score(uneven.val_labels, predicted)
    (entry,) = result.history
    assert entry["val_balanced_accuracy"] == pytest.approx(expected, abs=1e-6)
    assert abs(entry["val_balanced_accuracy"] - entry["val_accuracy"]) > 1e-3

"""Distillation: the targets of the images, and the trainings that take them."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from search.data.formats import open_dataset
from search.data.split import Split, SplitSizes, load_split
from search.errors import SearchError
from search.training import distillation as module
from search.training.batches import training_batches
from search.training.distillation import soft_targets
from search.training.loop import train
from search.training.saving import save_model
from spaces.training import TrainingConfig

CONFIG = TrainingConfig(learning_rate=0.01, batch_size=32)


@pytest.fixture(scope="module")
def split(small_data: Path) -> Split:
    return load_split(open_dataset(str(small_data)), SplitSizes(val=100))


def network(units: int = 10) -> keras.Model:
    keras.utils.set_random_seed(1)
    images = keras.Input((28, 28, 1))
    hidden = keras.layers.Dense(32, "relu")(keras.layers.Flatten()(images))
    return keras.Model(images, keras.layers.Dense(units)(hidden))


def teacher(split: Split, *biases: float) -> bytes:
    """A file whose predictions depend on the brightness of each image, and on these biases."""
    pixels = keras.Input((28, 28, 1))
    brightness = keras.layers.GlobalAveragePooling2D()(pixels)
    dense = keras.layers.Dense(10, activation="softmax")
    outputs = dense(brightness)
    dense.set_weights([np.linspace(0, 0.05, 10)[None], np.resize(np.array(biases), 10)])
    return save_model(keras.Model(pixels, outputs), split.shape)


def expected(split: Split, *biases: float) -> np.ndarray:
    brightness = split.train_images.mean(axis=(1, 2, 3))[:, None]
    logits = brightness * np.linspace(0, 0.05, 10)[None] + np.resize(np.array(biases), 10)
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True)


def test_the_target_is_the_mean_of_the_label_and_of_the_teachers_mean(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "prediction_batch", lambda data: 64)  # a smaller last one
    targets = soft_targets([teacher(split, 0, 1), teacher(split, 2, 0, 0)], split)
    mean = (expected(split, 0, 1) + expected(split, 2, 0, 0)) / 2
    labels = np.eye(10)[split.train_labels]
    np.testing.assert_allclose(targets, (labels + mean) / 2, atol=1e-6)
    assert targets.dtype == np.float32
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)


def test_a_teacher_that_diverged_is_refused(split: Split) -> None:
    with pytest.raises(SearchError, match=r"^a teacher predicts values that are not finite: its"):
        soft_targets([teacher(split, 0), teacher(split, np.nan)], split)


def test_a_teacher_for_other_data_is_refused(split: Split) -> None:
    other = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten()])
    with pytest.raises(SearchError, match=r"its output has the shape \(None, 784\); it must be"):
        save_model(other, split.shape)
    with pytest.raises(SearchError, match=r"^keras\.saving\.load_model cannot load it"):
        soft_targets([b"no model"], split)


def test_an_augmented_image_keeps_the_target_of_its_original(split: Split) -> None:
    # The target of an image says how bright it is, which mirroring does not change.
    brightness = split.train_images.mean(axis=(1, 2, 3)).astype(np.float32)
    targets = np.repeat(brightness[:, None], 10, axis=1)
    rng = np.random.default_rng(0)
    batches = training_batches(split, 32, "flip", rng, 10, targets)
    assert batches.element_spec[1].shape == (32, 10)
    mirrored = 0
    originals = {image.tobytes() for image in split.train_images}
    for images, found in batches:
        pixels = np.round(255 * images.numpy()).astype(np.uint8)
        mirrored += sum(image.tobytes() not in originals for image in pixels)
        np.testing.assert_allclose(pixels.mean(axis=(1, 2, 3)), found[:, 0], rtol=1e-5)
    assert mirrored > 100


def learn(model: keras.Model, split: Split, **more: Any) -> Any:
    return train(
        model, CONFIG, split, max_epochs=8, seed=1, on_epoch=lambda epoch, entry: False, **more
    )


def test_a_network_learns_what_its_teachers_say(split: Split) -> None:
    teachers = [teacher(split, 0), teacher(split, 0)]
    student = network()
    result = learn(student, split, teachers=teachers)
    entry = result.history[-1]
    # Half of each target is spread over all classes: no loss below the entropy of the targets.
    targets = soft_targets(teachers, split)
    assert entry["loss"] > -(targets * np.log(targets)).sum(axis=1).mean() > 1
    assert entry["val_accuracy"] > 0.9
    assert entry["accuracy"] > 0.8 and entry["balanced_accuracy"] > 0.8  # of the labels
    shares = keras.ops.softmax(student.predict(split.val_images / 255, verbose=0))
    assert 0.4 < keras.ops.convert_to_numpy(shares).max(axis=1).mean() < 0.7
    assert not student.compiled


def test_it_repeats_itself(split: Split) -> None:
    teachers = [teacher(split, 0)]
    first, again = (learn(network(), split, teachers=teachers) for _ in range(2))
    assert [entry["loss"] for entry in first.history] == [entry["loss"] for entry in again.history]


def test_a_compiled_loss_for_one_hot_labels_takes_soft_targets(split: Split) -> None:
    student = network()
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    student.compile("adam", loss, metrics=["accuracy"])
    assert learn(student, split, teachers=[teacher(split, 0)]).history[-1]["loss"] > 1


def test_a_compiled_loss_for_integer_labels_is_refused(split: Split) -> None:
    student = network()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    student.compile("adam", loss, metrics=["accuracy"])
    with pytest.raises(SearchError) as refused:
        learn(student, split, teachers=[b"not even read"])
    assert str(refused.value) == (
        "the space compiles its model with a loss for integer labels, so it cannot be distilled; "
        "leave the model uncompiled, use a loss for one-hot labels such as "
        "'categorical_crossentropy', or leave --distill out."
    )


def test_a_fit_of_the_space_is_refused(split: Split) -> None:
    with pytest.raises(SearchError) as refused:
        learn(network(), split, teachers=[b"not even read"], fit=lambda *given, **more: {})
    assert str(refused.value) == (
        "the space has a fit() of its own, which takes labels, so its model cannot be distilled; "
        "leave --distill out."
    )

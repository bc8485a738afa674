"""Train as a user of stock Keras would: `compile`, `fit` and Keras' own layers and callbacks."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from search.data.split import Split
from search.training.weights import averaged_steps
from spaces.training import TrainingConfig


def compile_model(model: keras.Model, config: TrainingConfig, total_steps: int) -> None:
    """Compile a model with the optimizer, schedule and loss that a configuration names.

    Stock Muon trains dense kernels only, and convolutions with AdamW. Stock averages leave out the
    statistics of batch normalization.

    Args:
        model: Compiled in place.
        config: What to compile.
        total_steps: Length of the learning-rate schedule.
    """
    average: dict[str, Any] = {}
    if config.weight_averaging:
        momentum = math.exp(-1 / averaged_steps(total_steps))
        average = {"use_ema": True, "ema_momentum": momentum}
    model.compile(
        optimizer=_optimizer(config, _learning_rate(config, total_steps), average),
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=config.label_smoothing
        ),
        metrics=["accuracy"],
    )


def _optimizer(
    config: TrainingConfig, rate: Any, average: dict[str, Any]
) -> keras.optimizers.Optimizer:
    decay = config.weight_decay
    match config.optimizer:
        case "sgd":
            return keras.optimizers.SGD(
                rate, momentum=0.9, nesterov=True, weight_decay=decay or None, **average
            )
        case "adamw":
            return keras.optimizers.AdamW(rate, weight_decay=decay, **average)
        case "muon":
            return keras.optimizers.Muon(
                rate, weight_decay=decay, adam_weight_decay=decay, **average
            )
        case _:
            return keras.optimizers.Adam(rate, **average)


def _learning_rate(config: TrainingConfig, total_steps: int) -> Any:
    match config.schedule:
        case "cosine":
            return keras.optimizers.schedules.CosineDecay(config.learning_rate, total_steps)
        case "one_cycle":  # the schedule with a warm-up that Keras has
            warm_up = max(1, total_steps // 5)
            return keras.optimizers.schedules.CosineDecay(
                0.0,
                max(1, total_steps - warm_up),
                warmup_target=config.learning_rate,
                warmup_steps=warm_up,
            )
        case _:
            return config.learning_rate


def fit(
    model: keras.Model,
    config: TrainingConfig,
    split: Split,
    *,
    epochs: int,
    initial_epoch: int,
    callbacks: Sequence[Any],
) -> None:
    """Train a compiled model by `model.fit`."""
    x, y = _arrays(split.train_images, split.train_labels)
    average = [keras.callbacks.SwapEMAWeights()] if config.weight_averaging else []
    given: dict[str, Any] = {
        "epochs": epochs,
        "initial_epoch": initial_epoch,
        "validation_data": _arrays(split.val_images, split.val_labels),
        # With augmentation, Keras would else validate in batches of 32.
        "validation_batch_size": config.batch_size,
        "callbacks": [*average, *callbacks],
        "verbose": 0,
    }
    if config.augmentation == "none":
        model.fit(x, y, batch_size=config.batch_size, **given)
        return
    augment = _augmentation(config.augmentation)
    batches = (
        tf.data.Dataset.from_tensor_slices((x, y))
        .shuffle(len(x))
        .batch(config.batch_size)
        .map(lambda images, labels: (augment(images, training=True), labels))
        .prefetch(tf.data.AUTOTUNE)
    )
    model.fit(batches, **given)


def _arrays(images: Any, labels: Any) -> tuple[Any, Any]:
    return images.astype(np.float32) / 255, keras.utils.to_categorical(labels)


def _augmentation(name: str) -> keras.Sequential:
    layers = [keras.layers.RandomFlip("horizontal")]
    if "shift" in name:
        layers.append(keras.layers.RandomTranslation(2 / 28, 2 / 28, fill_mode="constant"))
    if "erase" in name:
        area = (7 / 28) ** 2
        layers.append(
            keras.layers.RandomErasing((1.0, 1.0), (area, area), fill_value=0.0, value_range=(0, 1))
        )
    return keras.Sequential(layers)

"""Measure how fast a model trains, without training it to any end."""

import time
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np

from search.data.split import Split
from search.training.batches import one_hot_classes, training_batches
from search.training.fast_layers import fast_layers
from search.training.loop import Ending, EndTraining, Fit, train
from search.training.optimizers import compile_model
from spaces.training import TrainingConfig

# An execution of the usual 32 steps can take many seconds.
_STEPS_PER_EXECUTION: Final = 4
_MOST_EPOCHS: Final = 3  # of data so small that time is never up; the first one is traced
_OWN_FIT_IMAGES: Final = 1_024  # an epoch of a space's own training cannot be stopped in between
_OWN_FIT_VALIDATION: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSpeed:
    """The speed of a training.

    Args:
        images_per_second: Training images per second, after the model was traced.
        seconds: Time in which it was measured.
    """

    images_per_second: float
    seconds: float


def measure_speed(
    model: keras.Model,
    config: TrainingConfig,
    split: Split,
    *,
    seconds: float,
    fit: Fit | None = None,
) -> MeasuredSpeed:
    """Train a model for some seconds; it is of no use afterwards.

    A training that the space itself defines runs for two epochs of a small part of the images.

    Args:
        model: As for `search.training.loop.train`.
        config: As there.
        split: As there.
        seconds: Time after the first steps, in which the model is traced; above 0.
        fit: As for `train`.

    Raises:
        SearchError: The training reports no validation accuracy.
    """
    if fit is not None:
        return _measure_own_fit(model, config, split, seconds, fit)
    batch_size = min(config.batch_size, len(split.train_labels))
    steps = len(split.train_labels) // batch_size
    if not model.compiled:
        compile_model(
            model,
            config,
            total_steps=_MOST_EPOCHS * steps,
            steps_per_execution=_STEPS_PER_EXECUTION,
        )
    classes = one_hot_classes(model)
    rng = np.random.default_rng(0)
    stopwatch = _Stopwatch(seconds)
    try:
        with fast_layers():
            model.fit(
                training_batches(split, batch_size, config.augmentation, rng, classes),
                epochs=_MOST_EPOCHS,
                callbacks=[stopwatch],
                shuffle=False,
                verbose=0,
            )
    except EndTraining:
        pass
    elapsed = max(stopwatch.seconds, 1e-9)
    return MeasuredSpeed(
        images_per_second=stopwatch.steps * batch_size / elapsed, seconds=stopwatch.seconds
    )


def _measure_own_fit(
    model: keras.Model, config: TrainingConfig, split: Split, seconds: float, fit: Fit
) -> MeasuredSpeed:
    part = Split(
        train_images=split.train_images[:_OWN_FIT_IMAGES],
        train_labels=split.train_labels[:_OWN_FIT_IMAGES],
        val_images=split.val_images[:_OWN_FIT_VALIDATION],
        val_labels=split.val_labels[:_OWN_FIT_VALIDATION],
    )
    began = time.perf_counter()
    result = train(
        model,
        config,
        part,
        max_epochs=2,
        seed=0,
        on_epoch=lambda epoch, metrics: time.perf_counter() - began > seconds,
        fit=fit,
    )
    # Its batches are not known, so this does not use `result.images_per_second`. Tracing belongs
    # to the first epoch; a training that reports only at its end has one entry for both.
    last = result.history[-1]["seconds"]
    epochs = 2 / result.epochs if result.ended is Ending.COMPLETE else 1
    return MeasuredSpeed(
        images_per_second=epochs * len(part.train_labels) / max(last, 1e-9), seconds=last
    )


class _Stopwatch(keras.callbacks.Callback):  # type: ignore[misc]
    """Counts the steps after the first execution, which traces the model, until time is up.

    Attributes:
        steps: Steps that were counted.
        seconds: Time that they took.
    """

    def __init__(self, limit_seconds: float) -> None:
        super().__init__()
        self.steps = 0
        self.seconds = 0.0
        self._limit_seconds = limit_seconds
        self._began: float | None = None
        self._last = -1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Count the steps of the epoch from its first one."""
        self._last = -1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count the steps since the last call."""
        float((logs or {}).get("loss", 0.0))  # waits until they are done on a GPU too
        now = time.perf_counter()
        done, self._last = batch - self._last, batch
        if self._began is None:
            self._began = now
            return
        self.steps += done
        self.seconds = now - self._began
        if self.seconds >= self._limit_seconds:
            raise EndTraining(Ending.STOPPED)

"""Train one model on one split: fast, reproducible, and stoppable after any epoch."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NoReturn

import keras
import numpy as np

from search.data.split import Split
from search.errors import SearchError
from search.training.batches import (
    labels_for,
    model_images,
    one_hot_classes,
    training_batches,
    validation_batches,
)
from search.training.distillation import soft_targets
from search.training.fast_layers import fast_layers
from search.training.optimizers import compile_model
from search.training.weights import WeightAverage, pack_checkpoint, unpack_checkpoint
from spaces.training import TrainingConfig

OnEpoch = Callable[[int, dict[str, float]], bool]
Fit = Callable[..., Any]
_MUST_BE_FINITE: Final = ("loss", "val_loss", "val_accuracy")


class Ending(Enum):
    """How a training ended."""

    COMPLETE = "complete"
    STOPPED = "stopped by on_epoch"
    NON_FINITE_LOSS = "non-finite loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a training; by default all of it.

    Args:
        initial_epoch: Epochs that `checkpoint` has been trained for; 0 without one.
        epochs: Last epoch of this part, counted from the start of the training; None:
            `max_epochs`.
        checkpoint: Of the previous part; None for the first part.
        keep_checkpoint: Whether to return a checkpoint for another part.
    """

    initial_epoch: int = 0
    epochs: int | None = None
    checkpoint: bytes | None = None
    keep_checkpoint: bool = False


WHOLE: Final = Part()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """Result of one training.

    Args:
        history: One entry for each finished epoch: `loss`, `accuracy`, `val_loss`, `val_accuracy`,
            `seconds` (whole epoch) and `learning_rate` (at its end); of a model that was not
            compiled also `balanced_accuracy` and `val_balanced_accuracy`.
        train_seconds: Wall time of training steps, data pipeline included.
        val_seconds: Wall time of validation.
        images_per_second: Training images per second, without the first epoch if there are more:
            TensorFlow compiles the step in it.
        ended: Why there are no more epochs.
        checkpoint: For the next part; None unless it was asked for and the training is complete.
    """

    history: list[dict[str, float]]
    train_seconds: float
    val_seconds: float
    images_per_second: float
    ended: Ending
    checkpoint: bytes | None = None

    @property
    def epochs(self) -> int:
        """Number of epochs in the history."""
        return len(self.history)


def train(
    model: keras.Model,
    config: TrainingConfig,
    split: Split,
    *,
    max_epochs: int,
    seed: int,
    on_epoch: OnEpoch,
    validate: bool = True,
    objective: str = "accuracy",
    epoch_size: int | None = None,
    part: Part = WHOLE,
    fit: Fit | None = None,
    teachers: Sequence[bytes] = (),
) -> TrainingResult:
    """Train a model in place.

    A compiled model keeps its loss, optimizer and metrics, and gets labels in the form that its
    loss needs. Other models are trained as `config` says and returned uncompiled, so that stock
    Keras loads the files that they are saved to. Everything random follows from `seed`, except the
    initial weights: call `keras.utils.set_random_seed` before you build the model.

    Args:
        model: Built; maps (batch, height, width, channels) float32 in [0, 1] to (batch, classes)
            logits.
        config: Batch size and augmentation; everything else only for a model that is not compiled.
        split: Images to train and to validate on.
        max_epochs: Length of the learning-rate schedule, and of the training unless it is stopped.
        seed: 0 or more.
        on_epoch: Called after each epoch with its number (from 1) and its entry of the history;
            returns whether to stop.
        validate: Whether to validate after each epoch; without it the history has no `val_...`.
        objective: `accuracy`, or a metric whose `val_...` is needed besides.
        epoch_size: Training images of an epoch, at most all; the next one shows others. None: all.
            A `fit` gets as many, always the same ones.
        part: Which epochs to train.
        fit: The training that the space itself defines, from `search.training.building.own_fit`;
            `config` is then unused, and the model stays as `build` returned it.
        teachers: As for `search.training.distillation.soft_targets`, which take the place of the
            labels; the loss smooths them as it would smooth labels. None by default: labels
            alone.

    Raises:
        SearchError: The training reports no validation accuracy, or has teachers and cannot take
            soft targets.
        ValueError: `max_epochs` is below 1, or the checkpoint is from a different model.
    """
    if max_epochs < 1:
        raise ValueError(f"train got max_epochs={max_epochs}; use 1 or more.")
    if teachers:
        _require_one_hot(model, split, fit)
    targets = soft_targets(teachers, split) if teachers else None
    keras.utils.set_random_seed(seed)
    epoch_size = epoch_size or len(split.train_labels)
    batch_size = min(config.batch_size, epoch_size)
    steps = epoch_size // batch_size
    last_epoch = part.epochs or max_epochs
    compiled_here = not model.compiled and fit is None
    total_steps = max_epochs * steps
    if compiled_here:
        compile_model(model, config, total_steps=total_steps, classes=split.classes)
    watcher = EpochWatcher(
        on_epoch,
        val_images=len(split.val_labels) if validate else None,
        objective=objective,
        initial_epoch=part.initial_epoch,
        last_epoch=None if fit is None else last_epoch,
    )
    average = WeightAverage(total_steps) if config.weight_averaging and fit is None else None
    if part.checkpoint is not None:
        unpack_checkpoint(part.checkpoint, model, average)
    ended = Ending.COMPLETE
    try:
        with fast_layers():
            if fit is not None:
                given = split.first(epoch_size)
                _run_own_fit(fit, model, given, watcher, part.initial_epoch, last_epoch)
            else:
                classes = one_hot_classes(model, split.shape)
                rng = np.random.default_rng(seed)
                batches = training_batches(
                    split,
                    batch_size,
                    config.augmentation,
                    rng,
                    classes,
                    targets,
                    epoch_size=epoch_size,
                )
                model.fit(
                    batches,
                    initial_epoch=part.initial_epoch,
                    epochs=last_epoch,
                    validation_data=validation_batches(split, classes) if validate else None,
                    callbacks=[watcher] if average is None else [average, watcher],
                    shuffle=False,  # the batches are shuffled already
                    verbose=0,
                )
    except EndTraining as end:
        ended = end.reason
    finally:
        if compiled_here:
            model.compiled = False
    kept = part.keep_checkpoint and ended is Ending.COMPLETE
    checkpoint = pack_checkpoint(model, average) if kept else None
    if average is not None:
        average.apply()
    epoch_seconds = watcher.train_seconds[1:] or watcher.train_seconds
    return TrainingResult(
        history=watcher.history,
        train_seconds=sum(watcher.train_seconds),
        val_seconds=sum(watcher.val_seconds),
        images_per_second=len(epoch_seconds) * steps * batch_size / max(sum(epoch_seconds), 1e-9),
        ended=ended,
        checkpoint=checkpoint,
    )


def _require_one_hot(model: keras.Model, split: Split, fit: Fit | None) -> None:
    """Refuse a training that cannot take soft targets.

    Raises:
        SearchError: It is the space's own, or the loss that the space compiled takes integers.
    """
    if fit is not None:
        raise SearchError(
            "the space has a fit() of its own, which takes labels, so its model cannot be "
            "distilled; leave --distill out."
        )
    if model.compiled and one_hot_classes(model, split.shape) is None:
        raise SearchError(
            "the space compiles its model with a loss for integer labels, so it cannot be "
            "distilled; leave the model uncompiled, use a loss for one-hot labels such as "
            "'categorical_crossentropy', or leave --distill out."
        )


def _digits(images: int) -> int:
    """Return the decimal places that tell accuracies on this many images apart; 4 or more."""
    return max(4, len(str(images - 1)))


def _run_own_fit(
    fit: Fit,
    model: keras.Model,
    split: Split,
    watcher: "EpochWatcher",
    initial_epoch: int,
    epochs: int,
) -> None:
    """Call a space's `fit` with the arguments that KerasTuner passes.

    Raises:
        SearchError: It neither called its callbacks nor returned its validation accuracy.
        EndTraining: The watcher ended the training.
    """
    outcome = fit(
        model,
        model_images(split.train_images),
        labels_for(model, split.train_labels, split.shape),
        validation_data=(
            model_images(split.val_images),
            labels_for(model, split.val_labels, split.shape),
        ),
        epochs=epochs,
        callbacks=[watcher],
        verbose=0,
        **({"initial_epoch": initial_epoch} if initial_epoch else {}),
    )
    if watcher.ending is not None:  # fit() caught the exception that ended it
        raise EndTraining(watcher.ending)
    if watcher.history:
        return
    logs: Any = outcome.history if isinstance(outcome, keras.callbacks.History) else outcome
    values = np.ravel(logs.get("val_accuracy", [])) if isinstance(logs, Mapping) else np.empty(0)
    if not values.size:
        found = type(outcome).__name__
        if isinstance(logs, Mapping):
            found += f" with {', '.join(map(str, logs)) or 'nothing'}"
        raise SearchError(
            f"fit() called no callback's on_epoch_end and returned {found}. Call on_epoch_end "
            "after each epoch with val_accuracy in its logs, or return {'val_accuracy': ...}."
        )
    watcher.record_late(values.tolist(), epochs)


class EndTraining(BaseException):
    """Ends a training from inside a callback.

    `model.stop_training` is only a request, which training loops of users may ignore. The class is
    not an `Exception`, so that code which handles errors does not catch it.
    """

    def __init__(self, reason: Ending) -> None:
        super().__init__(reason)
        self.reason = reason


class EpochWatcher(keras.callbacks.Callback):  # type: ignore[misc]
    """Records and times each epoch, asks whether to stop after it, and ends a diverged training.

    It also works in a training loop that calls nothing but `on_epoch_end`. A loop that continues
    after it was ended is ended again at its next call.

    Args:
        on_epoch: See `train`.
        val_images: Number of validation images, to which validation accuracies are rounded; None:
            the epochs are not validated.
        objective: See `train`.
        initial_epoch: Epochs that were done before.
        last_epoch: End a training that goes on after this epoch; None: it ends without help.
    """

    def __init__(
        self,
        on_epoch: OnEpoch,
        *,
        val_images: int | None,
        objective: str = "accuracy",
        initial_epoch: int,
        last_epoch: int | None,
    ) -> None:
        super().__init__()
        self.history: list[dict[str, float]] = []
        self.train_seconds: list[float] = []
        self.val_seconds: list[float] = []
        self.ending: Ending | None = None
        self._on_epoch = on_epoch
        self._val_images = val_images
        self._objective = objective
        self._initial_epoch = initial_epoch
        self._last_epoch = last_epoch
        self._began = time.perf_counter()
        self._validation_began: float | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock."""
        self._stay_ended()
        self._began = time.perf_counter()
        self._validation_began = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """End a diverged training."""
        self._stay_ended()
        # The logged loss is the epoch's running mean, so it also covers the steps between calls.
        loss = _number((logs or {}).get("loss"))
        if loss is not None and not math.isfinite(loss):
            self._end(Ending.NON_FINITE_LOSS)

    def on_test_begin(self, logs: Any = None) -> None:
        """Note when training ended and validation began."""
        if self._validation_began is None:
            self._validation_began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Record the epoch; its number is counted here, since users' loops may count differently.

        Raises:
            SearchError: The logs contain no validation accuracy, or it is not within 0 and 1.
            EndTraining: The training must not continue.
        """
        self._stay_ended()
        now = time.perf_counter()
        trained = self._validation_began or now
        self.train_seconds.append(trained - self._began)
        self.val_seconds.append(now - trained)
        numbers = {str(name): _number(value) for name, value in (logs or {}).items()}
        entry = {name: value for name, value in numbers.items() if value is not None}
        needed = f"val_{self._objective}"
        if self._val_images is not None:
            if "val_accuracy" not in entry:
                raise SearchError(_without_accuracy(logs or {}))
            # Keras divides in float32: 0.798 would be stored as 0.7979999780654907.
            entry["val_accuracy"] = round(entry["val_accuracy"], _digits(self._val_images))
            if "val_balanced_accuracy" in entry:
                entry["val_balanced_accuracy"] = round(entry["val_balanced_accuracy"], 6)
            if needed not in entry:
                raise SearchError(_without_objective(self._objective))
        if not all(math.isfinite(entry.get(name, 0.0)) for name in (*_MUST_BE_FINITE, needed)):
            self._end(Ending.NON_FINITE_LOSS)
        for name in ("val_accuracy", needed):
            if not 0 <= (value := entry.get(name, 0.0)) <= 1:
                raise SearchError(
                    f"the training logs a {name} of {value:g}; it must be within 0 and 1. Log "
                    "a fraction, not a percentage or a count."
                )
        entry["seconds"] = now - self._began
        optimizer = getattr(self.model, "optimizer", None)
        rate = _number(getattr(optimizer, "learning_rate", None))
        if rate is not None:
            entry["learning_rate"] = rate
        self.history.append(entry)
        self._began, self._validation_began = now, None
        reached = self._initial_epoch + len(self.history)
        if self._on_epoch(reached, dict(entry)):
            self._end(Ending.STOPPED)
        if reached == self._last_epoch:
            # Not at once: what comes after the last epoch may still change the weights.
            self.ending = Ending.COMPLETE

    def record_late(self, values: Sequence[float], epochs: int) -> None:
        """Record a training that reported its validation accuracies only at its end.

        Args:
            values: Of the last epochs.
            epochs: Number of the last epoch.
        """
        self._initial_epoch = max(self._initial_epoch, epochs - len(values))
        for value in values[-epochs:]:
            self.on_epoch_end(0, {"val_accuracy": value})

    def _end(self, reason: Ending) -> NoReturn:
        self.ending = reason
        raise EndTraining(reason)

    def _stay_ended(self) -> None:
        if self.ending is not None:
            raise EndTraining(self.ending)


def _number(value: Any) -> float | None:
    """Return a value of a training's logs as a number; None if it is text, a matrix or the like."""
    if isinstance(value, str | bytes):
        return None
    try:
        return float(value.item() if isinstance(value, np.ndarray) else value)
    except Exception:  # a matrix, None, objects of the user's, tensors of a graph
        return None


def _without_objective(objective: str) -> str:
    return (
        f"the training logs no val_{objective}, which --objective {objective} needs. Leave the "
        f"model uncompiled, or compile it with a metric of the name {objective!r}; if the space "
        f"has a fit(), pass val_{objective} to its callbacks' on_epoch_end."
    )


def _without_accuracy(logs: Mapping[Any, Any]) -> str:
    if "val_accuracy" in logs:
        kind = type(logs["val_accuracy"]).__name__
        return f"the training logs a val_accuracy of type {kind}; it must be one number from 0 to 1"
    return (
        f"the training logs {', '.join(sorted(map(str, logs))) or 'nothing'}, but val_accuracy is "
        "needed. Compile the model with metrics=['accuracy'], or leave it uncompiled; if "
        "the space has a fit(), pass val_accuracy to its callbacks' on_epoch_end."
    )

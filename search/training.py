"""Train one model on one split: fast on the CPU, repeatable, and stoppable after any epoch."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np

from search.averaging import WeightAverage
from search.batch_norm import fuse_batch_norm
from search.compilation import compile_model
from search.data import Split
from search.dropout import cheap_dropout
from search.epochs import training_batches, validation_batches
from search.errors import SearchError
from search.precision import Precision
from spaces.training_config import TrainingConfig

Ending = Literal["complete", "stopped", "non-finite loss"]
OnEpoch = Callable[[int, dict[str, float]], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What came of one training.

    Args:
        history: One entry for each finished epoch: `loss`, `accuracy`, `val_loss`, `val_accuracy`,
            `seconds` (the whole epoch) and `learning_rate` (at its end).
        train_seconds: Time in training steps, the data pipeline included.
        val_seconds: Time in validation.
        images_per_second: Training images a second; the first epoch, in which TensorFlow compiles
            the step, does not count when there are more.
        ended: `complete`: all epochs are done; `stopped`: `on_epoch` said so; `non-finite loss`.
    """

    history: list[dict[str, float]]
    train_seconds: float
    val_seconds: float
    images_per_second: float
    ended: Ending

    @property
    def epochs(self) -> int:
        """Number of finished epochs."""
        return len(self.history)


def set_precision(precision: Precision) -> None:
    """Choose the number format of all models built from now on; weights stay float32.

    `keras.backend.clear_session` forgets the choice: call this after it.
    """
    keras.mixed_precision.set_global_policy(
        "mixed_bfloat16" if precision == "bfloat16" else "float32"
    )


def train(
    model: keras.Model,
    config: TrainingConfig,
    split: Split,
    *,
    max_epochs: int,
    seed: int,
    on_epoch: OnEpoch,
    validate: bool = True,
) -> TrainingResult:
    """Train `model` in place.

    A model that is compiled already keeps its own loss, optimizer and metrics; it gets labels as
    plain integers. Any other is trained as `config` says and is left uncompiled, so that saving it
    gives a file that stock Keras loads. All that is random follows from `seed`, except what the
    model drew when it was built: call `keras.utils.set_random_seed` before building.

    Args:
        model: Built; takes (batch, 28, 28, 1) float32 in [0, 1], gives (batch, classes) logits.
        config: Batch size and augmentation; for an uncompiled model also all the rest.
        split: The images to train and to validate on.
        max_epochs: Length of the learning-rate schedule, and of the training if nothing stops it.
        seed: 0 or more.
        validate: Whether to score the validation part after each epoch; if not, the entries of the
            history have no `val_...`.
        on_epoch: Called after each epoch with its number from 1 and its entry of the history; True
            stops the training.

    Raises:
        SearchError: The model was compiled without an accuracy metric.
        ValueError: `max_epochs` is below 1.
    """
    if max_epochs < 1:
        raise ValueError(f"train got max_epochs={max_epochs}; use 1 or more.")
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    batch_size = min(config.batch_size, len(split.train_labels))
    steps = len(split.train_labels) // batch_size
    compiled_here = not model.compiled
    if compiled_here:
        compile_model(model, config, total_steps=max_epochs * steps)
    watcher = _Watcher(on_epoch, validate=validate)
    average = WeightAverage() if config.weight_averaging else None
    ended: Ending = "complete"
    with fuse_batch_norm(), cheap_dropout():
        try:
            model.fit(
                training_batches(split, batch_size, config.augmentation, rng),
                epochs=max_epochs,
                validation_data=validation_batches(split) if validate else None,
                callbacks=[watcher] if average is None else [average, watcher],
                shuffle=False,  # the batches come shuffled
                verbose=0,
            )
        except _EndTraining as end:
            ended = end.reason
        finally:
            if compiled_here:
                model.compiled = False
    if average is not None:
        average.apply()
    epoch_seconds = watcher.train_seconds[1:] or watcher.train_seconds
    return TrainingResult(
        history=watcher.history,
        train_seconds=sum(watcher.train_seconds),
        val_seconds=sum(watcher.val_seconds),
        images_per_second=len(epoch_seconds) * steps * batch_size / max(sum(epoch_seconds), 1e-9),
        ended=ended,
    )


class _EndTraining(Exception):
    """Raised out of `fit`: `stop_training` is a mere request, which finishes the epoch first."""

    def __init__(self, reason: Ending) -> None:
        super().__init__(reason)
        self.reason = reason


class _Watcher(keras.callbacks.Callback):  # type: ignore[misc]
    """Times the epochs, asks after each whether to go on, and ends a diverged training."""

    def __init__(self, on_epoch: OnEpoch, *, validate: bool) -> None:
        super().__init__()
        self._validate = validate
        self.history: list[dict[str, float]] = []
        self.train_seconds: list[float] = []
        self.val_seconds: list[float] = []
        self._on_epoch = on_epoch
        self._began = self._validation_began = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # The logged loss is the epoch's running mean, so no step within the execution is missed.
        if not math.isfinite(float(logs.get("loss", 0.0))):
            raise _EndTraining("non-finite loss")

    def on_test_begin(self, logs: Any = None) -> None:
        self._validation_began = time.perf_counter()
        self.train_seconds.append(self._validation_began - self._began)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not self._validate:
            self.on_test_begin()
        now = time.perf_counter()
        self.val_seconds.append(now - self._validation_began)
        entry = {name: float(value) for name, value in logs.items()}
        if self._validate and "val_accuracy" not in entry:
            raise SearchError(
                f"the model is compiled with metrics that log {', '.join(sorted(entry))}; "
                "val_accuracy is needed. Compile it with metrics=['accuracy'], or not at all."
            )
        if not math.isfinite(entry.get("val_loss", 0.0)):
            raise _EndTraining("non-finite loss")
        entry["seconds"] = now - self._began
        entry["learning_rate"] = float(self.model.optimizer.learning_rate)
        self.history.append(entry)
        if self._on_epoch(epoch + 1, dict(entry)):
            raise _EndTraining("stopped")

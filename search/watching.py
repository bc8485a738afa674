"""Watch a training from inside Keras: time its epochs, ask after each whether to go on, end it."""

import math
import time
from collections.abc import Callable
from typing import Any, Literal

import keras

from search.errors import SearchError

Ending = Literal["complete", "stopped", "non-finite loss"]
OnEpoch = Callable[[int, dict[str, float]], bool]


class EndTraining(BaseException):
    """Raised out of a training: `stop_training` is a mere request, which loops of a user's ignore.

    No `Exception`, so that nobody who guards against errors in between catches it.
    """

    def __init__(self, reason: Ending) -> None:
        super().__init__(reason)
        self.reason = reason


class EpochWatcher(keras.callbacks.Callback):  # type: ignore[misc]
    """Times the epochs, asks after each whether to go on, and ends a diverged training.

    A loop that calls nothing but `on_epoch_end` is watched as well.

    Args:
        on_epoch: Called after each epoch with its number from 1 and its entry of the history.
        validate: Whether each epoch has a validation.
    """

    def __init__(self, on_epoch: OnEpoch, *, validate: bool) -> None:
        super().__init__()
        self._validate = validate
        self.history: list[dict[str, float]] = []
        self.train_seconds: list[float] = []
        self.val_seconds: list[float] = []
        self._on_epoch = on_epoch
        self._began = time.perf_counter()
        self._validation_began: float | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock."""
        self._began = time.perf_counter()
        self._validation_began = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """End a training that has diverged."""
        # The logged loss is the epoch's running mean, so no step within the execution is missed.
        if not math.isfinite(float((logs or {}).get("loss", 0.0))):
            raise EndTraining("non-finite loss")

    def on_test_begin(self, logs: Any = None) -> None:
        """Note when training ended and validation began."""
        if self._validation_began is None:
            self._validation_began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Record the epoch.

        Raises:
            SearchError: It logs no validation accuracy.
            EndTraining: It shall not go on.
        """
        now = time.perf_counter()
        trained = self._validation_began or now
        self.train_seconds.append(trained - self._began)
        self.val_seconds.append(now - trained)
        entry = {name: float(value) for name, value in (logs or {}).items()}
        if self._validate and "val_accuracy" not in entry:
            raise SearchError(
                f"the training logs {', '.join(sorted(entry)) or 'nothing'}; val_accuracy is "
                "needed. Compile the model with metrics=['accuracy'], or not at all; a fit() of "
                "its own gives it to its callbacks' on_epoch_end."
            )
        if not math.isfinite(entry.get("loss", 0.0) + entry.get("val_loss", 0.0)):
            raise EndTraining("non-finite loss")
        entry["seconds"] = now - self._began
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None:
            entry["learning_rate"] = float(optimizer.learning_rate)
        self.history.append(entry)
        self._began, self._validation_began = now, None
        if self._on_epoch(epoch + 1, dict(entry)):
            raise EndTraining("stopped")

"""Watch a training from inside Keras: time its epochs, ask after each whether to go on, end it."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NoReturn

import keras

from search.errors import SearchError

Ending = Literal["complete", "stopped", "non-finite loss"]
OnEpoch = Callable[[int, dict[str, float]], bool]
_FINITE: Final = ("loss", "val_loss", "val_accuracy")


class EndTraining(BaseException):
    """Raised out of a training: `stop_training` is a mere request, which loops of a user's ignore.

    No `Exception`, so that nobody who guards against errors in between catches it.
    """

    def __init__(self, reason: Ending) -> None:
        super().__init__(reason)
        self.reason = reason


class EpochWatcher(keras.callbacks.Callback):  # type: ignore[misc]
    """Times the epochs, asks after each whether to go on, and ends a diverged training.

    A loop that calls nothing but `on_epoch_end` is watched as well, and one that goes on after it
    was ended is ended again, at the next call.

    Args:
        on_epoch: Called after each epoch with its number and its entry of the history.
        validate: Whether each epoch has a validation.
        initial_epoch: Epochs that were done before.
        last_epoch: End the training after it; None: it ends by itself.
    """

    def __init__(
        self,
        on_epoch: OnEpoch,
        *,
        validate: bool,
        initial_epoch: int = 0,
        last_epoch: int | None = None,
    ) -> None:
        super().__init__()
        self._validate = validate
        self.history: list[dict[str, float]] = []
        self.train_seconds: list[float] = []
        self.val_seconds: list[float] = []
        self.ending: Ending | None = None
        self._on_epoch = on_epoch
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
        """End a training that has diverged."""
        self._stay_ended()
        # The logged loss is the epoch's running mean, so no step within the execution is missed.
        if not math.isfinite(float((logs or {}).get("loss", 0.0))):
            self._end("non-finite loss")

    def on_test_begin(self, logs: Any = None) -> None:
        """Note when training ended and validation began."""
        if self._validation_began is None:
            self._validation_began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Record the epoch; they are counted here, whatever number a loop gives them.

        Raises:
            SearchError: It logs no validation accuracy.
            EndTraining: It shall not go on.
        """
        self._stay_ended()
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
        if not all(math.isfinite(entry.get(name, 0.0)) for name in _FINITE):
            self._end("non-finite loss")
        entry["seconds"] = now - self._began
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None:
            entry["learning_rate"] = float(optimizer.learning_rate)
        self.history.append(entry)
        self._began, self._validation_began = now, None
        reached = self._initial_epoch + len(self.history)
        if self._on_epoch(reached, dict(entry)):
            self._end("stopped")
        if reached == self._last_epoch:
            self._end("complete")

    def record_late(self, values: Sequence[float], epochs: int) -> None:
        """Record a training that only says at its end what came out.

        Args:
            values: Validation accuracies of its last epochs.
            epochs: The last one.
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

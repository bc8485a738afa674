"""Average the weights of the last steps: what a falling learning rate does, at any time."""

from typing import Any, Final

import keras
import numpy as np

# Once in each execution of 32 steps: the average reaches back about 100 steps.
_KEEP: Final = 0.7


class WeightAverage(keras.callbacks.Callback):  # type: ignore[misc]
    """Validates with an exponential moving average of the weights; training goes on without it.

    Weights jitter while the learning rate is high, and validation with them says little about how
    good they will be when it has fallen. Their average is worth nearly as much at once, so that
    trials with different schedules can be compared, and pruned, after the first epochs. Moving
    statistics of batch normalisation are averaged like weights.

    Source: Polyak & Juditsky 1992; Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima
    and Better Generalization".
    """

    def __init__(self) -> None:
        super().__init__()
        self._average: list[Any] = []
        self._training: list[Any] = []
        self._count = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        weights = self.model.get_weights()
        # At first the plain mean: the random start must not linger.
        keep = min(_KEEP, self._count / (self._count + 1))
        self._count += 1
        self._average = (
            [
                keep * mean + (1 - keep) * weight
                for mean, weight in zip(self._average, weights, strict=True)
            ]
            if self._average
            else weights
        )

    def on_test_begin(self, logs: Any = None) -> None:
        self._training = self.model.get_weights()
        self.apply()

    def on_test_end(self, logs: Any = None) -> None:
        self.model.set_weights(self._training)

    def state(self) -> list[Any]:
        """All that it remembers, as arrays."""
        return [np.asarray(self._count), *self._average]

    def restore(self, state: list[Any]) -> None:
        """Go on from a `state`."""
        count, *self._average = state
        self._count = int(count)

    def apply(self) -> None:
        """Put the average into the model."""
        if self._average:
            self.model.set_weights(self._average)

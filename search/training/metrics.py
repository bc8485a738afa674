"""Metrics that Keras lacks."""

from typing import Any

import keras


class BalancedAccuracy(keras.metrics.Metric):  # type: ignore[misc]
    """Mean recall of the classes that occur.

    Args:
        classes: Number of classes.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(name="balanced_accuracy", dtype="float32")
        self._right = self.add_weight(shape=(classes,), initializer="zeros", name="right")
        self._all = self.add_weight(shape=(classes,), initializer="zeros", name="all")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count a batch.

        Args:
            y_true: (batch, classes), one-hot labels or soft targets, which count as the likeliest
                class.
            y_pred: (batch, classes) logits.
            sample_weight: Not used.
        """
        labels = keras.ops.argmax(y_true, axis=1)
        y_true = keras.ops.one_hot(labels, self._right.shape[0], dtype="float32")
        is_right = keras.ops.equal(labels, keras.ops.argmax(y_pred, axis=1))
        right = y_true * keras.ops.cast(is_right, "float32")[:, None]
        self._right.assign_add(keras.ops.sum(right, axis=0))
        self._all.assign_add(keras.ops.sum(y_true, axis=0))

    def result(self) -> Any:
        """Return the mean recall, from 0 to 1."""
        recalls = self._right / keras.ops.maximum(self._all, 1.0)
        occurring = keras.ops.sum(keras.ops.cast(self._all > 0, "float32"))
        return keras.ops.sum(recalls) / keras.ops.maximum(occurring, 1.0)

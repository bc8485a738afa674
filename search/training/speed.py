"""Measure how fast a model trains, without finishing the training."""

import time
from dataclasses import dataclass, replace
from typing import Final

import keras
import tensorflow as tf

from search.data.split import VALIDATION_COST, Split
from search.errors import SearchError
from search.training.loop import Ending, Fit, train
from spaces.training import TrainingConfig

# An epoch cannot be interrupted, and a small one mostly measures its own start.
_IMAGES: Final = 1_024
_GPU_IMAGES: Final = 16_384
_VALIDATION: Final = 256
_MOST_EPOCHS: Final = 100
_OWN_FIT_EPOCHS: Final = 2  # a space's own training may heed no callback


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSpeed:
    """The speed of a training.

    Args:
        images_per_second: Training images per second, after the model was traced.
        seconds: Time of all its epochs without the tracing.
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
    """Train a model on a part of the images for some seconds; it is of no use afterwards.

    Args:
        model: As for `search.training.loop.train`.
        config: As there.
        split: As there.
        seconds: Time after the first epoch, in which the model is traced; above 0.
        fit: As for `train`.

    Raises:
        SearchError: The training diverges, or reports no validation accuracy.
    """
    images = _GPU_IMAGES if tf.config.list_physical_devices("GPU") else _IMAGES
    part = replace(
        split.first(images),
        val_images=split.val_images[:_VALIDATION],
        val_labels=split.val_labels[:_VALIDATION],
    )
    ends: list[float] = []

    def is_over(epoch: int, metrics: dict[str, float]) -> bool:
        ends.append(time.perf_counter())
        return ends[-1] - ends[0] >= seconds

    max_epochs = _MOST_EPOCHS if fit is None else _OWN_FIT_EPOCHS
    began = time.perf_counter()
    result = train(model, config, part, max_epochs=max_epochs, seed=0, on_epoch=is_over, fit=fit)
    if result.ended is Ending.NON_FINITE_LOSS:
        raise SearchError(result.ended.value)
    elapsed = time.perf_counter() - began
    after_first = ends[-1] - ends[0]
    # A training of the space's own may report all its epochs at its end.
    is_late = after_first < 1e-3 * elapsed
    epochs = max_epochs if is_late else len(ends)
    epoch_seconds = elapsed / epochs if is_late else after_first / (epochs - 1)
    trained = len(part.train_labels)
    if fit is None:  # else the batches are not known
        trained -= trained % min(config.batch_size, trained)
    costing = trained + VALIDATION_COST * len(part.val_labels)
    return MeasuredSpeed(images_per_second=costing / epoch_seconds, seconds=epochs * epoch_seconds)

"""Train one model on one split: fast on the CPU, repeatable, and stoppable after any epoch."""

from dataclasses import dataclass
from typing import Final

import keras
import numpy as np

from search.data.split import Split
from search.training.batches import training_batches, validation_batches
from search.training.fast_layers import fast_layers
from search.training.hardware import Precision
from search.training.optimizers import compile_model
from search.training.own_fit import Fit, run_own_fit, takes_one_hot
from search.training.watching import Ending, EndTraining, EpochWatcher, OnEpoch
from search.training.weights import WeightAverage, pack_checkpoint, unpack_checkpoint
from spaces.training import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a training; the default is all of it.

    Args:
        initial_epoch: So many epochs are in `checkpoint` already; 0 without one.
        epochs: It ends after this one, counted from the very first; None: after `max_epochs`.
        checkpoint: What the part before it left; None: it is the first.
        keep_checkpoint: Whether another part follows.
    """

    initial_epoch: int = 0
    epochs: int | None = None
    checkpoint: bytes | None = None
    keep_checkpoint: bool = False


WHOLE: Final = Part()


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
        checkpoint: For another training to go on with, if it was asked for and nothing failed.
    """

    history: list[dict[str, float]]
    train_seconds: float
    val_seconds: float
    images_per_second: float
    ended: Ending
    checkpoint: bytes | None = None

    @property
    def epochs(self) -> int:
        """Number of epochs that this training finished."""
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
    part: Part = WHOLE,
    fit: Fit | None = None,
) -> TrainingResult:
    """Train `model` in place.

    A model that is compiled already keeps its own loss, optimizer and metrics; it gets the labels
    that its loss takes. Any other is trained as `config` says and is left uncompiled, so that
    saving it gives a file that stock Keras loads. All that is random follows from `seed`, except
    what the model drew when it was built: call `keras.utils.set_random_seed` before building.

    Args:
        model: Built; takes (batch, 28, 28, 1) float32 in [0, 1], gives (batch, classes) logits.
        config: Batch size and augmentation; for an uncompiled model also all the rest.
        split: The images to train and to validate on.
        max_epochs: Length of the learning-rate schedule, and of the training if nothing stops it.
        seed: 0 or more.
        validate: Whether to score the validation part after each epoch; if not, the entries of the
            history have no `val_...`.
        part: Which epochs to train.
        fit: The space's own training, from `own_fit`; the model stays as `build` made it, and of
            `config` nothing counts.
        on_epoch: Called after each epoch with its number from 1 and its entry of the history; True
            stops the training.

    Raises:
        SearchError: The training gives no validation accuracy.
        ValueError: `max_epochs` is below 1.
    """
    if max_epochs < 1:
        raise ValueError(f"train got max_epochs={max_epochs}; use 1 or more.")
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    batch_size = min(config.batch_size, len(split.train_labels))
    steps = len(split.train_labels) // batch_size
    compiled_here = not model.compiled and fit is None
    if compiled_here:
        compile_model(model, config, total_steps=max_epochs * steps)
    watcher = EpochWatcher(
        on_epoch,
        validate=validate,
        initial_epoch=part.initial_epoch,
        last_epoch=None if fit is None else part.epochs or max_epochs,
    )
    average = WeightAverage() if config.weight_averaging and fit is None else None
    if part.checkpoint is not None:
        unpack_checkpoint(part.checkpoint, model, average)
    ended: Ending = "complete"
    with fast_layers():
        try:
            if fit is not None:
                run_own_fit(
                    fit,
                    model,
                    split,
                    watcher,
                    initial_epoch=part.initial_epoch,
                    epochs=part.epochs or max_epochs,
                )
            else:
                classes = model.output_shape[-1] if takes_one_hot(model) else None
                batches = training_batches(split, batch_size, config.augmentation, rng, classes)
                model.fit(
                    batches,
                    initial_epoch=part.initial_epoch,
                    epochs=part.epochs or max_epochs,
                    validation_data=validation_batches(split, classes) if validate else None,
                    callbacks=[watcher] if average is None else [average, watcher],
                    shuffle=False,  # the batches come shuffled
                    verbose=0,
                )
        except EndTraining as end:
            ended = end.reason
        finally:
            if compiled_here:
                model.compiled = False
    kept = part.keep_checkpoint and ended == "complete"
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

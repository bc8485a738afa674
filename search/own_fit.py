"""Spaces that train their models themselves: KerasTuner's `HyperModel.fit`, overridden."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
import keras_tuner
import numpy as np

from search.data import Bytes, Split
from search.errors import SearchError
from search.watching import EpochWatcher
from spaces import Space

Fit = Callable[..., Any]


def own_fit(space: Space, hp: Any) -> Fit | None:
    """How a space trains its model, if that is its own affair.

    Args:
        space: Any space.
        hp: The hyperparameters of the trial; `fit` may ask for more.

    Returns:
        Its `fit`, which takes the model and then what `keras.Model.fit` takes; None: it has none.
    """
    fit = getattr(space, "fit", None)
    if fit is None or getattr(type(space), "fit", None) is keras_tuner.HyperModel.fit:
        return None
    return partial(fit, hp)


def run_own_fit(
    fit: Fit,
    model: keras.Model,
    split: Split,
    watcher: EpochWatcher,
    *,
    initial_epoch: int,
    epochs: int,
) -> None:
    """Train as the space says, with what KerasTuner would hand it.

    Args:
        fit: From `own_fit`. It gets (n, 28, 28, 1) float32 images in [0, 1] with their labels,
            `validation_data`, `epochs`, `callbacks` and `verbose`; `initial_epoch`, if that is
            not 0.
        model: What `build` made.
        split: The images.
        watcher: Among the callbacks; ends the training by an exception.
        initial_epoch: Epochs that are done already.
        epochs: The last one.

    Raises:
        SearchError: It neither called its callbacks nor returned its validation accuracy.
        EndTraining: The watcher ended it.
    """
    later = {"initial_epoch": initial_epoch} if initial_epoch else {}
    outcome = fit(
        model,
        _scaled(split.train_images),
        labels_for(model, split.train_labels),
        validation_data=(_scaled(split.val_images), labels_for(model, split.val_labels)),
        epochs=epochs,
        callbacks=[watcher],
        verbose=0,
        **later,
    )
    if watcher.history:
        return
    logs: Any = outcome.history if isinstance(outcome, keras.callbacks.History) else outcome
    if not isinstance(logs, Mapping) or "val_accuracy" not in logs:
        raise SearchError(
            f"fit() called no callback's on_epoch_end and returned {type(outcome).__name__}; call "
            "it after each epoch with val_accuracy in its logs, or return {'val_accuracy': ...}."
        )
    for epoch, value in enumerate(np.atleast_1d(logs["val_accuracy"])):
        watcher.on_epoch_end(epoch, {"val_accuracy": value})


def labels_for(model: keras.Model, labels: Bytes) -> Any:
    """Labels as the model's loss wants them: whole numbers, or one-hot rows of float32."""
    if not takes_one_hot(model):
        return labels.astype(np.int32)
    return keras.utils.to_categorical(labels, model.output_shape[-1])


def takes_one_hot(model: keras.Model) -> bool:
    """Whether a model is compiled with one of Keras' losses that compare rows with rows."""
    loss = getattr(model, "loss", None) if model.compiled else None
    if isinstance(loss, str):
        return "sparse" not in loss.lower()
    # A loss is an object of a class, or a function.
    named: Any = loss if hasattr(loss, "__name__") else type(loss)
    return named.__module__.startswith("keras.") and "sparse" not in named.__name__.lower()


def _scaled(images: Bytes) -> Any:
    return images[..., np.newaxis].astype(np.float32) / 255

"""Spaces that train their models themselves: KerasTuner's `HyperModel.fit`, overridden."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import keras
import keras_tuner
import numpy as np

from search.data.files import Bytes
from search.data.split import Split
from search.errors import SearchError
from search.training.watching import EndTraining, EpochWatcher
from spaces import Space

Fit = Callable[..., Any]
_BASES: Final = ("loss", "lossfunctionwrapper", "kerassaveable")


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
    if watcher.ending is not None:  # somebody caught the exception that should have ended it
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
            f"fit() called no callback's on_epoch_end and returned {found}; call "
            "it after each epoch with val_accuracy in its logs, or return {'val_accuracy': ...}."
        )
    watcher.record_late(values.tolist(), epochs)


def labels_for(model: keras.Model, labels: Bytes) -> Any:
    """Labels as the model's loss wants them: whole numbers, or one-hot rows of float32."""
    if not takes_one_hot(model):
        return labels.astype(np.int32)
    return keras.utils.to_categorical(labels, model.output_shape[-1])


def takes_one_hot(model: keras.Model) -> bool:
    """Whether a model is compiled with one of Keras' losses that compare rows with rows."""
    loss: Any = getattr(model, "loss", None) if model.compiled else None
    if isinstance(loss, str):
        return "sparse" not in loss.lower()
    # A loss is a function, or an object of a class that may be derived from one of Keras'.
    kinds = [loss] if hasattr(loss, "__name__") else type(loss).__mro__
    names = [kind.__name__.lower() for kind in kinds if kind.__module__.startswith("keras.")]
    own = [name for name in names if name not in _BASES]
    return bool(own) and "sparse" not in own[0]


def _scaled(images: Bytes) -> Any:
    return images[..., np.newaxis].astype(np.float32) / 255

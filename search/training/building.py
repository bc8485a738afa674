"""Build the model of a trial, in any space, and find out how the space wants it trained."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import keras
import keras_tuner

from search.errors import SearchError
from search.training.hyperparameters import TrialHyperParameters
from spaces import DataShape, Space, SpaceError
from spaces.training import TrainingConfig


def build_for_training(
    space: Space, hp: TrialHyperParameters, data: DataShape
) -> tuple[keras.Model, TrainingConfig]:
    """Build a trial's model with its weights, and its training configuration.

    Args:
        space: Any space.
        hp: The trial's hyperparameters.
        data: What the model must fit.

    Raises:
        SpaceError: `build` returned something that is not a model.
        SearchError: The model's output does not fit the data. One that the space trains itself may
            have any.
    """
    model, config = ask_space(space, hp)
    # A subclassed model has no weights and no output before it is called.
    if own_fit(space, hp) is None:
        _check_output(model(keras.Input(data.image_shape)), data.classes)
    elif not model.built:
        model(keras.Input(data.image_shape))
    if config is None:
        # A compiled model may use the other names for hyperparameters with another meaning.
        used = {"batch_size"} & set(hp.values) if model.compiled else set(hp.values)
        config = TrainingConfig.from_values({name: hp.values[name] for name in used})
    return model, config


def _check_output(output: Any, classes: int) -> None:
    count = len(keras.tree.flatten(output))
    if isinstance(output, list) and count == 1:  # of keras.Model(inputs, [one_output])
        output = output[0]
    if not isinstance(output, keras.KerasTensor):
        raise SearchError(
            f"the model returns a {type(output).__name__} of {count} outputs; it must return one "
            f"tensor with a value for each of the {classes} classes. Build a model of that output "
            "alone."
        )
    if output.shape != (None, classes):
        raise SearchError(
            f"the model's output has the shape {output.shape}; the data has {classes} classes, so "
            f"it must be (None, {classes}). End the model with a layer of {classes} units."
        )


def ask_space(space: Space, hp: Any) -> tuple[keras.Model, TrainingConfig | None]:
    """Let a space ask for all its hyperparameters.

    Args:
        space: Any space.
        hp: KerasTuner's `HyperParameters`, or an object with its interface.

    Returns:
        The model, and its training configuration if the space defines one.

    Raises:
        SpaceError: `build` returned something that is not a model.
    """
    if hasattr(space, "declare_hyperparameters"):
        space.declare_hyperparameters(hp)
    model = space.build(hp)
    if not isinstance(model, keras.Model):
        found = "None" if model is None else f"an object of class {type(model).__name__}"
        raise SpaceError(
            f"build(hp) returned {found}; it must return a keras.Model. Correct it, then run the "
            "same command again."
        )
    training = getattr(space, "training", None)
    if not callable(training) or not _takes_one(training):
        return model, None
    config = training(hp)
    return model, config if isinstance(config, TrainingConfig) else None


def _takes_one(function: Callable[..., Any]) -> bool:
    """Return whether a function can be called with one argument."""
    try:
        inspect.signature(function).bind(None)
    except (TypeError, ValueError):
        return False
    return True


class WeightOwnership:
    """Finds weights that the models of two trials share, so that the second one is not fresh.

    Layers that are never trained, such as those of a frozen pretrained network, may be shared.
    """

    def __init__(self) -> None:
        # By id, because variables compare by value; weak, because ids of deleted ones are reused.
        self._known: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._trained: WeakValueDictionary[int, Any] = WeakValueDictionary()

    def claim(self, model: keras.Model) -> None:
        """Remember the weights of a new model.

        Raises:
            SearchError: An earlier model has some of them, and one of the two trains them.
        """
        trained = {id(variable) for variable in model.trainable_variables}
        for variable in model.variables:
            key = id(variable)
            if key in self._trained or (key in trained and key in self._known):
                layer = variable.path.rpartition("/")[0] or variable.path
                raise SearchError(
                    f"the model shares the weights of layer {layer!r} with that of an earlier "
                    "trial, so it would not start afresh. Create layers and models inside "
                    "build(hp), not in __init__ or at module level; only layers that no trial "
                    "trains (trainable=False) may be shared."
                )
        for variable in model.variables:
            self._known[id(variable)] = variable
            if id(variable) in trained:
                self._trained[id(variable)] = variable


def own_fit(space: Space, hp: Any) -> Callable[..., Any] | None:
    """Return the training that a space defines itself: an overridden `HyperModel.fit`.

    Args:
        space: Any space.
        hp: The trial's hyperparameters; `fit` may ask for more.

    Returns:
        A function of the model and of the arguments of `keras.Model.fit`; None without such a
        method.

    Raises:
        SpaceError: The method cannot take these arguments.
    """
    fit = getattr(space, "fit", None)
    if not callable(fit) or getattr(type(space), "fit", None) is keras_tuner.HyperModel.fit:
        return None
    named = dict.fromkeys(("validation_data", "epochs", "callbacks", "verbose"))
    try:
        inspect.signature(fit).bind(hp, None, None, None, **named)
    except TypeError as error:
        raise SpaceError(
            f"fit of {type(space).__name__} cannot be called as KerasTuner does, fit(hp, model, x, "
            f"y, {', '.join(f'{name}=...' for name in named)}): {error}. Let it take these, for "
            "example by **kwargs, or rename it."
        ) from error
    except ValueError:  # a function of C code may hide its arguments
        pass
    return partial(fit, hp)

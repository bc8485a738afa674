"""Build the model of a trial, in any space, and find out how the space wants it trained."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import keras
import keras_tuner

from search.training.hyperparameters import TrialHyperParameters
from spaces import Space
from spaces.training import TrainingConfig

IMAGE_SHAPE: Final = (28, 28, 1)


def build_for_training(
    space: Space, hp: TrialHyperParameters
) -> tuple[keras.Model, TrainingConfig]:
    """Build a trial's model with its weights, and its training configuration.

    Raises:
        TypeError: `build` returned something that is not a model.
    """
    model, config = ask_space(space, hp)
    if not model.built:
        model(keras.Input(IMAGE_SHAPE))  # model.build() leaves a subclassed model without weights
    if config is None:
        # A compiled model may use the other names for hyperparameters with another meaning.
        used = {"batch_size"} & set(hp.values) if model.compiled else set(hp.values)
        config = TrainingConfig.from_values({name: hp.values[name] for name in used})
    return model, config


def ask_space(space: Space, hp: Any) -> tuple[keras.Model, TrainingConfig | None]:
    """Let a space ask for all its hyperparameters.

    Args:
        space: Any space.
        hp: KerasTuner's `HyperParameters`, or an object with its interface.

    Returns:
        The model, and its training configuration if the space defines one.

    Raises:
        TypeError: `build` returned something that is not a model.
    """
    if hasattr(space, "declare_hyperparameters"):
        space.declare_hyperparameters(hp)
    model = space.build(hp)
    if not isinstance(model, keras.Model):
        raise TypeError(f"build(hp) returned {type(model).__name__}; return a keras.Model")
    return model, space.training(hp) if hasattr(space, "training") else None


def own_fit(space: Space, hp: Any) -> Callable[..., Any] | None:
    """Return the training that a space defines itself: an overridden `HyperModel.fit`.

    Args:
        space: Any space.
        hp: The trial's hyperparameters; `fit` may ask for more.

    Returns:
        A function of the model and of the arguments of `keras.Model.fit`; None without such a
        method.
    """
    fit = getattr(space, "fit", None)
    if fit is None or getattr(type(space), "fit", None) is keras_tuner.HyperModel.fit:
        return None
    return partial(fit, hp)

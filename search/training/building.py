"""Build the model that hyperparameters describe, in a space of ours or of a user's."""

from typing import Any, Final

import keras

from search.training.hyperparameters import TrialHyperParameters
from spaces import Space
from spaces.training import TrainingConfig

IMAGE_SHAPE: Final = (28, 28, 1)


def build_for_training(
    space: Space, hp: TrialHyperParameters
) -> tuple[keras.Model, TrainingConfig]:
    """Ask the space for its model, with its weights made, and for how to train it.

    Args:
        space: Any space.
        hp: Answers its questions.

    Raises:
        TypeError: `build` returned something that is not a model.
    """
    model, config = ask_space(space, hp)
    if not model.built:
        model.build((None, *IMAGE_SHAPE))
    if config is not None:
        return model, config
    return model, TrainingConfig.from_values(_obeyed(hp.values, compiled=model.compiled))


def ask_space(space: Space, hp: Any) -> tuple[keras.Model, TrainingConfig | None]:
    """Let the space ask all its questions.

    Args:
        space: Any space.
        hp: KerasTuner's `HyperParameters`, or like them.

    Returns:
        Its model, and how to train it if it says that by itself.

    Raises:
        TypeError: `build` returned something that is not a model.
    """
    if hasattr(space, "declare_hyperparameters"):
        space.declare_hyperparameters(hp)
    model = space.build(hp)
    if not isinstance(model, keras.Model):
        raise TypeError(f"build(hp) returned {type(model).__name__}; return a keras.Model")
    return model, space.training(hp) if hasattr(space, "training") else None


def _obeyed(values: dict[str, Any], *, compiled: bool) -> dict[str, Any]:
    # A model that its space compiles may use the other names for things of its own.
    return {name: values[name] for name in values if not compiled or name == "batch_size"}

"""What can be searched: spaces of models, the built-in ones and those a user brings.

Importing this package and the spaces' own modules never imports Keras; building a model does.
"""

import importlib
import inspect
import os
import sys
from types import ModuleType
from typing import Any, Final, Protocol

from spaces.errors import SpaceError, did_you_mean, one_line

__all__ = [
    "SPACES",
    "Space",
    "SpaceError",
    "first_configurations",
    "load_space",
    "look_in_current_directory",
]

SPACES: Final = {"cnn": "spaces.cnn:CnnSpace", "mlp": "spaces.mlp:MlpSpace"}


class Space(Protocol):
    """What can be searched: anything with a `build`, such as any KerasTuner `HyperModel`.

    A space may also have `training(hp)`, returning a `TrainingConfig`, `baselines` and `default`
    (configurations to try first, each with `params()`), and `describe(params)`.
    """

    def build(self, hp: Any) -> Any:
        """Build a Keras model, asking `hp` (KerasTuner's `HyperParameters`) for each choice."""


def load_space(name: str) -> Space:
    """Make the space of a name.

    Args:
        name: A built-in space's, or `package.module:ClassName`, found also in the current
            directory; the class is called without arguments.

    Raises:
        SpaceError: No such space, or it cannot be imported or made.
    """
    target = SPACES.get(name, name)
    module_name, colon, class_name = target.partition(":")
    if not colon or not module_name or not class_name:
        raise SpaceError(
            f"space {name!r} is unknown; use {' or '.join(SPACES)}, or your own as "
            f"package.module:ClassName.{did_you_mean(name, SPACES)}"
        )
    space_class = _find_class(name, _import(name, module_name), class_name)
    try:
        space = space_class()
    except Exception as error:  # the constructor is the user's: anything may come
        raise SpaceError(
            f"space {name!r}: {class_name}() raised {one_line(error, typed=True)}; "
            "make it work without arguments."
        ) from error
    if not callable(getattr(space, "build", None)):
        raise SpaceError(f"space {name!r}: {class_name} has no method build(hp); add one.")
    return space


def first_configurations(name: str) -> dict[str, dict[str, Any]]:
    """What is tried first in a built-in space: its published baselines, then its default.

    Args:
        name: As for `load_space`; a space of a user's has no such configurations here, since
            loading it may import TensorFlow.

    Returns:
        Hyperparameter values by name of the configuration.

    Raises:
        SpaceError: No such built-in space.
    """
    if ":" in name:
        return {}
    space: Any = load_space(name)
    configs = space.baselines | {"default": space.default}
    return {label: config.params() for label, config in configs.items()}


def look_in_current_directory() -> None:
    """Let modules of a user's own be found in the current directory, as for any script there."""
    # Last on the path, so that no file lying there can hide a module of ours.
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())


def _import(name: str, module_name: str) -> ModuleType:
    look_in_current_directory()
    try:
        return importlib.import_module(module_name)
    except Exception as error:  # importing runs the user's code: anything may come
        raise SpaceError(
            f"space {name!r}: cannot import module {module_name!r} from {os.getcwd()} or the "
            f"Python path: {one_line(error, typed=True)}."
        ) from error


def _find_class(name: str, module: ModuleType, class_name: str) -> type[Space]:
    found = getattr(module, class_name, None)
    if isinstance(found, type):
        return found
    classes = [key for key, _ in inspect.getmembers(module, inspect.isclass) if key[0] != "_"]
    raise SpaceError(
        f"space {name!r}: module {module.__name__!r} has no class {class_name!r}; "
        f"its classes are {', '.join(classes) or '(none)'}.{did_you_mean(class_name, classes)}"
    )

"""Search spaces: configurations, and the models they build.

Importing this package and its spaces does not import Keras; building a model does.
"""

import importlib
import inspect
import os
import sys
from importlib.util import find_spec
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
    """Anything with a `build` method, such as any KerasTuner `HyperModel`.

    Optional: `training(hp)`, returning a `TrainingConfig`; `describe(params)`, returning one line.
    The built-in spaces also have `baselines` and `default`, the configurations to try first.
    """

    def build(self, hp: Any) -> Any:
        """Build a Keras model, asking `hp` (KerasTuner's `HyperParameters`) for each choice."""


def load_space(name: str) -> Space:
    """Create a space by name.

    Args:
        name: A key of `SPACES`, or `package.module:ClassName` of a class that needs no arguments;
            modules in the current directory are found too.

    Raises:
        SpaceError: The space does not exist, or cannot be imported or created.
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
    except Exception as error:  # user code may raise anything
        raise SpaceError(
            f"space {name!r}: {class_name}() raised {one_line(error, typed=True)}; "
            "make it work without arguments."
        ) from error
    if not callable(getattr(space, "build", None)):
        raise SpaceError(f"space {name!r}: {class_name} has no method build(hp); add one.")
    return space


def first_configurations(name: str) -> dict[str, dict[str, Any]]:
    """Return the configurations that a search of a built-in space tries first.

    Args:
        name: As for `load_space`. A user's space has none: loading it here could import TensorFlow,
            so only its module is looked for.

    Returns:
        Hyperparameter values by name of the configuration: the baselines, then `default`.

    Raises:
        SpaceError: The built-in space or the user's module does not exist.
    """
    if ":" in name:
        _refuse_missing_module(name)
        return {}
    space: Any = load_space(name)
    configs = space.baselines | {"default": space.default}
    return {label: config.params() for label, config in configs.items()}


def look_in_current_directory() -> None:
    """Make modules in the current directory importable, as they are for a script there."""
    # Last on the path, so that a file there cannot hide one of our modules.
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())


def _import(name: str, module_name: str) -> ModuleType:
    look_in_current_directory()
    try:
        return importlib.import_module(module_name)
    except Exception as error:  # user code may raise anything
        raise SpaceError(
            f"space {name!r}: cannot import module {module_name!r} from {os.getcwd()} or the "
            f"Python path: {one_line(error, typed=True)}."
        ) from error


def _refuse_missing_module(name: str) -> None:
    look_in_current_directory()
    package = name.partition(":")[0].partition(".")[0]
    if not package or (package not in sys.modules and find_spec(package) is None):
        load_space(name)  # says why it fails


def _find_class(name: str, module: ModuleType, class_name: str) -> type[Space]:
    found = getattr(module, class_name, None)
    if isinstance(found, type):
        return found
    classes = [key for key, _ in inspect.getmembers(module, inspect.isclass) if key[0] != "_"]
    raise SpaceError(
        f"space {name!r}: module {module.__name__!r} has no class {class_name!r}; "
        f"its classes are {', '.join(classes) or '(none)'}.{did_you_mean(class_name, classes)}"
    )

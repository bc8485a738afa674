"""Search spaces: configurations, and the models they build.

Importing this package and its spaces does not import Keras; building a model does.
"""

import importlib
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final, Protocol, Self, cast

from spaces.errors import SpaceError, did_you_mean, one_line

__all__ = [
    "DEFAULT",
    "SPACES",
    "DataShape",
    "PixelStatistics",
    "Space",
    "SpaceError",
    "check_space",
    "description",
    "first_configurations",
    "load_space",
    "look_in_current_directory",
    "published_configurations",
]

# Of a space, alone or as module:NAME, as a study stores it.
SPACE_NAME: Final = re.compile(r"[\w.][\w.-]*(:\w+)?")
DEFAULT: Final = "default"  # the configuration that answers every question with its default
SPACES: Final = {"cnn": "spaces.cnn:CnnSpace", "mlp": "spaces.mlp:MlpSpace"}


def _is_within(lowest: float, highest: float, value: Any) -> bool:
    return type(value) in (int, float) and lowest <= value <= highest


@dataclass(frozen=True, slots=True)
class PixelStatistics:
    """Statistics of the pixels of the training part, in [0, 1], that networks may use.

    Args:
        mean: Mean of each channel.
        deviation: Standard deviation of each channel.
        patches: Covariance of the 4 x channels values of a patch of 2x2 pixels, over the patches
            that are not constant; None: not known, as in studies of earlier versions, whose
            networks cannot be whitened.
        normalized: Whether networks subtract the mean and divide by the deviation.

    Raises:
        ValueError: The numbers cannot be those of images.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    patches: tuple[tuple[float, ...], ...] | None = None
    normalized: bool = True

    def __post_init__(self) -> None:
        channels = len(self.mean)
        if (
            not channels
            or len(self.deviation) != channels
            or not all(_is_within(0, 1, value) for value in (*self.mean, *self.deviation))
            or not isinstance(self.normalized, bool)
        ):
            raise ValueError("mean and deviation are not numbers in [0, 1], one for each channel")
        if self.patches is not None and (
            [len(row) for row in self.patches] != [4 * channels] * (4 * channels)
            or not all(_is_within(-1, 1, value) for row in self.patches for value in row)
            or any(row[index] < 0 for index, row in enumerate(self.patches))
            or self.patches != tuple(zip(*self.patches, strict=True))
        ):
            raise ValueError("patches are not the covariance of 4 x channels numbers in [0, 1]")

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Self:
        """Read what `facts` has written, or an earlier version, which stored no patches.

        Raises:
            ValueError: They cannot be those of images.
            TypeError: They are no statistics at all.
        """
        patches = facts.get("patches")
        return cls(
            tuple(facts["mean"]),
            tuple(facts["deviation"]),
            None if patches is None else tuple(map(tuple, patches)),
            facts.get("normalized", True),
        )

    @property
    def facts(self) -> dict[str, Any]:
        """These statistics as JSON values."""
        facts: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return facts


@dataclass(frozen=True, slots=True)
class DataShape:
    """Facts about the data that a space needs.

    Args:
        image_shape: Height, width and channels of an image.
        classes: Number of classes; 2 or more.
        mirror: Whether an image that is mirrored left-right still belongs to its class; None: not
            known, so that a search tries both.
        pixels: Statistics by which a network normalizes and whitens its images; None: neither.
    """

    image_shape: tuple[int, int, int]
    classes: int
    mirror: bool | None = None
    pixels: PixelStatistics | None = None

    @property
    def knows_patches(self) -> bool:
        """Whether networks can be whitened."""
        return self.pixels is not None and self.pixels.patches is not None


class Space(Protocol):
    """Anything with a `build` method, such as any KerasTuner `HyperModel`.

    Optional: `training(hp)`, returning a `TrainingConfig`; `describe(params)`, returning one line.
    Whatever else a user's class has under these names is ignored.
    The built-in spaces also have `portfolio`, the configurations to try first, and `baselines`.
    """

    def build(self, hp: Any) -> Any:
        """Build a Keras model, asking `hp` (KerasTuner's `HyperParameters`) for each choice."""


@dataclass(frozen=True, slots=True)
class FunctionSpace:
    """A space that is only a function `build(hp)`, KerasTuner's shortest form."""

    build: Callable[[Any], Any]


def load_space(name: str, data: DataShape) -> Space:
    """Load a space by name.

    Args:
        name: A key of `SPACES`; or `package.module:NAME` of a class, of an instance, or of a
            function `build(hp)`. Modules in the current directory are found too.
        data: What it is for. A class gets it as `image_shape`, `classes`, `mirror` and `pixels`,
            if it has parameters of these names, and no other arguments.

    Raises:
        SpaceError: The space does not exist, cannot be imported or created, or is not for such
            data.
    """
    module_name, attribute = _target(name)
    space = _find(name, _import(name, module_name), attribute)
    if isinstance(space, type):
        try:
            space = space(**_arguments(space, data))
        except SpaceError:  # its message is complete
            raise
        except (Exception, SystemExit) as error:  # user code may raise anything
            raise SpaceError(
                f"space {name!r}: {attribute}() raised {one_line(error, typed=True)}; "
                "make it work without arguments, or with image_shape and classes."
            ) from error
    elif callable(space) and not hasattr(space, "build"):
        space = FunctionSpace(space)
    if not callable(getattr(space, "build", None)):
        raise SpaceError(f"space {name!r}: {attribute} has no method build(hp); add one.")
    return cast(Space, space)


def _target(name: str) -> tuple[str, str]:
    """Return the module of a space and its name in it."""
    module_name, colon, attribute = SPACES.get(name, name).partition(":")
    if not colon or not module_name or not attribute:
        raise SpaceError(
            f"space {name!r} is unknown; use {' or '.join(SPACES)}, or your own as "
            f"package.module:NAME of a class or a function.{did_you_mean(name, SPACES)}"
        )
    if not SPACE_NAME.fullmatch(f"{module_name}:{attribute}"):
        raise SpaceError(
            f"space {name!r} has characters that a study does not store; use letters, digits, "
            "'_', '.' and '-' in the name of the module, with no '-' first, and letters, digits "
            "and '_' after the colon. Rename the file or the class."
        )
    return module_name, attribute


def _arguments(space: type[Any], data: DataShape) -> dict[str, Any]:
    known = {part.name: getattr(data, part.name) for part in fields(data)}
    try:
        asked = inspect.signature(space).parameters
    except (TypeError, ValueError):  # a class of C code may hide its own
        return {}
    return {key: value for key, value in known.items() if key in asked}


def description(space: Space, params: Mapping[str, Any]) -> str | None:
    """Return a network in words; None if its space cannot describe it."""
    try:
        words = space.describe(params)  # type: ignore[attr-defined]
    except (Exception, SystemExit):  # user code may raise anything; old studies may lack values
        return None
    return words if isinstance(words, str) else None


def check_space(name: str) -> None:
    """Check that there is a space of this name, without running code of the user.

    Args:
        name: As for `load_space`.

    Raises:
        SpaceError: The built-in space or the user's module does not exist.
    """
    module_name, _ = _target(name)
    if ":" not in name:
        return
    look_in_current_directory()
    package = module_name.partition(".")[0]
    if package not in sys.modules and find_spec(package) is None:
        _import(name, module_name)  # says why it fails


def first_configurations(name: str, data: DataShape) -> dict[str, dict[str, Any]]:
    """Return the strong configurations that a search of a space tries first.

    Args:
        name: As for `load_space`. A user's space has none: loading it here could import TensorFlow.
        data: As for `load_space`.

    Returns:
        Hyperparameter values by name of the configuration, `default` first.

    Raises:
        SpaceError: There is no such space, or it is not for such images.
    """
    return _named_configurations(name, data, "portfolio")


def published_configurations(name: str, data: DataShape) -> dict[str, dict[str, Any]]:
    """Return the published systems of a space that are for such data, by name.

    Some have values that are never sampled.
    """
    return _named_configurations(name, data, "baselines")


def _named_configurations(name: str, data: DataShape, attribute: str) -> dict[str, dict[str, Any]]:
    if ":" in name:
        return {}
    return {
        key: one.params(data) for key, one in getattr(load_space(name, data), attribute).items()
    }


def look_in_current_directory() -> None:
    """Make modules in the current directory importable, as they are for a script there."""
    # Last on the path, so that a file there cannot hide one of our modules.
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())


def _import(name: str, module_name: str) -> ModuleType:
    look_in_current_directory()
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # user code may raise anything
        raise SpaceError(
            f"space {name!r}: cannot import module {module_name!r} from {os.getcwd()} or the "
            f"Python path: {one_line(error, typed=True)}."
        ) from error


def _find(name: str, module: ModuleType, attribute: str) -> object:
    if hasattr(module, attribute):
        return getattr(module, attribute)
    known = [
        key
        for key, value in vars(module).items()
        if key[0] != "_"
        and getattr(value, "__module__", None) == module.__name__
        and callable(value)
    ]
    raise SpaceError(
        f"space {name!r}: module {module.__name__!r} has no {attribute!r}; its classes and "
        f"functions are {', '.join(known) or '(none)'}.{did_you_mean(attribute, known)}"
    )

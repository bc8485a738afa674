"""`best_config.json`: what a report writes beside a model, and how pictures become its input."""

import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from predicting.archive import ModelError
from search.data.classes import FASHION_CLASSES, MAX_LETTERS
from search.data.dataset import MOST_CLASSES, Dataset
from search.files import read_limited
from spaces.errors import one_line, shown

CONFIG_FILE: Final = "best_config.json"
MAX_MEGABYTES: Final = 4
MAX_SIDE: Final = 1024

# `frame`: find the object and put it, bright, on black. `resize`: resize the whole picture.
Preprocessing = Literal["frame", "resize"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What a model was trained on.

    Args:
        dataset: Name of the data set.
        image_shape: Height, width and channels (1 or 3) of an image.
        class_names: Names of the classes, in the order of the model's outputs. They may hold any
            letters: escape them on a terminal.
        preprocessing: How a picture becomes such an image.
        image_size: What `--image-size` was, to open the data set again; None: it was not given.
    """

    dataset: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    image_size: int | None = None


# For a model without `best_config.json`, and for reports of earlier versions, which knew no other
# data.
DEFAULT: Final = ModelConfig(
    dataset="fashion_mnist",
    image_shape=(28, 28, 1),
    class_names=FASHION_CLASSES,
    preprocessing="frame",
)


def dataset_facts(dataset: Dataset) -> dict[str, Any]:
    """Return the part of `best_config.json` that `read_config` reads; `mirror` is for people."""
    preprocessing: Preprocessing = "frame" if dataset.is_fashion_mnist else "resize"
    facts = {
        "name": dataset.name,
        "image_shape": list(dataset.image_shape),
        "class_names": list(dataset.class_names),
        "mirror": dataset.mirror,
        "image_size": dataset.source.get("image_size"),
    }
    return {"dataset": facts, "preprocessing": preprocessing}


def read_config(model: Path) -> ModelConfig:
    """Read the `best_config.json` beside a model; it may come from anybody, so all is checked.

    Returns:
        What it says; `DEFAULT` if there is none, or one of an earlier version.

    Raises:
        ModelError: The file cannot be read, or a value in it breaks a rule.
    """
    file = model.with_name(CONFIG_FILE)
    content = read_content(file)
    if content is None or "dataset" not in content:
        return DEFAULT
    facts = content["dataset"]
    if not isinstance(facts, Mapping):
        raise _broken(file, "dataset", facts, "an object")
    preprocessing = content.get("preprocessing")
    for name, value, allowed, rule in (
        ("name", facts.get("name"), _is_text, f"text of 1 to {MAX_LETTERS} letters"),
        (
            "image_shape",
            facts.get("image_shape"),
            _is_shape,
            f"height and width from 1 to {MAX_SIDE:,}, and 1 or 3 channels",
        ),
        (
            "class_names",
            facts.get("class_names"),
            _are_names,
            f"2 to {MOST_CLASSES} different texts of 1 to {MAX_LETTERS} letters",
        ),
        (
            "image_size",
            facts.get("image_size"),
            _is_size_or_none,
            f"null, or a whole number from 1 to {MAX_SIDE:,}",
        ),
        ("preprocessing", preprocessing, _is_preprocessing, "frame or resize"),
    ):
        if not allowed(value):
            raise _broken(file, name, value, rule)
    height, width, channels = facts["image_shape"]
    if preprocessing == "frame" and channels != 1:
        raise _broken(file, "preprocessing", preprocessing, "resize for images in colour")
    return ModelConfig(
        dataset=facts["name"],
        image_shape=(height, width, channels),
        class_names=tuple(facts["class_names"]),
        preprocessing="frame" if preprocessing == "frame" else "resize",
        image_size=facts.get("image_size"),
    )


def read_content(file: Path) -> Mapping[str, Any] | None:
    """Return the object in a `best_config.json`, unchecked; None if there is no file.

    Raises:
        ModelError: The file cannot be read, or holds no object.
    """
    try:
        text = read_limited(file, MAX_MEGABYTES * 10**6)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(file, str(error.strerror)) from error
    except ValueError as error:
        raise _unreadable(file, str(error)) from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(file, f"it is not valid JSON: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise _unreadable(file, "it holds no JSON object")
    return content


def _unreadable(file: Path, why: str) -> ModelError:
    return ModelError(
        f"cannot read {shown(file)} ({why}). Copy it again from the report of the model; without "
        "it, the model is taken for one of Fashion-MNIST."
    )


def _broken(file: Path, name: str, value: Any, rule: str) -> ModelError:
    return ModelError(
        f"{shown(file)} cannot be used: {name} is {shown(reprlib.repr(value))}; it must be {rule}. "
        "Copy it again from the report of the model."
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_LETTERS


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(map(_is_size, value))
        and value[2] in (1, 3)
    )


def _is_size(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_SIDE


def _is_size_or_none(value: Any) -> bool:
    return value is None or _is_size(value)


def _are_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 2 <= len(value) <= MOST_CLASSES
        and all(map(_is_text, value))
        and len(set(value)) == len(value)
    )


def _is_preprocessing(value: Any) -> bool:
    return value in ("frame", "resize")

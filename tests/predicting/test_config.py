"""`best_config.json` beside a model: obeyed if it is sound, refused in one line if it is not."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from predicting.archive import ModelError
from predicting.config import DEFAULT, read_config

SOUND: dict[str, Any] = {
    "space": "cnn",
    "dataset": {
        "name": "soil",
        "image_shape": [20, 30, 3],
        "class_names": ["moss", "sand", "line\nbreak \x1b[31m \ud83d"],
        "mirror": None,
        "image_size": 64,
    },
    "preprocessing": "resize",
}


def written(folder: Path, content: object) -> Path:
    """The path of a model beside a file with this content."""
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "best_config.json").write_text(text)
    return folder / "m.keras"


def test_a_sound_file_is_obeyed(tmp_path: Path) -> None:
    found = read_config(written(tmp_path, SOUND))
    assert found.dataset == "soil"
    assert found.image_shape == (20, 30, 3)
    assert found.class_names == tuple(SOUND["dataset"]["class_names"])
    assert found.image_size == 64
    assert found.preprocessing == "resize"


def test_without_a_file_or_with_one_of_an_earlier_version_it_is_fashion_mnist(
    tmp_path: Path,
) -> None:
    assert read_config(tmp_path / "m.keras") is DEFAULT
    assert read_config(written(tmp_path, {"space": "cnn", "trial": 3})) is DEFAULT


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "name": ({"name": 7}, r"name is 7; it must be text of 1 to 255 letters"),
    "empty name": ({"name": ""}, r"name is ''; it must be text"),
    "no shape": ({"image_shape": None}, r"image_shape is None; it must be height and width"),
    "two sizes": ({"image_shape": [20, 30]}, r"image_shape is \[20, 30\]; it must be"),
    "channels": ({"image_shape": [20, 30, 4]}, r"from 1 to 1,024, and 1 or 3 channels"),
    "no pixels": ({"image_shape": [0, 30, 3]}, r"image_shape is \[0, 30, 3\]"),
    "pixels": ({"image_shape": [10**9, 1, 3]}, r"image_shape is \[1000000000, 1, 3\]"),
    "fractions": ({"image_shape": [20.0, 30, 3]}, r"image_shape is \[20\.0, 30, 3\]"),
    "truth": ({"image_shape": [True, 30, 3]}, r"image_shape is \[True, 30, 3\]"),
    "one class": ({"class_names": ["moss"]}, r"class_names is \['moss'\]; it must be 2 to 256"),
    "twice": ({"class_names": ["moss", "moss"]}, r"2 to 256 different texts of 1 to 255 letters"),
    "numbers": ({"class_names": [1, 2]}, r"class_names is \[1, 2\]"),
    "classes": ({"class_names": [str(one) for one in range(300)]}, r"class_names is \['0', .*\.\."),
    "long": ({"class_names": ["a" * 300, "b"]}, r"class_names is \['aaa.*\.\.\..*a', 'b'\]"),
    "codes": ({"class_names": "\x1b[31m\n"}, r"class_names is '\\x1b\[31m\\n'"),
    "size": ({"image_size": 0}, r"image_size is 0; it must be null, or a whole number from 1"),
    "list": ([1], r"dataset is \[1\]; it must be an object"),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_rule_is_one_line(tmp_path: Path, case: str) -> None:
    changed, said = BROKEN[case]
    dataset = SOUND["dataset"] | changed if isinstance(changed, dict) else changed
    model = written(tmp_path, SOUND | {"dataset": dataset})
    with pytest.raises(ModelError, match=said) as raised:
        read_config(model)
    message = str(raised.value)
    assert "best_config.json cannot be used: " in message
    assert message.endswith(" Copy it again from the report of the model.")
    assert message.isprintable()
    assert len(message) < 1000


@pytest.mark.parametrize("value", [None, "crop", ["resize"], {"resize": 1}])
def test_unknown_preprocessing_is_one_line(tmp_path: Path, value: object) -> None:
    model = written(tmp_path, SOUND | {"preprocessing": value})
    with pytest.raises(ModelError, match=r"preprocessing is .*; it must be frame or resize\."):
        read_config(model)


def test_objects_are_not_looked_for_in_colour(tmp_path: Path) -> None:
    model = written(tmp_path, SOUND | {"preprocessing": "frame"})
    with pytest.raises(ModelError, match="it must be resize for images in colour"):
        read_config(model)


def folder(file: Path) -> None:
    file.mkdir()


def large(file: Path) -> None:
    file.write_bytes(b" " * 4_000_001)


UNREADABLE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "text": (lambda file: file.write_text("hello"), r"it is not valid JSON: Expecting value"),
    "empty": (lambda file: file.write_text(""), r"it is not valid JSON"),
    "bytes": (lambda file: file.write_bytes(b"\xff\xfe\xfa"), r"it is not valid JSON"),
    "deep": (lambda file: file.write_text("[" * 100_000), r"it is not valid JSON"),
    "digits": (lambda file: file.write_text("9" * 10_000), r"it is not valid JSON"),
    "list": (lambda file: file.write_text("[]"), r"it holds no JSON object"),
    "large": (large, r"it is larger than 4 MB"),
    "folder": (folder, r"it is a folder"),
    "pipe": (os.mkfifo, r"it is a named pipe"),
    "device": (lambda file: file.symlink_to("/dev/zero"), r"it is a device"),
    "circle": (lambda file: file.symlink_to(file.name), r"Too many levels of symbolic links"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, case: str) -> None:
    make, why = UNREADABLE[case]
    make(tmp_path / "best_config.json")
    with pytest.raises(ModelError, match=rf"^cannot read .*best_config\.json \({why}") as raised:
        read_config(tmp_path / "m.keras")
    assert str(raised.value).isprintable()

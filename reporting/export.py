"""`best_model.keras` in the formats of other programs."""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from search.errors import SettingsError
from search.study.provenance import install_command
from spaces import DataShape
from spaces.errors import did_you_mean, one_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format that `keras.Model.export` writes.

    Args:
        help: Phrase for `--help` and the documentation.
        ending: Ending of the file's name.
        packages: What Keras imports to write it, beside TensorFlow.
    """

    help: str
    ending: str
    packages: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """Its packages that are not installed."""
        return [package for package in self.packages if find_spec(package) is None]


FORMATS: Final = {
    "onnx": Format(
        help="for ONNX Runtime, needs onnx and tf2onnx",
        ending=".onnx",
        packages=("onnx", "tf2onnx"),
    ),
    "litert": Format(help="for LiteRT, on phones and small devices", ending=".tflite"),
}


def check_formats(names: Sequence[str]) -> None:
    """Check the formats of `--export`.

    Raises:
        SettingsError: One is unknown, or a package of it is not installed.
    """
    for name in names:
        if name not in FORMATS:
            raise SettingsError(
                f"--export {name!r} is unknown; use one or more of {', '.join(FORMATS)}, with "
                f"commas between.{did_you_mean(name, FORMATS)}"
            )
        if missing := FORMATS[name].missing:
            raise SettingsError(
                f"--export {name} needs packages that are not installed: "
                f"{install_command(missing)}."
            )


def export(model: Path, formats: Sequence[str], data: DataShape) -> list[str]:
    """Write a model beside its file in other formats.

    Args:
        model: A `.keras` file.
        formats: Keys of `FORMATS`.
        data: What its images look like.

    Returns:
        Which files could not be written, and why: a converter may not know a layer of the user's.
    """
    from search.training.saving import load_saved

    # Operations that they cannot write are reported in the result.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    failed = []
    for name in formats:
        file = model.with_suffix(FORMATS[name].ending)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of Keras and its converters, for themselves
                load_saved(model, data).export(file, format=name, verbose=False)
            if name == "onnx":
                _check_onnx(file)
        except Exception as error:  # converters raise anything
            file.unlink(missing_ok=True)
            failed.append(f"{file.name} cannot be written, {one_line(error, typed=True)}")
    return failed


def _check_onnx(file: Path) -> None:
    """Refuse a file that no program can run: tf2onnx only logs an operation that it cannot write.

    Raises:
        ValueError: It has an operation that ONNX does not know.
    """
    import onnx

    try:
        onnx.checker.check_model(onnx.load(file))
    except onnx.checker.ValidationError as error:
        raise ValueError(str(error).splitlines()[0]) from error

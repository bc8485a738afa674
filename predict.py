#!/usr/bin/env python
"""Classify image files with the model that a search found: `python predict.py shoe.jpg`."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from search.command_line import (
    Parser,
    add_flags,
    called,
    check_flags,
    flag,
    prepare_process,
    print_error,
    read_flags,
)
from search.errors import SearchError, SettingsError
from search.escape import escaped

if TYPE_CHECKING:
    from search.data.files import Bytes

DEMO_IMAGES: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictSettings:
    """The flags of `predict.py`; each field is described by the help of its flag.

    Raises:
        SettingsError: A value cannot be used, or two do not go together; the message names the
            flag.
    """

    demo: bool = flag("--demo", False, f"classify the first {DEMO_IMAGES} test images; draw a grid")
    json: bool = flag("--json", False, "print one JSON list with an object per image")
    model: Path | None = flag(
        "--model",
        None,
        "a .keras file",
        metavar="FILE",
        shown_default="the model of the newest report",
    )
    results_dir: Path = flag(
        "--results-dir", Path("results"), "folder of the studies", metavar="DIR"
    )
    data_dir: Path | None = flag(
        "--data-dir", None, "with --demo: folder of the IDX files", metavar="DIR"
    )
    output: Path | None = flag(
        "--output",
        None,
        "with --demo: PNG file of the grid",
        metavar="FILE",
        shown_default="predictions.png",
    )

    def __post_init__(self) -> None:
        check_flags(self)
        for name, value in (("--output", self.output), ("--data-dir", self.data_dir)):
            if value is not None and not self.demo:
                raise SettingsError(f"{name} is {value}, but there is no --demo; add it.")
        if self.grid.suffix.lower() != ".png":
            raise SettingsError(f"--output is {self.grid}; the grid is a PNG file: name it *.png.")
        if not self.grid.parent.is_dir():
            raise SettingsError(f"--output is {self.grid}, but its folder does not exist; make it.")

    @property
    def grid(self) -> Path:
        """Path of the grid of `--demo`."""
        return self.output or Path("predictions.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the images, classify them, print the predictions.

    Returns:
        0 if every image was classified; 2 after any error; 130 after Ctrl-C.
    """
    prepare_process()
    parsed = make_parser().parse_args(arguments)
    try:
        settings = read_flags(PredictSettings, parsed)
        if settings.demo == bool(parsed.images):
            raise SettingsError("name image files or folders, or use --demo, but not both.")
        return _predict(settings, parsed.images)
    except KeyboardInterrupt:
        return 130
    except (SearchError, OSError) as error:
        print_error("predict.py", error)
        return 2


def make_parser() -> Parser:
    """Return the parser of the command."""
    parser = Parser(
        prog=called("predict.py"),
        description="Classify image files into Fashion-MNIST's ten classes with the best model.",
        epilog="Images may have any size, colours, transparency, EXIF rotation, and a light or "
        "dark background; best is one object on a plain background. They are converted to the "
        "data set's form: grey, inverted if the background (the median of the border's pixels) is "
        "light, background black, intensities stretched, edges within 5 % of the background "
        "trimmed, longest edge resized to 28 pixels, centred. A file of 28x28 pixels is only "
        "inverted, if its background is light. The exit code is 2 if an image cannot be read; the "
        "others are still classified.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "images", nargs="*", type=Path, metavar="IMAGE", help="image file, or folder of image files"
    )
    add_flags(parser, PredictSettings)
    return parser


def _predict(settings: PredictSettings, paths: Sequence[Path]) -> int:
    # Heavy imports come after the flags: --help and a wrong flag answer at once.
    from predicting import predict
    from predicting.model import check_model_file, newest_model
    from predicting.prediction import as_records, as_table, draw_grid

    model = settings.model or newest_model(settings.results_dir)
    check_model_file(model)
    true_classes, errors = None, 0
    if settings.demo:
        images, names, true_classes = _demo_images(settings.data_dir)
    else:
        images, names, errors = _read_images(paths)
    if names:
        print(escaped(f"model: {model}"), file=sys.stderr)
    predictions = predict(images, model)
    if settings.json:
        print(json.dumps(as_records(names, predictions, true_classes), indent=2))
    elif names:
        print(as_table(names, predictions, true_classes))
    if true_classes is not None:
        pairs = zip(predictions, true_classes, strict=True)
        right = sum(prediction.class_name == true_class for prediction, true_class in pairs)
        title = f"{right} of {len(true_classes)} test images right"
        settings.grid.write_bytes(draw_grid(images, predictions, true_classes, title))
        print(f"{title}; grid: {settings.grid.resolve()}", file=sys.stderr)
    return 2 if errors else 0


def _read_images(paths: Sequence[Path]) -> tuple["list[Bytes]", list[str], int]:
    """Read image files, and those in folders; print an error for each that cannot be read.

    Returns:
        (28, 28) uint8 images, their paths, and the number of errors.
    """
    from predicting.images import SUFFIXES, ImageError, load_image

    images, names, errors = [], [], 0
    for path in paths:
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
            if not files:
                kinds = " ".join(SUFFIXES)
                print_error(
                    "predict.py", f"folder {path} has no image file ({kinds}); name another one."
                )
                errors += 1
        for file in files:
            try:
                images.append(load_image(file))
                names.append(str(file))
            except ImageError as error:
                print_error("predict.py", error)
                errors += 1
    return images, names, errors


def _demo_images(data_dir: Path | None) -> tuple["list[Bytes]", list[str], list[str]]:
    """Return the first test images, their names and their true classes."""
    from reporting.scoring import IMAGES_FILE, load_test_split
    from search.data.classes import CLASS_NAMES
    from search.data.files import find_data

    split = load_test_split(find_data(data_dir))
    images, labels = split.images[:DEMO_IMAGES], split.labels[:DEMO_IMAGES]
    names = [f"{IMAGES_FILE}[{index}]" for index in range(len(images))]
    return list(images), names, [CLASS_NAMES[label] for label in labels]


if __name__ == "__main__":
    sys.exit(main())

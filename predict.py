#!/usr/bin/env python
"""Classify image files with the model that a search found: `python predict.py shoe.jpg`."""

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from search.command_line.common_flags import results_dir_flag
from search.command_line.flags import check_flags, flag
from search.command_line.parser import Parser, add_flags, called, print_error, read_flags
from search.command_line.process import prepare_process
from search.errors import SearchError, SettingsError
from spaces.errors import shown

if TYPE_CHECKING:
    from predicting.config import ModelConfig
    from search.data.dataset import Bytes, Dataset

DEMO_IMAGES: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictSettings:
    """The flags of `predict.py`; each field is described by the help of its flag.

    Raises:
        SettingsError: A value cannot be used, or two do not go together; the message names the
            flag.
    """

    demo: bool = flag("--demo", False, f"classify {DEMO_IMAGES} test images; draw a grid")
    json: bool = flag("--json", False, "print one JSON list with an object per image")
    model: Path | None = flag(
        "--model",
        None,
        "a .keras file",
        metavar="FILE",
        shown_default="the model of the newest report",
    )
    results_dir: Path = results_dir_flag()
    data: str | None = flag(
        "--data",
        None,
        "with --demo: data set of the test images",
        metavar="NAME|PATH",
        shown_default="that of the model, if it is one of the named data sets",
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
        for name, value in (("--output", self.output), ("--data", self.data)):
            if value is not None and not self.demo:
                raise SettingsError(f"{name} {value} needs --demo; add it, or leave {name} out.")
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
            both = ", but not both" if settings.demo else ""
            raise SettingsError(f"name image files or folders, or use --demo{both}.")
        return _predict(settings, parsed.images)
    except KeyboardInterrupt:
        return 130
    except (SearchError, OSError) as error:
        print_error("predict.py", shown(error))
        return 2


def make_parser() -> Parser:
    """Return the parser of the command."""
    parser = Parser(
        prog=called("predict.py"),
        description="Classify image files with the best model that a search found.",
        epilog="Images are PNG, JPEG, BMP, GIF, WebP, TIFF or AVIF files of at most 67 million "
        "pixels, 16,384 a side, and 200 MB. They are rotated only if an EXIF tag says so, then "
        "converted as best_config.json beside the model describes: the whole picture is resized to "
        "the size of the training images, in grey or colour. For a model of Fashion-MNIST (or "
        "without best_config.json), use one upright object on a plain background: the image is "
        "converted to grey; frames, bars and pages around a picture are stripped; a light "
        "background is inverted; the background becomes black; intensities are stretched; small "
        "things apart from the object and edges within 5 % of the background are trimmed; the "
        "longest edge is resized to 28 pixels; the object is centred. A file of 28x28 pixels is "
        "only inverted, if its background is light. Folders are read with their subfolders, "
        "without hidden files and links to folders. The exit code is 2 if an image cannot be read; "
        "the others are still classified.",
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
    from predicting.archive import check_model_file
    from predicting.config import read_config
    from predicting.model import newest_model
    from predicting.prediction import as_record, as_table, draw_grid

    model = settings.model or newest_model(settings.results_dir)
    check_model_file(model)
    config = read_config(model)
    records: list[dict[str, Any]] = []
    shown_images: list[Bytes] = []  # of --demo
    if settings.demo:
        records, shown_images = _demo(settings, config)
    images = shown_images if settings.demo else _read_images(paths, config, records)
    predictions = predict(images, model, config)
    readable = [record for record in records if "error" not in record]
    if readable:
        print(shown(f"model: {model}"), file=sys.stderr)
    names = [record["path"] for record in readable]
    true_classes = [record["true_class"] for record in readable] if settings.demo else None
    if settings.json:
        for record, prediction in zip(readable, predictions, strict=True):
            record.update(as_record(prediction))
        print(json.dumps(records, indent=2))
    elif names:
        print(as_table(names, predictions, true_classes))
    if true_classes is not None:
        pairs = zip(predictions, true_classes, strict=True)
        right = sum(prediction.class_name == true_class for prediction, true_class in pairs)
        title = f"{right} of {len(true_classes)} test images right"
        settings.grid.write_bytes(draw_grid(shown_images, predictions, true_classes, title))
        print(shown(f"{title}; grid: {settings.grid.resolve()}"), file=sys.stderr)
    return 2 if len(readable) < len(records) else 0


def _read_images(
    paths: Sequence[Path], config: "ModelConfig", records: list[dict[str, Any]]
) -> "Iterator[Bytes]":
    """Read image files, and those in folders; print each error and warning.

    Args:
        paths: Files and folders.
        config: What the model was trained on.
        records: Gets a JSON object per file, with its path and either an error or a warning, which
            may be None.

    Yields:
        The (height, width, channels) uint8 images of those without an error.
    """
    from predicting.images import ImageError, ImageWarning, load_image

    def refuse(path: str | Path, message: object) -> None:
        records.append({"path": str(path), "error": str(message)})
        print_error("predict.py", shown(message))

    for file in _files(paths, refuse):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ImageWarning)
            try:
                image = load_image(file, config)
            except ImageError as error:
                refuse(file, error)
                continue
        warning = next((str(said.message) for said in caught), None)
        records.append({"path": str(file), "warning": warning})
        if warning:
            print_error("predict.py", shown(f"warning: {warning}"))
        yield image


def _files(paths: Sequence[Path], refuse: Callable[[str | Path, object], None]) -> Iterator[Path]:
    """Find the files to read: those named, and the images in the named folders."""
    from predicting.images import list_folder

    for path in paths:
        if not os.path.isdir(path):  # unlike Path.is_dir, false for names that are too long
            yield path
            continue
        found = list_folder(path)
        for error in found.unreadable:
            place = error.filename
            refuse(
                place, f"cannot read the folder {place} ({error.strerror}); check its permissions."
            )
        yield from found.images
        if count := len(found.others):
            some = ", ".join(found.others[:3]) + (", ..." if count > 3 else "")
            line = f"skipped in folder {path}, not images: {some} ({count} in total)."
            print_error("predict.py", shown(line))
        if not found.images and not found.unreadable:
            refuse(path, f"folder {path} has no image file; name another one.")


def _demo(
    settings: PredictSettings, config: "ModelConfig"
) -> "tuple[list[dict[str, Any]], list[Bytes]]":
    """Return records like those of `_read_images`, with true classes, and some test images."""
    from reporting.scoring import load_test_split
    from search.data.formats import open_dataset
    from search.data.named import NAMES

    data = settings.data
    if data is None and config.dataset not in NAMES:
        # The file beside a model may come from anybody: it must not say which path to open.
        raise SettingsError(
            f"--demo needs --data: the model was trained on data set {config.dataset!r}; give its "
            "path."
        )
    dataset = open_dataset(
        data or config.dataset,
        image_size=config.image_size,
        cache=settings.results_dir / ".data",
        quiet=settings.json,
    )
    found = dataset.image_shape, dataset.class_names
    if found != (config.image_shape, config.class_names):
        raise SettingsError(
            f"--data is {data or config.dataset}, with {_in_words(*found)}; the model takes "
            f"{_in_words(config.image_shape, config.class_names)}. Name the data set that it was "
            "trained on."
        )
    test = load_test_split(dataset)
    chosen = _demo_indices(len(test), dataset)
    records = [
        {"path": f"test[{index}]", "true_class": dataset.class_names[test.labels[index]]}
        for index in chosen
    ]
    return records, [test.images[index] for index in chosen]


def _demo_indices(count: int, dataset: "Dataset") -> list[int]:
    """Return which test images the demo shows: the same ones each time, in their order."""
    import numpy as np

    if dataset.is_fashion_mnist:
        return list(range(min(count, DEMO_IMAGES)))
    # Other data may be sorted by class: the first images would all be of one.
    drawn = np.random.RandomState(0).permutation(count)[:DEMO_IMAGES]
    return sorted(drawn.tolist())


def _in_words(image_shape: tuple[int, int, int], class_names: Sequence[str]) -> str:
    size = "x".join(map(str, image_shape))
    some = ", ".join(class_names[:3]) + (", ..." if len(class_names) > 3 else "")
    return f"images of {size} and the {len(class_names)} classes {some}"


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python
"""Say what pictures show, with the model that a search found: `python predict.py shoe.jpg`."""

import argparse
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from search.command_line import Parser
from search.errors import SearchError

if TYPE_CHECKING:
    from search.data.files import Bytes

DEMO_IMAGES: Final = 25


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the images, ask the model, print what it says.

    Returns:
        0 when every image was classified, 2 after an error in any of them or in all, 130 after
        Ctrl-C.
    """
    flags = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file may have a name that is no text in the terminal's encoding.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _run(flags)
    except KeyboardInterrupt:
        return 130
    except (SearchError, OSError) as error:
        _complain(error)
        return 2


def _run(flags: argparse.Namespace) -> int:
    _check(flags)
    # Heavy imports come after the flags; TensorFlow's only once the files are found good.
    from predicting.prediction import check_model_file, newest_model, predict
    from predicting.table import as_records, print_table

    model = newest_model(flags.results_dir) if flags.model is None else flags.model
    check_model_file(model)
    truth, failures = None, 0
    if flags.demo:
        images, names, truth = _demo_images(flags.data_dir)
    else:
        images, names, failures = _read_images(flags.images)
    if not names:
        if flags.json:
            print("[]")
        return 2
    print(f"model: {model}", file=sys.stderr)
    predictions = predict(images, model)
    if flags.json:
        print(json.dumps(as_records(names, predictions, truth), indent=2))
    else:
        print_table(names, predictions, truth)
    if truth is not None:
        from predicting.grid import draw_prediction_grid

        pairs = zip(predictions, truth, strict=True)
        right = sum(said.class_name == true_class for said, true_class in pairs)
        title = f"{right} of {len(truth)} test images right"
        flags.output.write_bytes(draw_prediction_grid(images, predictions, truth, title))
        print(f"{title}; grid: {flags.output.resolve()}", file=sys.stderr)
    return 2 if failures else 0


def _check(flags: argparse.Namespace) -> None:
    if flags.demo and flags.images:
        raise SearchError("--demo takes its own images; give either --demo or images, not both.")
    if not flags.demo:
        if not flags.images:
            raise SearchError("no image given; name image files or a folder, or use --demo.")
        for flag, value in (("--output", flags.output), ("--data-dir", flags.data_dir)):
            if value is not None:
                raise SearchError(f"{flag} is {value}, but serves only --demo; leave it out.")
        return
    flags.output = flags.output or Path("predictions.png")
    if flags.output.suffix.lower() != ".png":
        raise SearchError(f"--output is {flags.output}; the grid is a PNG: name it *.png.")
    if not flags.output.parent.is_dir():
        raise SearchError(f"--output is {flags.output}, but its folder does not exist; make it.")


def _read_images(given: Sequence[Path]) -> tuple["list[Bytes]", list[str], int]:
    """Read what can be read; complain of the rest.

    Returns:
        (28, 28) uint8 images, their paths, and how many complaints there were.
    """
    from predicting.image_files import SUFFIXES, ImageError, load_image

    images, names, failures = [], [], 0
    for path in given:
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
            if not files:
                kinds = " ".join(SUFFIXES)
                _complain(f"folder {path} has no image ({kinds}); give one that has.")
                failures += 1
        for file in files:
            try:
                images.append(load_image(file))
                names.append(str(file))
            except ImageError as error:
                _complain(error)
                failures += 1
    return images, names, failures


def _demo_images(data_dir: Path | None) -> tuple["list[Bytes]", list[str], list[str]]:
    """The first test images, unselected, with names and true classes."""
    from reporting.test_split import IMAGES_FILE, load_test_split
    from search.data.classes import CLASS_NAMES
    from search.data.files import find_data

    split = load_test_split(find_data(data_dir))
    images, labels = split.images[:DEMO_IMAGES], split.labels[:DEMO_IMAGES]
    names = [f"{IMAGES_FILE}[{index}]" for index in range(len(images))]
    return list(images), names, [CLASS_NAMES[label] for label in labels]


def _complain(problem: object) -> None:
    print(f"predict: {problem}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="predict.py",
        description="Say which of Fashion-MNIST's ten classes pictures show, with the best model.",
        epilog="A picture may have any size, colours, transparency, EXIF rotation, and a light or "
        "dark background. It is given the data set's form: grey, inverted if the background (the "
        "median of the border's pixels) is light, background set to black, intensities stretched, "
        "edges within 5 % of the background trimmed, longest edge resized to 28 pixels, centred. A "
        "picture of 28x28 pixels is only inverted, if its background is light. Best is one object "
        "on a plain background. Exit code 2 if any picture could not be read; the others are "
        "classified all the same.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("images", nargs="*", type=Path, metavar="IMAGE", help="image file, or folder of them")
    add("--demo", action="store_true", help="the first 25 test images, as a labelled grid")
    add("--json", action="store_true", help="print one JSON list, an object for each image")
    add("--model", type=Path, metavar="PATH", help="a .keras file (default: the newest report's)")
    add(
        "--results-dir",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="where the newest */report/best_model.keras is looked for (default: %(default)s)",
    )
    add("--data-dir", type=Path, metavar="DIR", help="for --demo: folder of the data files")
    add(
        "--output",
        type=Path,
        metavar="FILE",
        help="for --demo: the grid, a PNG (default: predictions.png in the current directory)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

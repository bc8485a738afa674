"""Data sets of image files: FOLDER/CLASS/*.jpg, or FOLDER/{train,val,test}/CLASS/*.jpg."""

import statistics
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import joblib
import numpy as np
from rich.console import Console
from rich.progress import track

from search.command_line.flags import SMALLEST_SIDE
from search.data.cache import open_cached
from search.data.dataset import Bytes, Dataset, LabeledImages
from search.data.listing import Listing, list_folder, shorter_edge
from search.data.parts import DARK, Parts
from search.data.pictures import ImageError, open_picture, resized
from search.errors import DataError
from spaces.errors import one_line, shown

LARGEST_DEFAULT: Final = 96
_FEWEST: Final = 10  # images of a class
_MOST_UNREADABLE: Final = 0.05
_LISTED: Final = 10  # unreadable files that are named
_MOST_THREADS: Final = 8
_BATCH: Final = 512  # files
Result = TypeVar("Result")


def open_folder(
    root: Path, image_size: int | None, cache: Path | None, *, create: bool = True, quiet: bool
) -> Dataset:
    """Open a folder of image files; they are decoded once, into the cache.

    Args:
        root: The folder.
        image_size: Pixels a side to which images are resized; None: the median of their shorter
            edges, from 16 to 96.
        cache: As for `open_cached`.
        create: As there.
        quiet: Show no progress.

    Raises:
        DataError: There are no classes, too few images, or too many that cannot be read; or a
            folder cannot be read.
    """
    where = shown(root)
    with warnings.catch_warnings(action="ignore"):  # of large images
        listing = list_folder(root)
    return open_cached(
        cache,
        name=root.resolve().name or "images",
        where=where,
        key=f"folder {root.resolve()} {image_size}",
        stamp=listing.stamp(),
        read=partial(_read, listing, where, image_size, quiet),
        create=create,
    )


def _read(
    listing: Listing, where: str, image_size: int | None, quiet: bool, scratch: Path
) -> Parts:
    files = [listing.root / path for path in listing.files()]
    notes = _ignored(listing)
    with warnings.catch_warnings(action="ignore"):  # of large images and damaged EXIF tags
        if image_size is None:
            measured = _parallel(shorter_edge, files)
            measured = _shown(measured, len(files), f"measuring {where}", quiet)
            edges = [edge for edge in measured if edge is not None]
            median = statistics.median_low(edges) if edges else SMALLEST_SIDE
            image_size = min(max(median, SMALLEST_SIDE), LARGEST_DEFAULT)
            notes.append(
                f"images are resized to {image_size}x{image_size} pixels (the median of their "
                f"shorter edges is {median}; change it with --image-size)"
            )
        decode = partial(_decoded, side=image_size)
        decoded = _shown(_parallel(decode, files), len(files), f"decoding {where}", quiet)
        images, errors = _written(decoded, image_size, scratch / "images")
    notes += _unreadable_files(errors, len(files), where)
    labels = _label_all(listing)
    readable = np.array([index not in errors for index in range(len(files))])
    is_test = np.arange(len(files)) >= sum(map(len, listing.train.values()))
    of_test, of_train = is_test[readable], ~is_test[readable]
    labels = labels[readable]
    count = int(of_train.sum())
    highest = int(images[:count].max(initial=0))
    if 0 < highest < DARK:
        notes.append(
            f"the brightest pixel is {highest} of 255; grey of 16 bits is scaled by 65,535, so "
            "save images of 12 bits, say, with 8 bits instead"
        )
    if not count or (listing.test is not None and not of_test.any()):
        raise DataError(f"{where} has no image that can be read in its training or its test part.")
    return Parts(
        train=LabeledImages(images=images[:count], labels=labels[:count]),
        test=(
            None
            if listing.test is None
            else LabeledImages(images=images[count:], labels=labels[count:])
        ),
        class_names=tuple(map(shown, listing.train)),
        notes=tuple(notes),
        fewest=_FEWEST,
        once=True,
    )


def _ignored(listing: Listing) -> list[str]:
    notes = []
    if listing.others:
        notes.append(f"ignored files that are not images: {listing.others:,}")
    if listing.links:
        notes.append(f"links to folders, which are not followed: {len(listing.links):,}")
    if listing.ignored:
        names = ", ".join(map(shown, listing.ignored[:_LISTED]))
        notes.append(f"ignored folders, neither class nor part: {names}")
    return notes


def _label_all(listing: Listing) -> Bytes:
    known = {name: label for label, name in enumerate(listing.train)}
    labels = [
        np.full(len(paths), known[name], np.uint8)
        for part in (listing.train, listing.test or {})
        for name, paths in part.items()
    ]
    return np.concatenate(labels)


def _parallel(function: Callable[[Path], Result], files: Sequence[Path]) -> Iterator[Result]:
    """Apply a function to all files in threads (Pillow decodes without Python's lock)."""
    with ThreadPoolExecutor(min(joblib.cpu_count(), _MOST_THREADS)) as threads:
        # In batches: Ctrl-C waits for one batch, and few results are in memory.
        for start in range(0, len(files), _BATCH):
            yield from threads.map(function, files[start : start + _BATCH])


def _shown(results: Iterator[Result], count: int, words: str, quiet: bool) -> Iterator[Result]:
    """Show progress on standard error: a bar on a terminal, a line elsewhere."""
    console = Console(stderr=True, highlight=False)
    if quiet:
        yield from results
    elif console.is_terminal:
        yield from track(results, words, count, console=console, transient=True)
    else:
        print(f"{words}: {count:,} files", file=sys.stderr)  # noqa: T201
        yield from results


def _decoded(file: Path, side: int) -> Bytes | ImageError:
    try:
        return resized(open_picture(file), (side, side, 3))
    except ImageError as error:
        return error


def _written(
    decoded: Iterator[Bytes | ImageError], side: int, file: Path
) -> tuple[Bytes, dict[int, ImageError]]:
    """Write images to a file; return them, with one channel if none has colours, and the errors."""
    errors: dict[int, ImageError] = {}
    count, grey = 0, True
    with file.open("wb") as written:
        for index, image in enumerate(decoded):
            if isinstance(image, ImageError):
                errors[index] = image
                continue
            grey = grey and bool((image == image[..., :1]).all())
            written.write(image.tobytes())
            count += 1
    shape = (count, side, side, 3)
    images = np.memmap(file, np.uint8, "r", shape=shape) if count else np.zeros(shape, np.uint8)
    return images.view(np.ndarray)[..., : 1 if grey else 3], errors


def _unreadable_files(errors: dict[int, ImageError], count: int, where: str) -> list[str]:
    """Return a line for each file that cannot be read.

    Raises:
        DataError: They are more than 5 % of all.
    """
    messages = [one_line(error) for error in errors.values()]
    if len(errors) > _MOST_UNREADABLE * count:
        raise DataError(
            f"{where}: {len(errors):,} of {count:,} image files cannot be read, more than "
            f"{_MOST_UNREADABLE:.0%}; the first: {messages[0]}. Repair or remove them."
        )
    if len(messages) > _LISTED:
        messages[_LISTED:] = [f"and {len(messages) - _LISTED:,} more unreadable files"]
    return [f"left out: {message}" for message in messages]

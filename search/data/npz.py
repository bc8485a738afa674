"""Data sets in Keras' own .npz files: `x_train`, `y_train`, and perhaps `x_test`, `y_test`."""

import zipfile
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from search.command_line.flags import LARGEST_SIDE, SMALLEST_SIDE
from search.data.cache import open_cached
from search.data.classes import class_names
from search.data.dataset import Bytes, Dataset, LabeledImages, indices_of
from search.data.parts import DARK, Parts, check_class_count
from search.data.pictures import resized
from search.data.zipped import DAMAGED, Array, Member
from search.errors import DataError
from search.files import special_kind
from spaces.errors import one_line, shown

_ONE: Final = 1.001  # resizing rounds; 255 times this still rounds to 255
_TRAIN: Final = ("x_train", "y_train")
_TEST: Final = ("x_test", "y_test")
_MOST_BYTES: Final = 2**34  # unpacked: 16 GiB


def open_npz(
    path: Path, image_size: int | None, cache: Path | None, *, create: bool = True
) -> Dataset:
    """Open an .npz file, unpacking its arrays into the cache.

    Images are (n, height, width) or (n, height, width, 1 or 3). Floats from 0 to 1 are multiplied
    by 255 and rounded; numbers from 0 to 255 are rounded. Labels are integers, text, or one-hot
    rows. Class names are the lines of `classes.txt` beside the file, in the order of the sorted
    labels; else the labels themselves.

    Args:
        path: The file.
        image_size: Pixels a side of the images, which are resized; None: as they are, but at least
            16.
        cache: As for `open_cached`.
        create: As there.

    Raises:
        DataError: It cannot be read, or an array is missing or does not fit; the message says what.
    """
    where = shown(path)
    if (kind := special_kind(path)) is not None:
        raise DataError(f"{where} is {kind}; name an .npz file.")
    names = path.parent / "classes.txt"
    state = [
        (file.stat().st_size, file.stat().st_mtime_ns) for file in (path, names) if file.exists()
    ]
    return open_cached(
        cache,
        name=path.stem,
        where=where,
        key=f"npz {path.resolve()} {image_size}",
        stamp=str(state),
        read=partial(_read, path, where, image_size),
        create=create,
    )


def _read(path: Path, where: str, image_size: int | None, scratch: Path) -> Parts:
    try:
        opened = path.open("rb")
    except OSError as error:
        raise DataError(f"cannot read {where} ({error.strerror}); check the file.") from error
    try:
        with opened, zipfile.ZipFile(opened) as archive:
            return _parts(archive, path, where, image_size, scratch)
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a full disk
        raise DataError(
            f"cannot read {where} ({one_line(error)}). Save it again with numpy.savez_compressed("
            "file, x_train=..., y_train=..., x_test=..., y_test=...)."
        ) from error


def _parts(
    archive: zipfile.ZipFile, path: Path, where: str, image_size: int | None, scratch: Path
) -> Parts:
    members = archive.namelist()
    found = {name.removesuffix(".npy") for name in members if name.endswith(".npy")}
    wanted = _TRAIN + _TEST if found & set(_TEST) else _TRAIN
    if missing := [name for name in wanted if name not in found]:
        raise DataError(
            f"{where} has no {missing[0]}, but {_listed(found)}. It needs x_train and y_train and, "
            "if it has a test part, x_test and y_test."
        )
    size = sum(archive.getinfo(f"{name}.npy").file_size for name in wanted)
    if size > _MOST_BYTES:
        raise DataError(
            f"{where} is {size / 2**30:,.1f} GiB unpacked; at most {_MOST_BYTES / 2**30:.0f} GiB "
            "can be used. Save fewer or smaller images."
        )
    arrays = {name: Member(archive, name, where) for name in wanted}
    side = _check_shapes(arrays, image_size)
    labels = {name: _labels(arrays[name]) for name in wanted if name.startswith("y")}
    values = np.unique(labels["y_train"]).tolist()
    check_class_count(len(values), f"y_train in {where}")
    factors = {_factor(array) for name, array in arrays.items() if name.startswith("x")}
    if len(factors - {None}) > 1:
        raise DataError(
            f"{arrays['x_train']} and x_test are not scaled alike: one reaches 1, the other more. "
            "Scale both from 0 to 1, or both from 0 to 255."
        )
    factor = max(filter(None, factors), default=1)
    notes = ["pixels reach from 0 to 1: multiplied by 255"] if factor > 1 else []
    if side is not None:
        notes.append(f"images are resized to {side}x{side} pixels")

    def part(images: str, of_labels: str) -> LabeledImages:
        return LabeledImages(
            images=_images(arrays[images], factor, side, scratch / images),
            labels=indices_of(labels[of_labels], values),
        )

    train, test = part(*_TRAIN), part(*_TEST) if len(wanted) > 2 else None
    # Before images are enlarged, which overshoots.
    highest = round(_range(arrays["x_train"])[1] * factor)
    if 0 < highest < DARK:
        notes.append(
            f"the brightest pixel is {highest} of 255: if it is white, multiply all pixels by "
            f"255 / {highest}, or predictions for image files will be wrong"
        )
    return Parts(
        train=train,
        test=test,
        class_names=class_names(path.parent / "classes.txt", [shown(value) for value in values]),
        notes=tuple(notes),
        fewest=3 if test is None else 2,
    )


def _check_shapes(members: dict[str, Member], image_size: int | None) -> int | None:
    """Check all shapes; return the size to which images are resized, or None."""
    for name, member in members.items():
        if not member.shape or member.shape[0] == 0:
            raise DataError(f"{member} is empty: its shape is {member.shape}.")
        if name.startswith("x"):
            _check_image_shape(member)
            labels = members[name.replace("x", "y", 1)]
            if labels.shape and member.shape[0] != labels.shape[0]:
                raise DataError(
                    f"{member} has {member.shape[0]:,} images, but {labels.name} has "
                    f"{labels.shape[0]:,} labels; there must be one label for each image."
                )
    train = members["x_train"].shape[1:]
    test = members["x_test"].shape[1:] if "x_test" in members else train
    if train != test:
        raise DataError(
            f"{members['x_train']} has images of shape {train}, but x_test of shape {test}; "
            "they must be the same."
        )
    if image_size is None and max(train[:2]) > LARGEST_SIDE:
        raise DataError(
            f"{members['x_train']} has images of {train[0]}x{train[1]} pixels; at most "
            f"{LARGEST_SIDE} a side can be used. To resize them, add --image-size, for example "
            "--image-size 96."
        )
    if image_size is None and min(train[:2]) >= SMALLEST_SIDE:
        return None
    side = image_size or SMALLEST_SIDE
    return None if train[:2] == (side, side) else side


def _check_image_shape(member: Member) -> None:
    shape = member.shape
    if len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3)):
        if 0 in shape:
            raise DataError(f"{member} has images of 0 pixels: its shape is {shape}.")
        return
    hint = " Move the channels to the end (numpy.moveaxis(x, 1, -1))." if shape[1:2] == (3,) else ""
    raise DataError(
        f"{member} has the shape {shape}; it must be (n, height, width) or (n, height, width, 1 or "
        f"3).{hint}"
    )


def _labels(member: Member) -> Array:
    """Read labels: (n,) of integers or text, from (n,), (n, 1) or one-hot (n, k)."""
    labels = member.whole()
    if labels.ndim == 2 and labels.shape[1] > 1:
        if labels.dtype.kind not in "biuf" or not _is_one_hot(labels):
            raise DataError(
                f"{member} has the shape {labels.shape}, but is not one-hot: every row must have a "
                "single 1, and 0 elsewhere."
            )
        columns: Array = labels.argmax(axis=1)
        return columns
    if labels.ndim > 2 or labels.dtype.kind not in "biufUS":
        raise DataError(
            f"{member} is {labels.dtype}{labels.shape}; labels must be integers or text of shape "
            "(n,), or one-hot rows (n, classes)."
        )
    labels = labels.reshape(len(labels))
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or (labels != np.rint(labels)).any():
            raise DataError(f"{member} has labels that are not whole numbers; save it as integers.")
        return labels.astype(np.int64)
    if labels.dtype.kind == "S":
        return np.array([label.decode("utf-8", "backslashreplace") for label in labels.tolist()])
    return labels.astype(np.int64) if labels.dtype.kind == "b" else labels


def _is_one_hot(labels: Array) -> bool:
    return bool(np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all())


def _range(member: Member) -> tuple[float, float]:
    """Return the lowest and the highest pixel."""
    if member.dtype.kind not in "biuf":
        raise DataError(
            f"{member} is {member.dtype}; images must be integers from 0 to 255, or floats."
        )
    lowest, highest = zip(*((block.min(), block.max()) for block in member.blocks()), strict=True)
    bounds = float(np.min(lowest)), float(np.max(highest))
    if not np.isfinite(bounds).all():
        raise DataError(
            f"{member} has pixels that are not finite numbers (NaN or infinite). Replace them, or "
            "leave their images out."
        )
    return bounds


def _factor(member: Member) -> int | None:
    """Return the factor that pixels are multiplied by; None if all pixels are 0."""
    if member.dtype == np.uint8:
        return 1
    lowest, highest = _range(member)
    if lowest < 0 or highest > 255:
        raise DataError(
            f"{member} has pixels from {lowest:g} to {highest:g}; they must be from 0 to 255, or "
            "floats from 0 to 1. Scale them."
        )
    if highest == 0:
        return None
    if member.dtype.kind == "f" and _ONE < highest < 2:
        raise DataError(
            f"{member} has pixels up to {highest:g}, neither from 0 to 1 nor to 255. Clip them "
            "(x.clip(0, 1))."
        )
    return 255 if member.dtype.kind == "b" or (member.dtype.kind == "f" and highest <= _ONE) else 1


def _images(member: Member, factor: int, side: int | None, file: Path) -> Bytes:
    """Convert images to (n, height, width, channels) uint8, in a file."""
    height, width, *rest = member.shape[1:]
    channels = rest[0] if rest else 1
    with file.open("wb") as written:
        for block in member.blocks():
            numbers = block.astype(np.float32) * factor if factor > 1 else block
            rounded = numbers if numbers.dtype.kind in "iu" else np.rint(numbers)
            pixels: Bytes = rounded.astype(np.uint8).reshape(-1, height, width, channels)
            if side is not None:
                pixels = np.stack([_resized(image, side) for image in pixels])
            written.write(pixels.tobytes())
    shape = (member.shape[0], side or height, side or width, channels)
    return np.memmap(file, np.uint8, "r", shape=shape).view(np.ndarray)


def _resized(image: Bytes, side: int) -> Bytes:
    channels = image.shape[2]
    picture = Image.fromarray(image[..., 0] if channels == 1 else image)
    return resized(picture, (side, side, channels))


def _listed(names: set[str]) -> str:
    listed = [shown(name) for name in sorted(names)[:8]]
    return ", ".join(listed) + (" ..." if len(names) > 8 else "") if listed else "no arrays at all"

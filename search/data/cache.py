"""Cache of data sets: files that processes map into memory and share.

A folder `NAME-KEY-STAMP` holds `train-images.npy`, `train-labels.npy`, `test-images.npy`,
`test-labels.npy` and `facts.json`. It is written atomically. Changed files have another stamp, so
a search continues with the images that it began with.
"""

import atexit
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import numpy as np

from search.data.dataset import (
    MOST_CLASSES,
    Bytes,
    Dataset,
    LabeledImages,
    pixel_statistics,
)
from search.data.parts import Indices, Parts, choose
from search.errors import DataError
from search.files import is_locked, locked, read_limited, real_path, replace_folder
from spaces import PixelStatistics
from spaces.errors import one_line, shown

_VERSION: Final = 4  # of the conversion of files to arrays; a new version rebuilds the cache
_BUILDING: Final = ".building-"
_TEMPORARY: Final = "unpacked-images-"
_DAY: Final = 86_400.0  # seconds; an older partial folder was left by a killed process
_UNUSED: Final = 30 * _DAY  # after which a folder of an earlier state of the files is removed
_ROWS: Final = 512  # images that are copied at once


@dataclass(frozen=True, slots=True)
class CachedFiles:
    """The files of a folder of the cache; see `search.data.dataset.Files`.

    Args:
        directory: The folder.
        class_names: Names of the classes, in the order of the labels.
        test_fingerprint: Identifies the test part by content.
    """

    directory: Path
    class_names: tuple[str, ...]
    test_fingerprint: str

    def training(self) -> tuple[LabeledImages, str]:
        """Map the training part into memory.

        Raises:
            DataError: A file is missing or damaged.
        """
        _mark_used(self.directory)
        part = self.part("train")
        return part, fingerprint(part, self.class_names)

    def labels(self) -> Bytes:
        """Map the training labels into memory.

        Raises:
            DataError: The file is missing or damaged.
        """
        return self._array("train-labels.npy")

    def require_test(self) -> None:
        """Check that the test part exists: it does whenever the training part does.

        Raises:
            DataError: A file is missing.
        """
        for name in ("test-images.npy", "test-labels.npy"):
            if not (self.directory / name).is_file():
                raise DataError(
                    f"{self.directory} has no {name}. Remove that folder; it will be rebuilt."
                )

    def test(self) -> LabeledImages:
        """Map the test part into memory.

        Raises:
            DataError: A file is missing or damaged.
        """
        part = self.part("test")
        if fingerprint(part, self.class_names) != self.test_fingerprint:
            raise DataError(
                f"the test part in {self.directory} has changed since this data set was opened. "
                "Run the same command again."
            )
        return part

    def part(self, name: str) -> LabeledImages:
        """Map a part into memory, whether or not it has changed.

        Args:
            name: `train` or `test`.

        Raises:
            DataError: A file is missing or damaged.
        """
        return LabeledImages(
            images=self._array(f"{name}-images.npy"), labels=self._array(f"{name}-labels.npy")
        )

    def _array(self, name: str) -> Bytes:
        file = self.directory / name
        try:
            _require_regular(file)
            mapped: Any = np.load(file, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # NumPy evaluates a header, which raises errors of many types
            raise DataError(
                f"cannot read {file} ({one_line(error)}). Remove its folder and run the same "
                "command again: it will be rebuilt."
            ) from error
        array: Bytes = mapped.view(np.ndarray)
        return array


def fingerprint(part: LabeledImages, class_names: tuple[str, ...]) -> str:
    """Return the MD5 of the shape, the class names, the labels and the images of a part."""
    head = json.dumps([part.images.shape, class_names])
    found = hashlib.md5(head.encode(), usedforsecurity=False)
    for array in (part.labels, part.images):
        found.update(np.ascontiguousarray(array).reshape(-1).data)
    return found.hexdigest()


def forget(dataset: Dataset, kept: Collection[str]) -> None:
    """Remove the unpacked images of a data set.

    Args:
        dataset: From `open_cached`; for any other data set nothing is removed.
        kept: Names of folders of the cache that stay.
    """
    files = dataset.files
    if isinstance(files, CachedFiles) and files.directory.name not in kept:
        shutil.rmtree(files.directory, ignore_errors=True)


def open_cached(
    cache: Path | None,
    *,
    name: str,
    where: str,
    key: str,
    stamp: str,
    read: Callable[[Path], Parts],
    create: bool = True,
) -> Dataset:
    """Open a data set from the cache; read it into the cache first if its files have changed.

    Args:
        cache: Folder of all data sets; None, or one that cannot be written: a temporary one, which
            is removed when this process ends.
        name: Name of the data set in reports.
        where: Name of the data set in messages.
        key: Identifies the data set and the settings that it is read with.
        stamp: Identifies the state of its files.
        read: Reads it; gets a folder for large arrays, which is removed afterwards.
        create: Whether the cache may be created or changed; if not, missing images go into a
            temporary folder.

    Raises:
        DataError: From `read`; or its classes do not fit, the cache is a link, or the disk is full.
    """
    if cache is not None and cache.is_symlink():  # it may lead out of somebody else's folder
        raise DataError(
            f"{shown(cache)} is a symbolic link; images are not unpacked through links. Remove it, "
            "or choose another folder with --results-dir."
        )
    stamp = hashlib.sha256(f"{_VERSION} {stamp}".encode("utf-8", "surrogateescape")).hexdigest()
    of_key = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    of_data = f"{re.sub(r'[^a-zA-Z0-9_.-]', '_', name)[:50]}-{of_key}"
    folder = f"{of_data}-{stamp[:12]}"
    if cache is not None and (known := _known(name, real_path(cache) / folder, stamp)) is not None:
        return known
    cache, building, notes = _begin(cache if create else None)
    _sweep(cache, of_data)
    try:
        with tempfile.TemporaryDirectory(prefix=_BUILDING, dir=cache) as scratch:
            parts = read(Path(scratch))
            chosen = choose(parts, where)
            facts = _write(building, parts, chosen.train, chosen.test)
            lines = [*notes, *parts.notes, *chosen.notes]
            facts |= {"stamp": stamp, "notes": list(map(shown, lines))}
            (building / "facts.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
        if (other := _put(building, cache / folder, name, stamp)) is not None:
            return other
    except OSError as error:
        raise DataError(
            f"cannot write the images of {where} into {shown(cache)} ({one_line(error)}). Make "
            "room there, or choose another folder with --results-dir."
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return _dataset(name, cache / folder, facts)


def _known(name: str, directory: Path, stamp: str) -> Dataset | None:
    """Return the cached data set of a folder, if it matches the current files.

    Somebody else may have made the folder, so nothing in it is taken for granted.
    """
    try:
        if directory.is_symlink():
            return None
        file = directory / "facts.json"
        _require_regular(file)
        facts: dict[str, Any] = json.loads(read_limited(file))
        if facts["stamp"] != stamp or any(
            (directory / name).stat().st_size != size for name, size in facts["sizes"].items()
        ):
            return None
        names, notes = facts["class_names"], facts["notes"]
        texts = [*names, *notes, facts["fingerprint"], facts["test_fingerprint"]]
        if (
            not (isinstance(names, list) and isinstance(notes, list))
            or not all(isinstance(text, str) and text == shown(text) for text in texts)
            or not 2 <= len(set(names)) == len(names) <= MOST_CLASSES
        ):
            return None
        known = _dataset(name, directory, facts)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, DataError):
        return None  # damaged
    _mark_used(directory)
    return known


def _require_regular(file: Path) -> None:
    """Refuse links and special files: reading them could block, or leave the cache.

    Raises:
        OSError: It does not exist.
        ValueError: It is a link, a pipe, a device or a folder.
    """
    if not stat.S_ISREG(file.lstat().st_mode):
        raise ValueError("it is a link, or no regular file")


def _mark_used(directory: Path) -> None:
    with suppress(OSError):  # somebody else's
        os.utime(directory)


def _dataset(name: str, directory: Path, facts: dict[str, Any]) -> Dataset:
    """Return the data set of a folder.

    Raises:
        DataError: Its arrays do not fit together.
    """
    names = tuple(facts["class_names"])
    files = CachedFiles(directory, names, facts["test_fingerprint"])
    train, test = files.part("train"), files.part("test")
    height, width, channels = train.images.shape[1:]
    labels = max(train.labels.max(), test.labels.max())
    if test.images.shape[1:] != (height, width, channels) or labels >= len(names):
        raise DataError(f"{directory} is damaged. Remove that folder; it will be rebuilt.")
    return Dataset(
        name=shown(name),
        image_shape=(height, width, channels),
        class_names=names,
        mirror=None,
        fingerprint=facts["fingerprint"],
        files=files,
        pixels=_pixels(facts["pixels"], channels),
        notes=tuple(facts["notes"]),
    )


def _pixels(known: dict[str, Any], channels: int) -> PixelStatistics:
    """Return the statistics in the facts of a folder.

    Raises:
        ValueError: They are damaged, or of images with another number of channels.
    """
    pixels = PixelStatistics.from_facts(known)
    if len(pixels.mean) != channels:
        raise ValueError("its pixel statistics have another number of channels")
    return pixels


def _begin(cache: Path | None) -> tuple[Path, Path, list[str]]:
    """Return a cache that can be written, a new folder in it, and what the user must know."""
    notes = []
    if cache is not None:
        try:
            cache = real_path(cache)
            cache.mkdir(parents=True, exist_ok=True)
            return cache, _new_folder(cache), []
        except OSError as error:
            notes = [
                f"cannot write {shown(cache)} ({one_line(error)}): the images are unpacked into a "
                "temporary folder, and again by the next command"
            ]
    cache = _temporary()
    return cache, _new_folder(cache), notes


def _temporary() -> Path:
    """Return a new folder, which is removed when this process ends, or by a later one."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY}*"):
        with suppress(OSError):
            found = folder.lstat()
            is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
            if is_own and time.time() - found.st_mtime > _DAY and not is_locked(folder):
                shutil.rmtree(folder, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY))
    in_use = ExitStack()
    in_use.enter_context(locked(folder, lambda holder: BlockingIOError(f"{holder} has {folder}")))
    in_use.callback(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(in_use.close)
    return folder


def _new_folder(cache: Path) -> Path:
    folder = cache / f"{_BUILDING}{uuid4().hex}"
    folder.mkdir()  # unlike those of `tempfile`, it is not this user's alone
    return folder


def _sweep(cache: Path, of_data: str) -> None:
    """Remove what killed processes have left, and earlier states of a data set."""
    for pattern, seconds in ((f"{_BUILDING}*", _DAY), (f"{of_data}-*", _UNUSED)):
        for folder in cache.glob(pattern):
            with suppress(OSError):
                if time.time() - folder.stat().st_mtime > seconds:
                    shutil.rmtree(folder, ignore_errors=True)


def _write(directory: Path, parts: Parts, train: Indices, test: Indices) -> dict[str, Any]:
    """Write the arrays; return the facts about them."""
    of_test = parts.train if parts.test is None else parts.test
    sizes = {}
    for name, part, indices in (("train", parts.train, train), ("test", of_test, test)):
        for kind, array in (("images", part.images), ("labels", part.labels)):
            file = directory / f"{name}-{kind}.npy"
            _save(file, array, indices)
            sizes[file.name] = file.stat().st_size
    files = CachedFiles(directory, parts.class_names, "")
    return {
        "sizes": sizes,
        "class_names": list(parts.class_names),
        "fingerprint": files.training()[1],
        "test_fingerprint": fingerprint(files.part("test"), parts.class_names),
        "pixels": pixel_statistics(files.part("train").images).facts,
    }


def _save(file: Path, array: Bytes, indices: Indices) -> None:
    # Written, not mapped: a full disk then raises an error instead of killing the process.
    header = {
        "descr": "|u1",
        "fortran_order": False,
        "shape": (len(indices), *array.shape[1:]),
    }
    with file.open("wb") as written:
        np.lib.format.write_array_header_1_0(written, header)
        for start in range(0, len(indices), _ROWS):
            written.write(array[indices[start : start + _ROWS]].tobytes())


def _put(building: Path, target: Path, name: str, stamp: str) -> Dataset | None:
    """Rename a folder into place; if another process was first, return its data set."""
    try:
        os.rename(building, target)
        return None
    except OSError:
        if (other := _known(name, target, stamp)) is not None:
            return other
        if not os.path.lexists(target):
            raise
    # What is there is damaged.
    with tempfile.TemporaryDirectory(prefix=_BUILDING, dir=target.parent) as old:
        try:
            replace_folder(building, target, Path(old) / "old")
        except OSError:  # another process may be doing the same
            if (other := _known(name, target, stamp)) is None:
                raise
            return other
    return None

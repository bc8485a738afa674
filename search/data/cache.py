"""Data sets unpacked into files that processes map into memory, so that they share the pages.

A folder `NAME-KEY` holds `train-images.npy`, `train-labels.npy`, `test-images.npy`,
`test-labels.npy` and `facts.json`. It is written whole, or not at all.
"""

import atexit
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import numpy as np

from search.data.dataset import Bytes, Dataset, LabeledImages
from search.data.parts import Indices, Parts, choose
from search.errors import DataError
from spaces.errors import one_line, shown

_VERSION: Final = 1  # of how files become arrays; another one makes the cache anew
_BUILDING: Final = ".building-"
_DAY: Final = 86_400.0  # seconds after which a partial folder is that of a killed process
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
        part = self._part("train")
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
                    f"{self.directory} has no {name}. Remove that folder; it is made anew."
                )

    def test(self) -> LabeledImages:
        """Map the test part into memory.

        Raises:
            DataError: A file is missing or damaged.
        """
        part = self._part("test")
        if fingerprint(part, self.class_names) != self.test_fingerprint:
            raise DataError(
                f"the test part in {self.directory} has changed since this data set was opened. "
                "Run the same command again."
            )
        return part

    def _part(self, name: str) -> LabeledImages:
        return LabeledImages(
            images=self._array(f"{name}-images.npy"), labels=self._array(f"{name}-labels.npy")
        )

    def _array(self, name: str) -> Bytes:
        file = self.directory / name
        try:
            mapped: Any = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"cannot read {file} ({one_line(error)}). Remove its folder and run the same "
                "command again: it is made anew."
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
        dataset: From `open_cached`; of another one nothing is removed.
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
) -> Dataset:
    """Open a data set in the cache, which is made anew if its files have changed.

    Args:
        cache: Folder of all data sets; None, or one that cannot be written: a temporary one, which
            is removed when this process ends.
        name: What reports call the data set.
        where: What messages call it.
        key: Identifies the data set among all, with the settings that it is read with.
        stamp: Identifies the state of its files.
        read: Reads it; gets a folder for large arrays, which is removed afterwards.

    Raises:
        DataError: From `read`; or its classes do not fit, or the disk is full.
    """
    stamp = hashlib.sha256(f"{_VERSION} {stamp}".encode("utf-8", "surrogateescape")).hexdigest()
    of_key = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    folder = f"{re.sub(r'[^a-zA-Z0-9_.-]', '_', name)[:50]}-{of_key}"
    if cache is not None and (known := _known(name, cache.resolve() / folder, stamp)) is not None:
        return known
    cache, building, notes = _begin(cache)
    try:
        with tempfile.TemporaryDirectory(prefix=_BUILDING, dir=cache) as scratch:
            parts = read(Path(scratch))
            chosen = choose(parts, where)
            facts = _write(building, parts, chosen.train, chosen.test)
            facts |= {"stamp": stamp, "notes": [*notes, *parts.notes, *chosen.notes]}
            (building / "facts.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
        _replace(cache / folder, building)
    except OSError as error:
        raise DataError(
            f"cannot write the images of {where} into {shown(cache)} ({one_line(error)}). Make "
            "room there, or choose another folder with --results-dir."
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return _dataset(name, cache / folder, facts)


def _known(name: str, directory: Path, stamp: str) -> Dataset | None:
    """Return the data set of a folder, if it is that of the files as they are now."""
    try:
        facts: dict[str, Any] = json.loads((directory / "facts.json").read_text(encoding="utf-8"))
        usable = facts["stamp"] == stamp and all(
            (directory / file).stat().st_size == size for file, size in facts["sizes"].items()
        )
        return _dataset(name, directory, facts) if usable else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # damaged


def _dataset(name: str, directory: Path, facts: dict[str, Any]) -> Dataset:
    names = tuple(facts["class_names"])
    height, width, channels = facts["image_shape"]
    return Dataset(
        name=shown(name),
        image_shape=(height, width, channels),
        class_names=names,
        mirror=None,
        fingerprint=facts["fingerprint"],
        files=CachedFiles(directory, names, facts["test_fingerprint"]),
        notes=tuple(facts["notes"]),
    )


def _begin(cache: Path | None) -> tuple[Path, Path, list[str]]:
    """Return a cache that can be written, a new folder in it, and what the user must know."""
    notes = []
    if cache is not None:
        try:
            cache = cache.resolve()
            cache.mkdir(parents=True, exist_ok=True)
            _sweep(cache)
            return cache, _new_folder(cache), []
        except OSError as error:
            notes = [
                f"cannot write {shown(cache)} ({one_line(error)}): the images are unpacked into a "
                "temporary folder, and again by the next command"
            ]
    cache = Path(tempfile.mkdtemp(prefix="images-"))
    atexit.register(shutil.rmtree, cache, ignore_errors=True)
    return cache, _new_folder(cache), notes


def _new_folder(cache: Path) -> Path:
    folder = cache / f"{_BUILDING}{uuid4().hex}"
    folder.mkdir()  # unlike those of `tempfile`, it is not this user's alone
    return folder


def _sweep(cache: Path) -> None:
    """Remove what killed processes have left."""
    for folder in cache.glob(f"{_BUILDING}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _DAY:
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
        "image_shape": list(parts.train.images.shape[1:]),
        "class_names": list(parts.class_names),
        "fingerprint": files.training()[1],
        "test_fingerprint": fingerprint(files._part("test"), parts.class_names),
    }


def _save(file: Path, array: Bytes, indices: Indices) -> None:
    # Written, not mapped: a full disk is an error then, and no signal that ends the process.
    header = {
        "descr": "|u1",
        "fortran_order": False,
        "shape": (len(indices), *array.shape[1:]),
    }
    with file.open("wb") as written:
        np.lib.format.write_array_header_1_0(written, header)
        for start in range(0, len(indices), _ROWS):
            written.write(array[indices[start : start + _ROWS]].tobytes())


def _replace(target: Path, building: Path) -> None:
    """Put a folder in the place of another; processes that have mapped the old files keep them."""
    with tempfile.TemporaryDirectory(prefix=_BUILDING, dir=target.parent) as old:
        # Another process may be doing the same.
        with suppress(FileNotFoundError):
            os.rename(target, Path(old) / "old")
        os.rename(building, target)

"""List the image files of a folder, by part and class."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from PIL import Image

from search.data.parts import check_class_count
from search.data.pictures import FORMATS, SUFFIXES
from search.errors import DataError
from search.files import special_kind
from spaces.errors import shown

# Names of parts, in any case.
_TRAIN: Final = ("train", "training")
_VALIDATION: Final = ("val", "valid", "validation")
_TEST: Final = ("test", "testing")


@dataclass(slots=True)
class Listing:
    """The files of a folder, without hidden ones.

    Args:
        root: The folder.
        train: Paths of training images in the root, by class.
        test: Those of the test part; None if there is none.
        others: Number of files that are not images.
        links: Links to folders, which are not followed.
        ignored: Folders that are neither parts nor classes.
    """

    root: Path
    train: dict[str, list[str]] = field(default_factory=dict)
    test: dict[str, list[str]] | None = None
    others: int = 0
    links: set[str] = field(default_factory=set)
    ignored: list[str] = field(default_factory=list)

    def files(self) -> Iterator[str]:
        """Return all paths, of the training part first."""
        for part in (self.train, self.test or {}):
            for paths in part.values():
                yield from paths

    def stamp(self) -> str:
        """Return a key of all classes and of the names, sizes and times of all files."""
        stamp = hashlib.sha256()
        classes = [list(self.train), None if self.test is None else list(self.test)]
        lines = [str(classes), *(f"{path}\0{_state(self.root / path)}" for path in self.files())]
        for line in lines:
            stamp.update(f"{line}\n".encode("utf-8", "surrogateescape"))
        return stamp.hexdigest()


def list_folder(root: Path) -> Listing:
    """List the image files of all classes.

    Links to folders are not followed: they may lead in a circle.

    Args:
        root: The folder.

    Raises:
        DataError: It has no classes or too many, its test part has others than training, or a
            folder cannot be read.
    """
    found, where = Listing(root), shown(root)
    top = [name for name in _folders(root, found) if not _holds_studies(root / name)]
    if any(name.casefold() in _TRAIN and _has_folders(root / name) for name in top):
        _list_parts(top, found)
    else:
        for name in top:
            if name.casefold() in _TEST and _has_folders(root / name):
                raise DataError(
                    f"{where} has a folder {shown(name)} with classes, but no folder train; rename "
                    "the folder of training images to train."
                )
        found.train = _list_classes("", top, found)
    found.train = dict(sorted(found.train.items()))
    if not found.train:
        raise DataError(
            f"{where} has no folders with images: put those of each class into one, as in "
            f"{where}/CLASS/*.jpg or {where}/{{train,val,test}}/CLASS/*.jpg"
            + (f" ({len(found.links)} links to folders are not followed)." if found.links else ".")
        )
    check_class_count(len(found.train), where)
    if strangers := sorted((found.test or {}).keys() - found.train.keys()):
        raise DataError(
            f"the test part of {where} has the class {shown(strangers[0])!r}, which the training "
            "part lacks; remove it, or add training images of it."
        )
    return found


def _list_parts(folders: list[str], found: Listing) -> None:
    """List folders that are parts of a data set."""
    for folder in folders:
        part = folder.casefold()
        if part in (*_TRAIN, *_VALIDATION):
            classes, of_part = _classes(folder, found), found.train
        elif part in _TEST and (classes := _classes(folder, found)):
            of_part = found.test = found.test or {}
        else:  # a test part without classes, as in a contest
            found.ignored.append(folder)
            continue
        for name, paths in classes.items():
            of_part.setdefault(name, []).extend(paths)


def _holds_studies(folder: Path) -> bool:
    """Return whether a folder holds results; the images in reports are not a class."""
    if (folder / ".data").is_dir():
        return True
    try:
        with os.scandir(folder) as entries:
            return any(
                entry.is_dir(follow_symlinks=False)
                and os.path.exists(os.path.join(entry.path, "study.journal"))
                for entry in entries
            )
    except OSError as error:
        raise _unreadable(error) from error


def _has_folders(folder: Path) -> bool:
    return bool(_folders(folder, Listing(folder)))


def _folders(folder: Path, found: Listing) -> list[str]:
    """Return the names of the folders in a folder."""
    names = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink() and os.path.isdir(entry.path):
                    found.links.add(entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    names.append(entry.name)
    except OSError as error:
        raise _unreadable(error) from error
    return sorted(names)


def _unreadable(error: OSError) -> DataError:
    folder = shown(error.filename)
    return DataError(f"cannot read the folder {folder} ({error.strerror}); check its permissions.")


def _classes(part: str, found: Listing) -> dict[str, list[str]]:
    """Return the image files of each class in a part."""
    return _list_classes(part, _folders(found.root / part, found), found)


def _list_classes(part: str, folders: list[str], found: Listing) -> dict[str, list[str]]:
    """Return the image files of folders in a part; those without any are no classes."""
    classes = {}
    for name in folders:
        if paths := list(_images(os.path.join(part, name), found)):
            classes[name] = paths
        else:
            found.ignored.append(os.path.join(part, name))
    return classes


def _images(folder: str, found: Listing) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise _unreadable(error) from error

    for parent, folders, names in os.walk(found.root / folder, onerror=fail):
        within = (os.path.join(parent, name) for name in folders)
        found.links.update(path for path in within if os.path.islink(path))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith("."):
                continue
            path = os.path.join(parent, name)
            if _is_image(Path(path)):
                yield os.path.relpath(path, found.root)
            else:
                found.others += 1


def _is_image(path: Path) -> bool:
    has_image_suffix = path.suffix.lower() in SUFFIXES
    try:
        return special_kind(path) is None and (has_image_suffix or shorter_edge(path) is not None)
    except OSError:  # a link that leads nowhere or in a circle, say
        return has_image_suffix


def shorter_edge(path: Path) -> int | None:
    """Return the pixels of an image file's shorter edge; None if it cannot be read."""
    try:
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            return min(image.size)
    except Exception:  # Pillow's readers raise errors of any type for damaged files
        return None


def _state(file: Path) -> str:
    try:
        found = file.stat()
    except OSError as error:  # a link that leads nowhere, or in a circle
        return str(error.errno)
    return f"{found.st_size} {found.st_mtime_ns}"

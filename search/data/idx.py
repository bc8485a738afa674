"""Data sets of the MNIST family: find, download, check and read gzipped IDX files."""

import gzip
import hashlib
import io
import math
import os
import struct
import urllib.request
import zlib
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import Final

import numpy as np

from search.data.classes import FASHION_CLASSES, FASHION_FINGERPRINT, class_names
from search.data.dataset import (
    Bytes,
    Dataset,
    LabeledImages,
    indices_of,
    pixel_statistics,
)
from search.data.parts import check_classes
from search.errors import DataError
from search.files import write_atomically
from spaces.errors import one_line

IMAGES_FILE: Final = "train-images-idx3-ubyte.gz"
LABELS_FILE: Final = "train-labels-idx1-ubyte.gz"
TEST_IMAGES_FILE: Final = "t10k-images-idx3-ubyte.gz"
TEST_LABELS_FILE: Final = "t10k-labels-idx1-ubyte.gz"
OFFICIAL_MD5: Final = {
    IMAGES_FILE: "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    LABELS_FILE: "25c81989df183df01b3e8a0aad5dffbe",
    TEST_IMAGES_FILE: "bef4ecab320f06d8554ea6380940ec79",
    TEST_LABELS_FILE: "bb300cfdad3c16e7a12a480ee83cd310",
}
DOWNLOAD_URL: Final = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
SHARED_FOLDER: Final = Path(__file__).resolve().parents[3] / "shared" / "fashion-mnist"
_IDX_MAGIC: Final = {1: 2049, 3: 2051}
_MOST_BYTES: Final = 2**33  # unpacked: 8 GiB


def find_data(data_dir: Path | None = None) -> Path:
    """Return the folder of the training files, downloading them if there are none.

    The folder is `data_dir`, the environment variable FASHION_MNIST_DIR, `../shared/fashion-mnist`
    beside the checkout or the Keras cache, in this order. One of the first two that is given must
    hold the files: there is no fallback.

    Raises:
        DataError: The given folder lacks a file, or there are no files and the download failed.
    """
    for given, origin in (
        (data_dir, "the data folder"),
        (os.environ.get("FASHION_MNIST_DIR"), "FASHION_MNIST_DIR"),
    ):
        if given:
            folder = Path(os.path.expanduser(given))
            if missing := _missing(folder):
                raise DataError(
                    f"{origin} {folder} has no {missing[0]}. "
                    f"Put {IMAGES_FILE} and {LABELS_FILE} there, or name another folder."
                )
            return folder
    if not _missing(SHARED_FOLDER):
        return SHARED_FOLDER
    cache = keras_cache()
    try:
        if str(cache).startswith("~"):
            raise FileNotFoundError("this user has no home folder")
        for name in _missing(cache):
            download(name, cache)
    except OSError as error:
        raise DataError(
            f"Fashion-MNIST is neither in {SHARED_FOLDER} nor in {cache}, and the download from "
            f"{DOWNLOAD_URL} failed ({error}). Set FASHION_MNIST_DIR to a folder with "
            f"{IMAGES_FILE} and {LABELS_FILE}."
        ) from error
    return cache


def _missing(folder: Path) -> list[str]:
    return [name for name in (IMAGES_FILE, LABELS_FILE) if not (folder / name).is_file()]


def keras_cache() -> Path:
    """Return the folder in which Keras caches Fashion-MNIST."""
    keras_home = os.path.expanduser(os.environ.get("KERAS_HOME") or "~/.keras")
    return Path(keras_home, "datasets", "fashion-mnist")


def download(name: str, folder: Path) -> None:
    """Download an official file.

    Raises:
        OSError: There is no network, the connection breaks off, the answer is another file, or the
            folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with urllib.request.urlopen(DOWNLOAD_URL + name, timeout=60) as response:
            content = response.read()
    except HTTPException as error:
        raise OSError(f"the connection broke off: {one_line(error, typed=True)}") from error
    if hashlib.md5(content).hexdigest() != OFFICIAL_MD5[name]:  # a login page, say
        raise OSError(f"the answer for {name} is not that file of Fashion-MNIST")
    write_atomically(folder / name, content)


def open_idx(directory: Path) -> Dataset:
    """Open the data set of a folder; only its training files are read.

    Class names are those of Fashion-MNIST if the files are; else the lines of `classes.txt` in the
    folder, in the order of the labels; else the labels themselves.

    Args:
        directory: Folder from `find_data`.

    Raises:
        DataError: A file is missing, damaged or wrong, or does not fit the others.
    """
    packed, of_images = _checked(directory, IMAGES_FILE)
    images = _unpacked(directory / IMAGES_FILE, packed, dimensions=3)
    packed, of_labels = _checked(directory, LABELS_FILE)
    labels = _unpacked(directory / LABELS_FILE, packed, dimensions=1)
    found = _fingerprint(of_images, of_labels)
    known = found == FASHION_FINGERPRINT
    values = np.unique(labels)
    names = FASHION_CLASSES if known else _class_names(directory, values)
    files = IdxFiles(directory, tuple(values.tolist()))
    part = files.part(images, labels)
    check_classes(part.labels, names, str(directory), fewest=2)
    return Dataset(
        name="fashion_mnist" if known else directory.resolve().name,
        image_shape=(images.shape[1], images.shape[2], 1),
        class_names=names,
        mirror=True if known else None,
        fingerprint=found,
        files=files,
        # Its published systems take images as they are; normalized, the default loses 0.1 points.
        pixels=replace(pixel_statistics(part.images), normalized=not known),
    )


def _class_names(directory: Path, values: Bytes) -> tuple[str, ...]:
    return class_names(directory / "classes.txt", [str(value) for value in values])


@dataclass(frozen=True, slots=True)
class IdxFiles:
    """The four files of a folder; see `search.data.dataset.Files`.

    Args:
        directory: The folder.
        values: Labels of the training part; the first becomes label 0, and so on.
    """

    directory: Path
    values: tuple[int, ...]

    def training(self) -> tuple[LabeledImages, str]:
        """Read the training files.

        Raises:
            DataError: A file is missing, damaged or wrong, or the two do not fit together.
        """
        images, of_images = _checked(self.directory, IMAGES_FILE)
        labels, of_labels = _checked(self.directory, LABELS_FILE)
        part = self.part(
            _unpacked(self.directory / IMAGES_FILE, images, dimensions=3),
            _unpacked(self.directory / LABELS_FILE, labels, dimensions=1),
        )
        return part, _fingerprint(of_images, of_labels)

    def labels(self) -> Bytes:
        """Read the training labels.

        Raises:
            DataError: The file is missing, damaged or wrong.
        """
        return indices_of(read_idx(self.directory, LABELS_FILE, dimensions=1), self.values)

    def require_test(self) -> None:
        """Check the MD5 of the test files; those that the Keras cache lacks are downloaded into it.

        Raises:
            DataError: A file is missing, or its MD5 is not the expected one.
        """
        for name in (TEST_IMAGES_FILE, TEST_LABELS_FILE):
            if (self.directory / name).is_file():
                _checked(self.directory, name)
                continue
            try:
                if self.directory != keras_cache():
                    raise FileNotFoundError("only the Keras cache is filled by download")
                download(name, self.directory)
            except OSError as error:
                raise DataError(
                    f"{self.directory} has no {name} ({error}). Put {TEST_IMAGES_FILE} and "
                    f"{TEST_LABELS_FILE} there."
                ) from error

    def test(self) -> LabeledImages:
        """Read the test files.

        Raises:
            DataError: As from `require_test` and `training`.
        """
        self.require_test()
        return self.part(
            read_idx(self.directory, TEST_IMAGES_FILE, dimensions=3),
            read_idx(self.directory, TEST_LABELS_FILE, dimensions=1),
        )

    def part(self, images: Bytes, labels: Bytes) -> LabeledImages:
        """Return (n, height, width) images with their labels, which become indices.

        Raises:
            DataError: Images and labels differ in number, or images have no pixels.
        """
        if len(images) != len(labels):
            raise DataError(
                f"{self.directory} has {len(images)} images with {len(labels)} labels. Fetch both "
                "files again."
            )
        if 0 in images.shape:
            raise DataError(
                f"{self.directory} has images of shape {images.shape}: there are none, or they "
                "have 0 pixels. Fetch the files again."
            )
        return LabeledImages(images=images[..., None], labels=indices_of(labels, self.values))


def _fingerprint(*sums: str) -> str:
    return hashlib.md5("".join(sums).encode()).hexdigest()


def read_idx(directory: Path, name: str, *, dimensions: int) -> Bytes:
    """Read a gzipped IDX file of unsigned bytes after checking its MD5.

    Args:
        directory: Folder of the file.
        name: File name.
        dimensions: 3 for images, 1 for labels.

    Raises:
        DataError: The file is missing, its MD5 is not the expected one, or its format is wrong.
    """
    packed, _ = _checked(directory, name)
    return _unpacked(directory / name, packed, dimensions=dimensions)


def _unpacked(path: Path, packed: bytes, *, dimensions: int) -> Bytes:
    # Source: the description of the format on yann.lecun.com/exdb/mnist.
    header = 4 * (1 + dimensions)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            magic, *shape = struct.unpack(f">{1 + dimensions}I", file.read(header))
            size = math.prod(shape)
            if size > _MOST_BYTES:
                raise DataError(
                    f"{path} says that it has {size / 2**30:,.0f} GiB of data, of shape "
                    f"{tuple(shape)}; at most {_MOST_BYTES / 2**30:.0f} GiB can be used."
                )
            content = file.read(size + 1)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise DataError(
            f"{path} is not a gzipped IDX file ({error}). Download it again."
        ) from error
    if magic != _IDX_MAGIC[dimensions] or size != len(content):
        raise DataError(
            f"{path} has IDX magic {magic}, shape {tuple(shape)} and "
            f"{'more' if len(content) > size else len(content)} bytes of data; expected magic "
            f"{_IDX_MAGIC[dimensions]} and one byte for each pixel or label. Download it again."
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _checked(directory: Path, name: str) -> tuple[bytes, str]:
    """Return the content and the MD5 of a file, whose MD5 is the expected one."""
    path = directory / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror}). Download it again.") from error
    found, expected = hashlib.md5(content).hexdigest(), _expected_md5(directory, name)
    if found != expected:
        if (directory / "MD5SUMS").is_file():
            origin, other = "that in MD5SUMS", "if you have changed it, write MD5SUMS again"
        else:
            origin = "that of Fashion-MNIST"
            other = "if it is another data set in MNIST format, put an MD5SUMS file beside it"
        raise DataError(
            f"{path} has MD5 {found}; expected {expected}, {origin}. If it is damaged, delete it "
            f"and download it again; {other} (md5sum *.gz > MD5SUMS)."
        )
    return content, found


def _expected_md5(directory: Path, name: str) -> str:
    sums = directory / "MD5SUMS"
    if not sums.is_file():
        return OFFICIAL_MD5[name]
    try:
        lines = sums.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"cannot read {sums} ({error.strerror}); check its permissions.") from error
    for line in lines:
        md5, _, listed = line.partition(" ")
        if listed.lstrip(" *").removeprefix("./") == name:
            return md5.lower()
    raise DataError(
        f"{sums} has no line for {name}. Add one (md5sum {name} >> MD5SUMS), or delete MD5SUMS to "
        "check against the official Fashion-MNIST."
    )

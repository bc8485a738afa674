"""Find, download, check and read files in MNIST format; a search opens the training files only."""

import gzip
import hashlib
import os
import struct
import urllib.request
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from search.errors import DataError
from search.files import write_atomically

Bytes = npt.NDArray[np.uint8]

IMAGES_FILE: Final = "train-images-idx3-ubyte.gz"
LABELS_FILE: Final = "train-labels-idx1-ubyte.gz"
OFFICIAL_MD5: Final = {
    IMAGES_FILE: "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    LABELS_FILE: "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
DOWNLOAD_URL: Final = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
SHARED_FOLDER: Final = Path(__file__).resolve().parents[3] / "shared" / "fashion-mnist"
_IDX_MAGIC: Final = {1: 2049, 3: 2051}


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
            folder = Path(given).expanduser()
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
    keras_home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    return keras_home / "datasets" / "fashion-mnist"


def download(name: str, folder: Path) -> None:
    """Download an official file.

    Raises:
        OSError: There is no network, or the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(DOWNLOAD_URL + name, timeout=60) as response:
        write_atomically(folder / name, response.read())


def fingerprint(directory: Path) -> str:
    """Return an identifier of the data: the MD5 over the MD5s of the two training files.

    Raises:
        DataError: A file is missing, or its MD5 is not the expected one.
    """
    return _fingerprint(*(_checked(directory, name)[1] for name in (IMAGES_FILE, LABELS_FILE)))


def _fingerprint(*sums: str) -> str:
    return hashlib.md5("".join(sums).encode()).hexdigest()


def read_training(directory: Path) -> tuple[Bytes, Bytes, str]:
    """Read the training files; return images, labels and the `fingerprint` of what was read.

    Raises:
        DataError: As from `read_idx`.
    """
    images, of_images = _checked(directory, IMAGES_FILE)
    labels, of_labels = _checked(directory, LABELS_FILE)
    return (
        _unpacked(directory / IMAGES_FILE, images, dimensions=3),
        _unpacked(directory / LABELS_FILE, labels, dimensions=1),
        _fingerprint(of_images, of_labels),
    )


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
        content = gzip.decompress(packed)
        magic, *shape = struct.unpack(f">{1 + dimensions}I", content[:header])
    except (OSError, EOFError, struct.error) as error:
        raise DataError(
            f"{path} is not a gzipped IDX file ({error}). Download it again."
        ) from error
    size = int(np.prod(shape, dtype=np.int64))
    if magic != _IDX_MAGIC[dimensions] or size != len(content) - header:
        raise DataError(
            f"{path} has IDX magic {magic}, shape {tuple(shape)} and {len(content) - header} bytes "
            f"of data; expected magic {_IDX_MAGIC[dimensions]} and one byte for each pixel or "
            "label. Download it again."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _checked(directory: Path, name: str) -> tuple[bytes, str]:
    """Return the content and the MD5 of a file, whose MD5 is the expected one."""
    path = directory / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror}). Download it again.") from error
    found, expected = hashlib.md5(content).hexdigest(), _expected_md5(directory, name)
    if found != expected:
        raise DataError(
            f"{path} has MD5 {found}; expected {expected}. If it is damaged, delete it and "
            "download it again; if it is another data set in MNIST format, put an MD5SUMS file "
            "beside it."
        )
    return content, found


def _expected_md5(directory: Path, name: str) -> str:
    sums = directory / "MD5SUMS"
    if not sums.is_file():
        return OFFICIAL_MD5[name]
    for line in sums.read_text().splitlines():
        md5, _, listed = line.partition(" ")
        if listed.lstrip(" *") == name:
            return md5.lower()
    raise DataError(
        f"{sums} has no line for {name}. Add one (md5sum {name} >> MD5SUMS), or delete MD5SUMS to "
        "check against the official Fashion-MNIST."
    )

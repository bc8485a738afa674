"""Find, download, check and read files in MNIST format; a search names the training files only."""

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
    """Find the folder with the training files; download them where there is none.

    Looks at `data_dir`, else the environment variable FASHION_MNIST_DIR, else
    `../shared/fashion-mnist` beside the checkout, else the Keras cache. The first two are a choice
    and never replaced by another place.

    Raises:
        DataError: The chosen folder lacks a file, or there is no data and no way to download it.
    """
    for chosen, origin in (
        (data_dir, "the data folder"),
        (os.environ.get("FASHION_MNIST_DIR"), "FASHION_MNIST_DIR"),
    ):
        if chosen:
            folder = Path(chosen).expanduser()
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
            f"no Fashion-MNIST in {SHARED_FOLDER} nor {cache}, and downloading {DOWNLOAD_URL} "
            f"failed ({error}). Set FASHION_MNIST_DIR to a folder with {IMAGES_FILE} and "
            f"{LABELS_FILE}."
        ) from error
    return cache


def fingerprint(directory: Path) -> str:
    """Name the data by content: the MD5 over the two training files' MD5s.

    Raises:
        DataError: A file is missing or is not what it should be.
    """
    sums = "".join(_checked(directory, name)[1] for name in (IMAGES_FILE, LABELS_FILE))
    return hashlib.md5(sums.encode()).hexdigest()


def _missing(folder: Path) -> list[str]:
    return [name for name in (IMAGES_FILE, LABELS_FILE) if not (folder / name).is_file()]


def keras_cache() -> Path:
    """The folder in which Keras keeps this data set."""
    keras_home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    return keras_home / "datasets" / "fashion-mnist"


def download(name: str, folder: Path) -> None:
    """Fetch an official file.

    Raises:
        OSError: There is no network, or the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(DOWNLOAD_URL + name, timeout=60) as response:
        content = response.read()
    partial = folder / f".{name}.{os.getpid()}"
    partial.write_bytes(content)
    # Whoever sees the file sees all of it, also when two searches start at once.
    partial.replace(folder / name)


def _expected_md5(directory: Path, name: str) -> str:
    sums = directory / "MD5SUMS"
    if not sums.is_file():
        return OFFICIAL_MD5[name]
    for line in sums.read_text().splitlines():
        md5, _, listed = line.partition(" ")
        if listed.lstrip(" *") == name:
            return md5.lower()
    raise DataError(
        f"{sums} has no line for {name}. Add one (md5sum {name} >> MD5SUMS) or delete MD5SUMS to "
        "check against the official Fashion-MNIST."
    )


def _checked(directory: Path, name: str) -> tuple[bytes, str]:
    """Read a file; return its content and MD5, having compared it with the expected one."""
    path = directory / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror}). Fetch the file again.") from error
    found, expected = hashlib.md5(content).hexdigest(), _expected_md5(directory, name)
    if found != expected:
        raise DataError(
            f"{path} has MD5 {found}; expected {expected}. It is damaged or another data set: "
            "delete it and fetch it again, or put an MD5SUMS file beside another MNIST-format set."
        )
    return content, found


def read_idx(directory: Path, name: str, *, dimensions: int) -> Bytes:
    """Read a gzipped IDX file of unsigned bytes, once its MD5 is found right.

    Args:
        directory: Folder of the file.
        name: Of the file.
        dimensions: 3 for images, 1 for labels.

    Raises:
        DataError: The file is missing, damaged, wrong, or not in this format.

    Source: the format's description on yann.lecun.com/exdb/mnist.
    """
    path, header = directory / name, 4 * (1 + dimensions)
    packed, _ = _checked(directory, name)
    try:
        content = gzip.decompress(packed)
        magic, *shape = struct.unpack(f">{1 + dimensions}I", content[:header])
    except (OSError, EOFError, struct.error) as error:
        raise DataError(
            f"{path} is no gzipped IDX file ({error}). Fetch the file again."
        ) from error
    size = int(np.prod(shape, dtype=np.int64))
    if magic != _IDX_MAGIC[dimensions] or size != len(content) - header:
        raise DataError(
            f"{path} has IDX magic {magic} and shape {tuple(shape)} over {len(content) - header} "
            f"bytes; expected magic {_IDX_MAGIC[dimensions]} and as many bytes as the shape holds. "
            "Fetch the file again."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)

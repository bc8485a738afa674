"""Find, check and split the training images; the test files are never opened here."""

import gzip
import hashlib
import os
import struct
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from search.errors import DataError

IMAGES_FILE: Final = "train-images-idx3-ubyte.gz"
LABELS_FILE: Final = "train-labels-idx1-ubyte.gz"
OFFICIAL_MD5: Final = {
    IMAGES_FILE: "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    LABELS_FILE: "25c81989df183df01b3e8a0aad5dffbe",
}
DOWNLOAD_URL: Final = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
DEFAULT_VAL_SIZE: Final = 10_000
# The same for every trial and every search: scores of two searches stay comparable.
_SPLIT_SEED: Final = 20_170_825
_IDX_MAGIC: Final = {1: 2049, 3: 2051}

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Training and validation parts of the official training images.

    Args:
        train_images: (n, 28, 28) uint8.
        train_labels: (n,) uint8.
        val_images: (m, 28, 28) uint8.
        val_labels: (m,) uint8.

    Raises:
        DataError: An array has another type or shape, or images and labels differ in number.
    """

    train_images: Bytes
    train_labels: Bytes
    val_images: Bytes
    val_labels: Bytes

    def __post_init__(self) -> None:
        for part, images, labels in (
            ("train", self.train_images, self.train_labels),
            ("val", self.val_images, self.val_labels),
        ):
            count = len(labels)
            if (
                images.dtype != np.uint8
                or labels.dtype != np.uint8
                or images.shape != (count, 28, 28)
                or labels.shape != (count,)
                or count == 0
            ):
                raise DataError(
                    f"Split.{part}_images is {images.dtype}{images.shape} with labels "
                    f"{labels.dtype}{labels.shape}; use uint8 (n, 28, 28) and (n,), n at least 1."
                )

    @property
    def classes(self) -> int:
        """Number of classes: one more than the largest label."""
        return int(max(self.train_labels.max(), self.val_labels.max())) + 1


def find_data(data_dir: Path | None = None) -> Path:
    """Find the folder with the training files; download them where there is none.

    Looks at `data_dir`, else the environment variable FASHION_MNIST_DIR, else
    `../shared/fashion-mnist` beside the checkout, else the Keras cache. The first two are a person's
    choice and never replaced by another place.

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
    shared = Path(__file__).resolve().parents[2] / "shared" / "fashion-mnist"
    if not _missing(shared):
        return shared
    keras_home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    cache = keras_home / "datasets" / "fashion-mnist"
    try:
        for name in _missing(cache):
            _download(name, cache)
    except OSError as error:
        raise DataError(
            f"no Fashion-MNIST in {shared} nor {cache}, and downloading {DOWNLOAD_URL} failed "
            f"({error}). Set FASHION_MNIST_DIR to a folder with {IMAGES_FILE} and {LABELS_FILE}."
        ) from error
    return cache


def fingerprint(directory: Path) -> str:
    """Name the data by content: the MD5 over the two training files' MD5s.

    Raises:
        DataError: A file is missing or is not what it should be.
    """
    sums = "".join(_checked(directory, name)[1] for name in (IMAGES_FILE, LABELS_FILE))
    return hashlib.md5(sums.encode()).hexdigest()


def load_split(
    directory: Path, *, train_size: int | None = None, val_size: int = DEFAULT_VAL_SIZE
) -> Split:
    """Read the training files and part them, always in the same way.

    Every class has its share of both parts (to within one image where the sizes do not divide), and
    a smaller part is contained in a larger one. An image that occurs twice never goes into
    validation, so no validation image has a twin in training.

    Args:
        directory: Folder from `find_data`.
        train_size: Training images; None for all that validation leaves.
        val_size: Validation images.

    Raises:
        DataError: A file is missing, damaged or wrong, or a size does not fit.
    """
    images = _read_idx(directory, IMAGES_FILE, dimensions=3)
    labels = _read_idx(directory, LABELS_FILE, dimensions=1)
    if images.shape[1:] != (28, 28) or len(images) != len(labels):
        raise DataError(
            f"{directory} has images {images.shape} and labels {labels.shape}; "
            "they must be (n, 28, 28) and (n,). Fetch both files again."
        )
    # RandomState, not Generator: NumPy promises that its stream never changes.
    order = np.random.RandomState(_SPLIT_SEED).permutation(len(labels))
    keys = [image.tobytes() for image in images]
    counts = Counter(keys)
    single = np.array([counts[keys[index]] == 1 for index in order])
    candidates = _interleave(order[single], labels)
    classes = len(np.unique(labels))
    _check_size("val_size", val_size, classes, len(candidates) - classes)
    val = candidates[:val_size]
    rest = _interleave(order[~np.isin(order, val)], labels)
    if train_size is not None:
        _check_size("train_size", train_size, classes, len(rest))
    train = rest[:train_size]
    return Split(
        train_images=images[train],
        train_labels=labels[train],
        val_images=images[val],
        val_labels=labels[val],
    )


def _interleave(order: npt.NDArray[np.int64], labels: Bytes) -> npt.NDArray[np.int64]:
    """Reorder indices so that every leading part holds each class in proportion."""
    position = np.empty(len(order))
    for label in np.unique(labels[order]):
        members = np.flatnonzero(labels[order] == label)
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(position, kind="stable")]


def _check_size(name: str, size: int, lowest: int, highest: int) -> None:
    if not lowest <= size <= highest:
        raise DataError(
            f"{name} is {size}; with this data it must be in [{lowest}, {highest}]. "
            "Ask for another size, or use a larger data set."
        )


def _missing(folder: Path) -> list[str]:
    return [name for name in (IMAGES_FILE, LABELS_FILE) if not (folder / name).is_file()]


def _download(name: str, folder: Path) -> None:
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


def _read_idx(directory: Path, name: str, *, dimensions: int) -> Bytes:
    """Read a gzipped IDX file of unsigned bytes.

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

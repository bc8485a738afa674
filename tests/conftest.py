"""Fixtures that several rooms share."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

SMALL_CLASS_SIZE = 60


def write_idx_data(directory: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write training files in MNIST's format, and the MD5SUMS that vouch for them.

    Args:
        directory: Existing folder.
        images: (n, 28, 28) uint8.
        labels: (n,) uint8.
    """
    contents = {
        "train-images-idx3-ubyte.gz": struct.pack(">IIII", 2051, *images.shape) + images.tobytes(),
        "train-labels-idx1-ubyte.gz": struct.pack(">II", 2049, *labels.shape) + labels.tobytes(),
    }
    sums = []
    for name, content in contents.items():
        packed = gzip.compress(content, mtime=0)
        (directory / name).write_bytes(packed)
        sums.append(f"{hashlib.md5(packed).hexdigest()}  {name}\n")
    (directory / "MD5SUMS").write_text("".join(sums))


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 600 learnable training images, 60 of each class; no test files.

    Each class has its own bright 8x8 square on a noisy ground: four epochs teach it to a small net.
    """
    directory = tmp_path_factory.mktemp("small-data")
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(10, dtype=np.uint8), SMALL_CLASS_SIZE))
    images = rng.integers(0, 60, (len(labels), 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 4)
        image[2 + 8 * row : 10 + 8 * row, 7 * column : 7 + 7 * column] += np.uint8(150)
    write_idx_data(directory, images, labels)
    return directory

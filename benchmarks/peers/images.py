"""The images of a comparison: one folder to search with, and one file to score with."""

import gzip
import hashlib
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np

from search.data.formats import open_dataset
from search.data.idx import IMAGES_FILE, LABELS_FILE
from search.data.split import SplitSizes, load_split

SCORING_FILE: Final = "scoring.npz"


def write_images(folder: Path, val_size: int) -> None:
    """Take the second half of the validation images out of the training files, for scoring.

    Searches get all other images in MNIST's format, and split them themselves.

    Args:
        folder: Gets the files.
        val_size: Validation images, of which half score.
    """
    split = load_split(open_dataset(None), SplitSizes(val=val_size))
    half = val_size // 2
    np.savez(folder / SCORING_FILE, images=split.val_images[half:], labels=split.val_labels[half:])
    images = np.concatenate([split.train_images, split.val_images[:half]])
    labels = np.concatenate([split.train_labels, split.val_labels[:half]])
    _write(folder / IMAGES_FILE, struct.pack(">IIII", 2051, *images.shape[:3]), images)
    _write(folder / LABELS_FILE, struct.pack(">II", 2049, *labels.shape), labels)
    sums = (
        f"{hashlib.md5((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in (IMAGES_FILE, LABELS_FILE)
    )
    (folder / "MD5SUMS").write_text("".join(sums))


def _write(file: Path, header: bytes, content: Any) -> None:
    file.write_bytes(gzip.compress(header + content.tobytes(), compresslevel=1))

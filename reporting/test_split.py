"""The only door to the test split: to be opened once the configuration is chosen."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from search.data.files import Bytes, download, keras_cache, read_idx
from search.errors import DataError

IMAGES_FILE: Final = "t10k-images-idx3-ubyte.gz"
LABELS_FILE: Final = "t10k-labels-idx1-ubyte.gz"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TestSplit:
    """The official test images.

    Args:
        images: (n, 28, 28) uint8.
        labels: (n,) uint8.
    """

    __test__ = False  # pytest: not a class of tests

    images: Bytes
    labels: Bytes


def require_test_files(directory: Path) -> None:
    """See to it that the test files are there, without opening them.

    Args:
        directory: Folder from `search.data.files.find_data`; what is missing in the Keras cache is
            downloaded.

    Raises:
        DataError: A file is missing.
    """
    for name in (IMAGES_FILE, LABELS_FILE):
        if (directory / name).is_file():
            continue
        try:
            if directory != keras_cache():
                raise FileNotFoundError("not downloaded, since the folder was chosen")
            download(name, directory)
        except OSError as error:
            raise DataError(
                f"{directory} has no {name} ({error}). Put {IMAGES_FILE} and {LABELS_FILE} there."
            ) from error


def load_test_split(directory: Path) -> TestSplit:
    """Read the test files, checked like the training files.

    Args:
        directory: As for `require_test_files`.

    Raises:
        DataError: A file is missing, damaged or wrong.
    """
    require_test_files(directory)
    images = read_idx(directory, IMAGES_FILE, dimensions=3)
    labels = read_idx(directory, LABELS_FILE, dimensions=1)
    if images.shape[1:] != (28, 28) or len(images) != len(labels) or not np.all(labels < 10):
        raise DataError(
            f"{directory} has test images {images.shape} and labels {labels.shape}; "
            "they must be (n, 28, 28) and (n,), with labels 0 to 9. Fetch both files again."
        )
    return TestSplit(images=images, labels=labels)

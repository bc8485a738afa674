"""The formats that a data set may have: opens what `--data` names."""

from pathlib import Path

from search.data.dataset import Dataset
from search.data.idx import find_data, open_idx


def open_dataset(data: str | None) -> Dataset:
    """Open a data set, without its test part.

    Args:
        data: `fashion_mnist`, or a folder of IDX files; None: `fashion_mnist`.

    Raises:
        DataError: It does not exist, or something about it is wrong; the message says what.
    """
    return open_idx(find_data(None if data in (None, "fashion_mnist") else Path(data)))

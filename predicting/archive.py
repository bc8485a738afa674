"""A `.keras` file from anywhere: checked before it is unpacked."""

import errno
import io
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from search.command_line.parser import called
from search.errors import SearchError
from search.files import special_kind
from spaces.errors import one_line, shown

_CONFIG: Final = "config.json"
# Limits when unpacked: of the weights, and of all other files of an archive together.
MAX_MEGABYTES: Final = 1000
MAX_OTHER_MEGABYTES: Final = 4
_WEIGHTS: Final = "model.weights.h5"
_MEGABYTE: Final = 10**6
# Bytes that HDF5 may take beside the numbers.
_OVERHEAD: Final = 64 * _MEGABYTE
# Index of the directory's size in what `zipfile` finds at the end of an archive.
_DIRECTORY_SIZE: Final = 5


class ModelError(SearchError):
    """A model is missing or cannot be used; the message is one line."""


def check_model_file(path: Path) -> None:
    """Check the file without importing Keras and without unpacking its weights.

    Raises:
        ModelError: The file is missing, not in the `.keras` format, damaged, or too large when
            unpacked.
    """
    name = shown(path)
    try:
        kind = special_kind(path)
        if kind is None and path.suffix != ".keras":
            kind = "not named *.keras"
        elif kind is None and not zipfile.is_zipfile(path):
            kind = "truncated, or no zip archive"
        elif kind is None:
            with _reading(path):
                if _holds_model(path):
                    return
            kind = f"a zip archive without {_CONFIG} and {_WEIGHTS}"
    except FileNotFoundError:
        raise ModelError(
            f"model {name} does not exist. Run {called('report.py')} first, or name a .keras file."
        ) from None
    except OSError as error:
        raise ModelError(
            f"cannot read model {name} ({error.strerror}); check the file, or name another one "
            "with --model."
        ) from error
    raise ModelError(
        f"model {name} is not a .keras file: it is {kind}. Save it with model.save('NAME.keras'), "
        "or name another one with --model."
    )


def check_weights(path: Path, count: int) -> None:
    """Check that the stored weights take no more memory than a model's layers can need.

    Args:
        path: A `.keras` file that `check_model_file` accepts.
        count: Number of weights in the layers.

    Raises:
        ModelError: They take more, or there are too many weights in the layers, or they are
            damaged.
    """
    size, limit = 4 * count, MAX_MEGABYTES * _MEGABYTE
    if size <= limit:
        # An optimizer may have stored three more numbers for each weight.
        limit = min(limit, 4 * size + _OVERHEAD)
        with _reading(path), zipfile.ZipFile(path) as archive:
            size = archive.getinfo(_WEIGHTS).file_size
            content = archive.read(_WEIGHTS) if size <= limit else b""
        if content:
            size = _unpacked_size(path, content)
    if size > limit:
        raise _too_large(path, f"its {count:,} weights", size, limit)


def _holds_model(path: Path) -> bool:
    """Return whether an archive holds a model, by the names and sizes that it declares.

    `zipfile` reads no more of a file in an archive than its declared size.
    """
    limit = MAX_OTHER_MEGABYTES * _MEGABYTE
    with path.open("rb") as file:
        # `ZipFile` reads the whole directory, and has no public way to ask for its size before.
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
        if end[_DIRECTORY_SIZE] > limit:
            raise _too_large(path, "its list of files", end[_DIRECTORY_SIZE], limit)
    with zipfile.ZipFile(path) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        if len(sizes) < len(archive.infolist()):  # Keras unpacks each of equal names
            raise ModelError(
                f"model {shown(path)} contains two files of one name, which Keras does not write. "
                "Name another one with --model."
            )
        weights = sizes.pop(_WEIGHTS, None)
        if (others := sum(sizes.values())) > limit:
            raise _too_large(path, "all but its weights", others, limit)
        for name in sizes:
            archive.read(name)  # checks its CRC; Keras would blame what it makes of the content
    if weights is not None and weights > MAX_MEGABYTES * _MEGABYTE:
        raise _too_large(path, "its weights", weights, MAX_MEGABYTES * _MEGABYTE)
    return weights is not None and _CONFIG in sizes


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever `zipfile` raises for a damaged archive into one line."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        # EINVAL: the archive names a place before its start.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"model {shown(path)} is damaged ({one_line(error, typed=True)}). Copy it again from where "
        "it came, or name another one with --model."
    )


def _too_large(path: Path, part: str, size: int, limit: int) -> ModelError:
    return ModelError(
        f"model {shown(path)} is too large: {part} would take {size / _MEGABYTE:,.0f} MB; at most "
        f"{limit / _MEGABYTE:,.0f} MB. Name another one with --model."
    )


def _unpacked_size(path: Path, content: bytes) -> int:
    """Return the memory that reading all weights of an HDF5 file takes."""
    import h5py

    sizes: list[int] = []
    try:
        with h5py.File(io.BytesIO(content)) as weights:
            weights.visititems(lambda _, part: sizes.append(_bytes_of(part)))
    except Exception as error:  # a damaged file may raise anything
        raise _damaged(path, error) from error
    return sum(sizes)


def _bytes_of(part: Any) -> int:
    """Return the memory that reading a part of an HDF5 file takes: 0 for a group."""
    if not hasattr(part, "dtype"):
        return 0
    # Compressed data is unpacked by chunks, which may be larger than the data.
    numbers = max(math.prod(part.shape or ()), math.prod(part.chunks or ()))
    return int(numbers * part.dtype.itemsize)

"""Read arrays of an .npz file, after checking their headers."""

import lzma
import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from search.errors import DataError
from spaces.errors import one_line

_BLOCK: Final = 2**24  # bytes that are read at once
_MOST_ROW: Final = 2**28  # bytes: 256 MiB
_MOST_AT_ONCE: Final = 2**30  # bytes of an array that can only be read whole: 1 GiB
# What zipfile and NumPy raise for a damaged, encrypted or unsupported archive.
DAMAGED: Final = (
    *(OSError, EOFError, ValueError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Member:
    """An array of an archive, of which only the header was read.

    Args:
        archive: The .npz file.
        name: Name of the array.
        file: What messages call the archive.
    """

    archive: zipfile.ZipFile
    name: str
    file: str
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)
    in_columns: bool = field(init=False)  # its rows are scattered over the file

    def __post_init__(self) -> None:
        with self.archive.open(f"{self.name}.npy") as file:
            shape, in_columns, dtype = _header(file)
            start = file.tell()
        if dtype.hasobject:
            raise DataError(
                f"{self} holds pickled objects, which could run any code and are never read. Save "
                "it as an array of numbers or of text (array.astype(str))."
            )
        size = self.archive.getinfo(f"{self.name}.npy").file_size - start
        if size != dtype.itemsize * int(np.prod(shape, dtype=object)):
            raise DataError(
                f"{self} has {size} bytes of data for its shape {shape}; save it again."
            )
        row = size // max(1, math.prod(shape[:1]))
        if row > _MOST_ROW:
            raise DataError(
                f"{self} has rows of {row / 2**20:,.0f} MiB; at most {_MOST_ROW / 2**20:,.0f} MiB "
                "can be used. Save smaller images, as uint8."
            )
        for name, value in (("shape", shape), ("dtype", dtype), ("in_columns", in_columns)):
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        return f"{self.name} in {self.file}"

    def whole(self) -> Array:
        """Read the array at once.

        Raises:
            DataError: It is larger than 1 GiB.
        """
        size = self.dtype.itemsize * int(np.prod(self.shape, dtype=object))
        if size > _MOST_AT_ONCE:
            how = "is stored column by column and " if self.in_columns else ""
            raise DataError(
                f"{self} {how}takes {size / 2**30:,.1f} GiB, which must be read at once; at most "
                f"{_MOST_AT_ONCE / 2**30:,.0f} GiB can. Save images as numpy.ascontiguousarray("
                "images), and labels as integers."
            )
        with self.archive.open(f"{self.name}.npy") as file:
            _header(file)
            values = np.frombuffer(file.read(), self.dtype)
        return values.reshape(self.shape, order="F" if self.in_columns else "C")

    def blocks(self) -> Iterator[Array]:
        """Read the array a few rows at a time.

        Raises:
            DataError: Its rows are scattered over more than 1 GiB.
        """
        if self.in_columns:
            yield self.whole()
            return
        with self.archive.open(f"{self.name}.npy") as file:
            _header(file)
            row = self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))
            step = max(1, _BLOCK // max(1, row))
            for start in range(0, self.shape[0], step):
                count = min(step, self.shape[0] - start)
                content = file.read(count * row)
                yield np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    try:
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(file)
    except DAMAGED:
        raise
    except Exception as error:  # NumPy evaluates its text, which raises errors of many types
        raise ValueError(f"damaged header, {one_line(error, typed=True)}") from error
    raise ValueError(f"version {version} of the format of arrays")

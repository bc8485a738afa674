"""Standard streams that outlive the terminal or the pipe that they lead to."""

import errno
import io
import os
import select
import stat
import sys
from typing import TYPE_CHECKING, Final, TextIO

from search.escape import escaped

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_STDOUT: Final = 1
_STDERR: Final = 2


def keep_streams() -> None:
    """Keep the standard streams usable without a reader, so that output never ends the work.

    A stream that is closed, or whose terminal or reader goes away, leads to the null device.
    Characters that the encoding lacks are escaped. Control characters are escaped on standard
    output only: progress bars on standard error need them.
    """
    for descriptor in (0, _STDOUT, _STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            # Takes the lowest free number, which is this one; workers inherit it. Otherwise one of
            # their pipes would get it.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    # Streams that something has replaced are left alone.
    if sys.stdout is sys.__stdout__:
        sys.stdout = _kept(_Escaping, sys.stdout, _STDOUT)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _kept(io.TextIOWrapper, sys.stderr, _STDERR)


def _kept(kind: type[io.TextIOWrapper], stream: TextIO | None, descriptor: int) -> io.TextIOWrapper:
    if stream is not None:
        stream.flush()
    return kind(
        io.BufferedWriter(_Output(descriptor, "w", closefd=False)),
        encoding=None if stream is None else stream.encoding,
        errors="backslashreplace",
        line_buffering=True,  # an error belongs to the line that could not be written
    )


class _Escaping(io.TextIOWrapper):
    def write(self, text: str) -> int:
        return super().write(escaped(text))


class _Output(io.FileIO):
    """Standard output or standard error.

    It raises only errors that the user must know: the outcome could not be written to a file.
    """

    def write(self, content: "ReadableBuffer") -> int:
        """Write to the stream, or nowhere if its reader has gone away."""
        try:
            while (written := super().write(content)) is None:
                select.select([], [self], [])  # another program has set the pipe not to block
            return written
        except OSError as error:
            is_gone = isinstance(error, ConnectionError) or (
                error.errno == errno.EIO and stat.S_ISCHR(os.fstat(self.fileno()).st_mode)
            )
            if is_gone or self.fileno() == _STDOUT:
                self._lead_nowhere()
            if is_gone or self.fileno() == _STDERR:
                return memoryview(content).nbytes
            raise OSError(error.errno, error.strerror, "standard output") from error

    def _lead_nowhere(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)

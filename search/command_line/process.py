"""The process of a command: standard streams that outlive their readers, signals, exit codes."""

import errno
import io
import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO

from search.errors import StoppedEarly, StopReason
from search.escape import escaped

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_STDOUT: Final = 1
_STDERR: Final = 2
_REASONS: Final[dict[int, StopReason]] = {
    signal.SIGINT: StopReason.CTRL_C,
    signal.SIGTERM: StopReason.SIGTERM,
    signal.SIGHUP: StopReason.SIGHUP,
}
STOP_SIGNALS: Final = tuple(_REASONS)
EXIT_CODES: Final = {reason: 128 + number for number, reason in _REASONS.items()}  # as shells do
EXIT_CODES[StopReason.REQUESTED] = EXIT_CODES[StopReason.CTRL_C]


def prepare_process() -> None:
    """Prepare the streams and the signals of a command; the first call of its `main`."""
    _keep_streams()
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # Shell scripts start `&` jobs with SIGINT ignored, and only SIGINT; a person who sends it
        # with `kill -INT` wants to stop the search.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def stop_by_signal(on_stop: Callable[[StopReason], None]) -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into requests to stop while the context is open.

    Args:
        on_stop: As for `let_signals_stop`.
    """
    before = let_signals_stop(on_stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def let_signals_stop(on_stop: Callable[[StopReason], None]) -> dict[int, Any]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into requests to stop, from now on.

    An ignored signal stays ignored: under `nohup` a hangup must not stop anything. SIGINT is never
    ignored after `prepare_process`. Outside of the main thread nothing changes: Python lets no
    other thread handle signals.

    Args:
        on_stop: Receives the signal, a key of `EXIT_CODES`. It runs between any two
            instructions of the main thread, once for every signal.

    Returns:
        The previous handlers, by signal number.
    """

    def handle(number: int, frame: object) -> None:
        on_stop(_REASONS[number])

    if threading.current_thread() is not threading.main_thread():
        return {}
    answered = [number for number in _REASONS if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, handle) for number in answered}


def stop_early(reason: StopReason) -> None:
    """Raise an exception: the handler for `let_signals_stop` until the search can stop itself.

    Raises:
        StoppedEarly: Always.
    """
    raise StoppedEarly(reason)


def _keep_streams() -> None:
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

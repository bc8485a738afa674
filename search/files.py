"""Write files whole or not at all, and lock them against other processes."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


def write_atomically(file: Path, content: bytes) -> None:
    """Replace a file so that a reader, a crash or a full disk finds the old or the new content.

    Args:
        file: Its folder exists.
        content: All of the new content.

    Raises:
        OSError: The folder cannot be written; the old file is untouched.
    """
    descriptor, partial = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(descriptor, "wb") as written:
            written.write(content)
            written.flush()
            os.fsync(written.fileno())
        os.chmod(partial, 0o666 & ~_umask())  # mkstemp would keep it from the user's group
        os.replace(partial, file)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial)
        raise


@contextmanager
def locked(file: Path, refusal: Exception) -> Iterator[None]:
    """Hold a lock file; the system releases it when the process ends, however it ends.

    Args:
        file: The lock file; created if it does not exist.
        refusal: Raised if another process, or another part of this one, holds the lock.
    """
    # One thread may take the lock and another release it.
    lock = FileLock(file, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise refusal from None
    try:
        yield
    finally:
        lock.release()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

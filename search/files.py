"""Write files whole or not at all, lock them, and stay inside a folder."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from search.errors import StorageError


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


def refuse_links(folder: Path) -> None:
    """Refuse a folder whose entries, at any depth, lead out of it or are no files.

    What is written or read inside of such a folder could land anywhere. The folder itself may be
    reached through a link.

    Args:
        folder: The folder of a study, which somebody else may have made.

    Raises:
        StorageError: It contains a symbolic link, a pipe, a socket or a device.
        OSError: It cannot be read.
    """
    folders = [str(folder)]
    while folders:
        with suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:  # a search runs
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif not entry.is_file(follow_symlinks=False) and not _is_lock(entry.name):
                    raise StorageError(
                        f"{entry.path} is a symbolic link, a pipe or a device; these are not used "
                        "inside the folder of a study. Put the file or folder itself there, or "
                        "remove it."
                    )


def _is_lock(name: str) -> bool:
    # Optuna locks a journal by a link beside it, which it neither reads nor writes.
    return name.startswith("study.journal.lock")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

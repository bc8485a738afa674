"""Replace files and folders as a whole, lock them, and refuse links out of a folder."""

import errno
import fcntl
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from search.errors import StorageError

MOST_BYTES: Final = 10**7  # of a file of facts, which take much more memory as objects
_TRIES: Final = 10
_PAUSE_SECONDS: Final = 0.05
_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def special_kind(path: Path) -> str | None:
    """Return in words what a path is if it is not a regular file: opening it may block forever.

    Raises:
        OSError: The file does not exist, or links lead in a circle.
    """
    return _KINDS.get(stat.S_IFMT(path.stat().st_mode))


def real_path(path: Path | str) -> Path:
    """Return an absolute path without links; unlike `Path.resolve`, never an error.

    Circular links are kept; opening the path then raises the error.
    """
    return Path(os.path.realpath(path))


def read_object(file: Path) -> dict[str, Any]:
    """Return the JSON object of a file; an empty one if the file is missing or damaged."""
    try:
        content = json.loads(read_limited(file))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def read_limited(file: Path, most: int = MOST_BYTES) -> bytes:
    """Return the content of a file that somebody else may have made.

    Args:
        file: The file.
        most: The most bytes that it may have.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no regular file, or larger; the message continues the name of the file.
    """
    if kind := special_kind(file):
        raise ValueError(f"it is {kind}")
    with file.open("rb") as opened:
        content = opened.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it is larger than {most // 10**6:,} MB")
    return content


def write_atomically(file: Path, content: bytes) -> None:
    """Replace a file atomically: readers see the old or the new content, even after a crash.

    Args:
        file: File to replace, in a folder that exists.
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


def replace_folder(fresh: Path, target: Path, aside: Path) -> None:
    """Put a complete folder in place of another: readers see the old files or the new ones.

    A process that is killed between the two renames leaves nothing at `target`; the old files are
    in `aside` then. Callers choose whether to restore them, and remove `aside`.

    Args:
        fresh: The new folder; callers that must survive a power cut have flushed it.
        target: Where it belongs; whatever is there is renamed to `aside`.
        aside: A name that is free, or an empty folder, on the same file system.

    Raises:
        OSError: It cannot be renamed, or another process has put a folder there meanwhile.
    """
    with suppress(FileNotFoundError):
        target.rename(aside)
    fresh.rename(target)


@contextmanager
def locked(path: Path, refusal: Callable[[str], Exception]) -> Iterator[None]:
    """Lock a folder or a file; the system releases it when the process ends, however it ends.

    Choose a path that is never deleted: a new file in its place would have a new lock.

    Args:
        path: The folder or file; a file is created if nothing is there.
        refusal: Makes the error to raise if another process, or another part of this one, holds
            the lock; it gets the name of that process.

    Raises:
        OSError: It cannot be opened or locked.
    """
    access = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    descriptor = os.open(path, access, 0o666)
    try:
        if not _lock(descriptor):
            raise refusal(_holder(os.fstat(descriptor).st_ino))
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock an open file; return whether no other process holds it."""
    for _ in range(_TRIES):
        with suppress(BlockingIOError), _flock_errors():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(_PAUSE_SECONDS)  # `is_locked` of another process holds it briefly
    return False


@contextmanager
def _flock_errors() -> Iterator[None]:
    """Name the cause where a file system, such as Lustre without `-o flock`, has no locks.

    Raises:
        StorageError: It has none.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            raise
        raise StorageError(
            f"the file system of the study's folder has no file locks ({error.strerror}); use "
            "--results-dir on another one, or mount it with flock."
        ) from error


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of `locked` on a folder or a file.

    Raises:
        OSError: It exists and cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # A shared lock, so that two processes that check at once do not block each other.
        with _flock_errors():
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _holder(inode: int) -> str:
    """Return the process that locked a file, where the system tells."""
    with suppress(OSError):  # Linux only
        for line in Path("/proc/locks").read_text().splitlines():
            _, kind, _, _, process, file, *_ = line.split()
            if kind == "FLOCK" and file.endswith(f":{inode}") and process.isdecimal():
                return "this process" if int(process) == os.getpid() else f"process {process}"
    return "another process"


def refuse_links(folder: Path) -> None:
    """Refuse a folder that contains links or special files at any depth.

    They could lead reads and writes out of the folder. The folder itself may be reached through
    a link.

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
                        "inside a folder of results. Put the file or folder itself there, or "
                        "remove it."
                    )


def _is_lock(name: str) -> bool:
    # Optuna locks a journal by a link beside it, which it neither reads nor writes.
    return name.startswith("study.journal.lock")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

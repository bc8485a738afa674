"""Storages of studies: a journal file, or a database named by a URL."""

import json
import os
import time
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import optuna
from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from search.errors import SearchError, StorageError
from search.files import real_path
from search.secrets import masked_url
from search.study.database import connect_options, one_at_a_time
from search.study.provenance import install_command
from spaces.errors import one_line

JOURNAL: Final = "study.journal"  # file in the folder of a study
_BLOCK = 1 << 16
# A process holds the lock of a journal for one write.
_LOCK_SECONDS: Final = 30.0  # Optuna's own
_FIRST: Final = b'{"op_code":'  # as Optuna writes it, without spaces


def shown_storage(url: str | None, directory: Path) -> str:
    """Return where a study is stored, for messages: its database without password, or its journal.

    Args:
        url: Database; None for a journal file in `directory`.
        directory: Folder of the study.
    """
    return str(directory / JOURNAL) if url is None else masked_url(url)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Let Optuna log errors only."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def is_server(url: str | None) -> bool:
    """Whether the URL names a database on a server."""
    return url is not None and not url.startswith("sqlite")


def open_storage(journal: Path, url: str | None) -> BaseStorage:
    """Open the storage of a study, created if it does not exist.

    Args:
        journal: Absolute path of the journal file.
        url: `sqlite:///...`, `postgresql://...` or `mysql+pymysql://...`; None for the journal.

    Raises:
        StorageError: The URL is malformed, its driver is not installed, the server does not
            answer, or the file is no journal.
    """
    if url is None:
        return _open_journal(journal)
    check_url(url)
    shown = masked_url(url)
    try:
        if not is_server(url):
            return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
        with one_at_a_time(url, "make the tables"):
            return RDBStorage(url, engine_kwargs=connect_options(url))
    except (TypeError, ValueError) as error:
        raise StorageError(
            f"--storage {shown} has an option that its driver does not know, or whose value it "
            "refuses; see the driver's documentation for those after the ?."
        ) from error
    except (SQLAlchemyError, OSError, OptunaError, RuntimeError) as error:
        reason = one_line(error).replace(url, shown)
        raise StorageError(
            f"--storage {shown} cannot be opened: {reason}. Check the address, user, password and "
            "database, and that the server runs; then run the same command again."
        ) from error


def _open_journal(journal: Path) -> BaseStorage:
    backend = _CountingBackend(str(journal), lock_obj=_JournalLock(journal))
    with reading(str(journal)):
        try:
            return JournalStorage(backend)
        except OSError:
            raise
        except Exception as error:  # Optuna does not check what it reads
            raise _damaged_line(journal, backend.line) from error


class _CountingBackend(JournalFileBackend):
    """Optuna's journal file that also counts lines, to name the one being read or applied."""

    line = 1

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """See `JournalFileBackend`; lines are read while Optuna applies them."""
        self.line = log_number_from + 1
        for record in super().read_logs(log_number_from):
            yield record
            self.line += 1


def _damaged_line(journal: Path, line: int) -> StorageError:
    return StorageError(
        f"{journal} cannot be read as a study: its line {line} is damaged, or not of a study's "
        "journal. Restore it from a backup, or start another study with --study NAME."
    )


def check_url(url: str) -> None:
    """Refuse the URL of a database that cannot hold a study, without opening it.

    Raises:
        StorageError: The URL is malformed, or its driver is not installed.
    """
    shown = masked_url(url)
    address, _, options = url.partition("?")
    if is_server(url) and (address.count("@") > 1 or "@" in options):
        raise StorageError(
            f"--storage {shown} has an extra @: only one is allowed, before the host. Write an @ "
            "in the user name, password or options as %40."
        )
    try:
        parts = make_url(url)
        parts.get_dialect().import_dbapi()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:  # of a port that is no number
        given = f"--storage {shown}" if "://" in url else "--storage"
        raise StorageError(
            f"{given} is not a database URL; write sqlite:///file.db, "
            "postgresql://user@host/database or mysql+pymysql://user@host/database."
        ) from error
    except ImportError as error:
        raise StorageError(
            f"--storage {shown} needs a driver that is not installed ({error}); "
            f"{install_command(['-r', 'requirements-distributed.txt'])} installs those of "
            "postgresql:// and mysql+pymysql://."
        ) from error
    if is_server(url):
        return
    file = sqlite_file(url)
    if file is None or parts.query.get("mode") == "memory":
        raise StorageError(
            f"--storage {shown} names no file, so the study would be lost when the search ends; "
            "write sqlite:///file.db."
        )
    if file.is_dir() or not file.parent.is_dir():
        why = "it is a folder" if file.is_dir() else f"there is no folder {file.parent}"
        raise StorageError(
            f"--storage {shown} cannot be opened: {why}. Name a file in a folder that exists."
        )


def sqlite_file(url: str) -> Path | None:
    """Return the absolute path of the file that an SQLite URL names; None if it names none."""
    name = (make_url(url).database or "").removeprefix("file:")
    return None if not name or ":memory:" in name else real_path(name)


def file_of(url: str | None, journal: Path) -> Path | None:
    """Return the file of a study: its journal, or that of SQLite; None for a database server.

    Args:
        url: Database; None for the journal.
        journal: Path of the journal.
    """
    if url is None:
        return journal
    return None if is_server(url) else sqlite_file(url)


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn the errors of a storage in use into one line.

    Args:
        what: Name of the storage, for the message.

    Raises:
        StorageError: It cannot be read or written.
    """
    try:
        yield
    except json.JSONDecodeError as error:
        raise _damaged(what, error) from error
    except FileNotFoundError as error:
        raise StorageError(
            f"{_missing(error, what)} is gone: it was deleted or moved during the run. Put back "
            "what you need of it, then run the same command again."
        ) from error
    except (OSError, OptunaError, SQLAlchemyError) as error:
        if isinstance(error, OSError) and isinstance(error.filename, str):
            what = error.filename  # of an artifact or a checkpoint, say
        raise StorageError(
            f"{what} cannot be read or written: {one_line(error)}. Stored trials are not lost; "
            f"{_remedy(error)}, then run the same command again."
        ) from error


def _remedy(error: Exception) -> str:
    match error:
        case IsADirectoryError():
            return "move that folder away"
        case PermissionError():
            return "fix its permissions"
        case _:
            return "free space or restore the connection"


def _missing(error: FileNotFoundError, what: str) -> str:
    """Return the topmost folder or file that is not there."""
    path = Path(error.filename if isinstance(error.filename, str) else what)
    while not path.parent.exists():
        path = path.parent
    return str(path)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn whatever Optuna raises for a damaged study into one line.

    Args:
        what: Name of the storage, for the message.

    Raises:
        StorageError: It cannot be read.
    """
    try:
        with storage_errors(what), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that a study should not hold
            yield
    except SearchError:
        raise
    except Exception as error:  # Optuna does not check what it reads
        raise _damaged(what, error) from error


def _damaged(what: str, error: Exception) -> StorageError:
    return StorageError(
        f"{what} cannot be read as a study ({one_line(error, typed=True)}). Restore it from a "
        "backup, or start another study with --study NAME."
    )


class _JournalLock(JournalFileSymlinkLock):
    """Optuna's lock of a journal, a link beside it; the next start removes a dead one.

    Optuna judges by the age of the link's target. Once the folder was moved or copied, the target
    is missing or another study's journal, and Optuna would wait for ever.

    Args:
        journal: Absolute path of the journal file.
    """

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))
        self._journal = journal
        self._link = _lock_of(journal)
        self._held: tuple[int, int] | None = None

    def acquire(self) -> bool:
        """Wait for the lock; one that stays unchanged for 30 seconds is removed."""
        seen, since, pause = _made(self._link), time.monotonic(), 0.001
        while True:
            with suppress(FileExistsError):
                os.symlink(self._journal, self._link)
                self._held = self._found()
                return True
            now = _made(self._link)
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > _LOCK_SECONDS:
                self._link.unlink(missing_ok=True)
            time.sleep(pause)
            pause = min(2 * pause, 0.1)

    def release(self) -> None:
        """Give the lock back; if this process was too slow, another one has removed it."""
        if self._found() == self._held:
            self._link.unlink(missing_ok=True)

    def _found(self) -> tuple[int, int] | None:
        """Return what identifies the link that is there now; None without one."""
        with suppress(FileNotFoundError):
            found = self._link.lstat()
            return found.st_ino, found.st_mtime_ns
        return None


def _lock_of(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}.lock")


def _made(link: Path) -> float | None:
    """Return when a link was made, in seconds since 1970; None if there is none."""
    try:
        return link.lstat().st_mtime
    except FileNotFoundError:
        return None


def remove_old_lock(journal: Path) -> bool:
    """Remove the lock that a killed process left; return whether there was one.

    Call it only while the study is held.
    """
    link = _lock_of(journal)
    made = _made(link)
    if made is None or abs(time.time() - made) < _LOCK_SECONDS:
        return False
    link.unlink(missing_ok=True)
    return True


def repair_journal(journal: Path) -> int:
    """Cut off a last line that a crash or a full disk left unfinished.

    Otherwise the next line would be appended to it, and the file could not be read. Call this only
    while the study is held, and for a file that `open_storage` accepts.

    Returns:
        Number of bytes cut off.

    Raises:
        StorageError: The file is no journal; it is left as it is.
    """
    if not journal.exists():
        return 0
    # Other processes may send a request to the study at any time.
    with _journal_locked(journal), journal.open("r+b") as file:
        size = keep = file.seek(0, os.SEEK_END)
        if not _last_line(file, keep)[1].endswith(b"\n"):
            keep = _last_line(file, keep)[0]
        start, line = _last_line(file, keep)
        # A line that was appended to an unfinished one; a file with more of them is no journal.
        if not _is_sound(line) and _is_sound(_last_line(file, start)[1]):
            keep = start
        whole = _last_line(file, keep or size)[1]
        # Optuna reads a file whose only damage is its last line.
        if size and not (_is_sound(whole) if keep else _may_begin(whole)):
            file.seek(0)
            raise _damaged_line(journal, file.read(keep or size).count(b"\n") or 1)
        file.truncate(keep)
        return size - keep


@contextmanager
def _journal_locked(journal: Path) -> Iterator[None]:
    lock = _JournalLock(journal)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _last_line(file: BinaryIO, end: int) -> tuple[int, bytes]:
    position = end - 1  # the line's own newline does not count
    start = 0
    while position > 0:
        block = max(0, position - _BLOCK)
        file.seek(block)
        newline = file.read(position - block).rfind(b"\n")
        if newline >= 0:
            start = block + newline + 1
            break
        position = block
    file.seek(start)
    return start, file.read(end - start)


def _may_begin(line: bytes) -> bool:
    """Return whether an unfinished line may be the first one of a journal."""
    return line[: len(_FIRST)] == _FIRST[: len(line)]


def _is_sound(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True

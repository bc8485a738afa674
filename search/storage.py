"""Where studies live: a journal file of their own, or a database named by a URL."""

import os
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from search.errors import StorageError

_BLOCK = 1 << 16


def mask_password(url: str) -> str:
    """The URL as it may be shown and stored: its password is replaced by `***`."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "the given URL"


def open_storage(journal: Path, url: str | None) -> BaseStorage:
    """Open the storage of a study; the journal file is made if it is not there.

    Args:
        journal: Absolute path of the journal file, used when there is no URL.
        url: `sqlite:///...`, `postgresql://...` or `mysql://...`; None: the journal.

    Raises:
        StorageError: The URL is malformed, its driver is not installed, nobody answers there,
            or the journal holds something else.
    """
    if url is None:
        # A relative path would leave a dangling lock when its holder is killed.
        lock = JournalFileSymlinkLock(str(journal), grace_period=10)
        try:
            return JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))
        except (ValueError, KeyError, AssertionError) as error:
            raise StorageError(
                f"{journal} cannot be read as a journal ({type(error).__name__}: {error}). Restore "
                "it from a backup, or start another study with --study NAME."
            ) from error
    shown = mask_password(url)
    try:
        make_url(url)
        options = (
            {"connect_args": {"timeout": 60}}
            if url.startswith("sqlite")
            else {"pool_pre_ping": True}
        )
        return optuna.storages.RDBStorage(url, engine_kwargs=options)
    except (ArgumentError, NoSuchModuleError) as error:
        raise StorageError(
            f"--storage {shown} is no database URL; write sqlite:///file.db, "
            "postgresql://user@host/database or mysql://user@host/database."
        ) from error
    except ImportError as error:
        raise StorageError(
            f"--storage {shown} needs a driver that is not installed ({error}); "
            "pip install psycopg (PostgreSQL) or mysqlclient (MySQL)."
        ) from error
    except (SQLAlchemyError, OSError, optuna.exceptions.StorageInternalError) as error:
        reason = _first_line(error).replace(url, shown)
        raise StorageError(
            f"--storage {shown} cannot be reached: {reason}. Check the address and that the "
            "database server runs; the same command continues then."
        ) from error


def _first_line(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error.__cause__ or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")


def repair_journal(journal: Path) -> int:
    """Cut off a last line that a crash or a full disk left unfinished.

    Such a line reads fine until the next one is appended to it, which spoils the file for good.
    Call it only while nobody writes.

    Returns:
        Bytes cut off; 0 for a sound or a missing file.
    """
    if not journal.exists():
        return 0
    with journal.open("r+b") as file:
        size = keep = file.seek(0, os.SEEK_END)
        while keep > 0:
            start = max(0, keep - _BLOCK)
            file.seek(start)
            newline = file.read(keep - start).rfind(b"\n")
            if newline >= 0:
                keep = start + newline + 1
                break
            keep = start
        if keep < size:
            file.truncate(keep)
        return size - keep

"""Replace the folder of a report as a whole."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reporting.errors import ReportError
from search.files import replace_folder


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Turn an error of the file system into one line.

    Args:
        directory: Folder that the block writes to; the message names it.

    Raises:
        ReportError: The block could not write.
    """
    try:
        yield
    except OSError as error:
        raise ReportError(
            f"{directory} cannot be written ({error.strerror or error}). The study, finished "
            "trainings and an earlier report are kept: free disk space or give a writable folder, "
            "then run the same command again."
        ) from error


def restore(directory: Path) -> None:
    """Rename the old folder back if a killed process left none in its place.

    Raises:
        ReportError: The folder cannot be written.
    """
    old = _beside(directory, "old")
    with writing(directory):
        if old.exists() and not directory.exists():
            old.rename(directory)


@contextmanager
def replaced(directory: Path) -> Iterator[Path]:
    """Yield an empty folder, which replaces `directory` when the block ends without an error.

    Args:
        directory: Folder to replace; its parent exists.

    Raises:
        ReportError: The folder cannot be written; `directory` is unchanged.
    """
    fresh, old = (_beside(directory, which) for which in ("new", "old"))
    restore(directory)
    try:
        with writing(directory):
            _remove(fresh, old)
            fresh.mkdir()
            yield fresh
            # Killed between its two renames, `restore` finds the old folder.
            replace_folder(fresh, directory, aside=old)
    finally:
        restore(directory)
        _remove(fresh, old)


def _remove(fresh: Path, old: Path) -> None:
    shutil.rmtree(fresh, ignore_errors=True)
    with suppress(OSError):
        old.rename(fresh)  # `restore` must not find half of it
    shutil.rmtree(fresh, ignore_errors=True)


def _beside(directory: Path, which: str) -> Path:
    return directory.with_name(f".{directory.name}-{which}")

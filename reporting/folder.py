"""The folder of a report: the old one or the new one, never a mixture."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reporting.errors import ReportError


@contextmanager
def replaced(directory: Path) -> Iterator[Path]:
    """Fill a new folder, and put it in the place of `directory` once all of it is written.

    Args:
        directory: Its parent exists; what it holds is removed in the end.

    Yields:
        An empty folder.

    Raises:
        ReportError: It cannot be written; `directory` is as it was.
    """
    fresh, old = (directory.with_name(f".{directory.name}-{which}") for which in ("new", "old"))
    try:
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)
        fresh.mkdir()
        yield fresh
        if directory.exists():
            directory.rename(old)
        fresh.rename(directory)
    except OSError as error:
        raise ReportError(
            f"{directory} cannot be written ({error.strerror or error}). What was retrained is "
            "kept: free space or give a folder that you may write, then run the same command again."
        ) from error
    finally:
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)

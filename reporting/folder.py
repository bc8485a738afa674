"""Replace the folder of a report as a whole."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reporting.errors import ReportError


@contextmanager
def replaced(directory: Path) -> Iterator[Path]:
    """Yield an empty folder, which replaces `directory` when the block ends without an error.

    Args:
        directory: Folder to replace; its parent exists.

    Raises:
        ReportError: The folder cannot be written; `directory` is unchanged.
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
            f"{directory} cannot be written ({error.strerror or error}). Finished trainings are "
            "kept: free disk space or give a writable folder, then run the same command again."
        ) from error
    finally:
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)

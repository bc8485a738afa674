"""The project folder: files that are written whole or not at all, and its study's journal."""

import json
import os
import uuid
from contextlib import ExitStack, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from keras_tuner.src import utils
from optuna.storages import BaseStorage

from search.errors import StorageError
from search.study.storage import open_storage, repair_journal

JOURNAL = "study.journal"


def write_json(path: str, content: object) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    if is_remote(path):  # object stores replace whole files anyway
        utils.save_json(path, content)
        return
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "x") as file:  # mkstemp would keep it from the user's group
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


class ProjectInUseError(RuntimeError):
    """Somebody else searches the project."""


def lock_project(project_dir: str) -> ExitStack:
    """Keep others from searching a project.

    Args:
        project_dir: Its folder. The lock lies beside it, as overwriting deletes what is inside.

    Returns:
        What lets go when it is closed; the end of the process does, too.

    Raises:
        ProjectInUseError: Another tuner holds the project, here or in another process.
    """
    stack = ExitStack()
    if not is_remote(project_dir):
        folder = Path(project_dir).absolute()
        folder.parent.mkdir(parents=True, exist_ok=True)
        # KerasTuner may begin a trial in one thread and end it in another.
        lock = FileLock(folder.with_name(f".{folder.name}.lock"), thread_local=False)
        try:
            stack.enter_context(lock.acquire(timeout=0))
        except Timeout as error:
            raise ProjectInUseError(
                f"project {project_dir} is being searched by another process or tuner (it holds "
                f"{lock.lock_file}). Wait for it or stop it (one left in this process: "
                "oracle.interrupt(KeyboardInterrupt())), or choose another project_name."
            ) from error
    return stack


def is_remote(path: str) -> bool:
    """Whether the path is a URL such as `gs://bucket/folder`, which TensorFlow writes to."""
    return "://" in path


def open_project_storage(storage: BaseStorage | str | None, project_dir: str) -> BaseStorage:
    """The storage of a project's study.

    Args:
        storage: A storage, a database URL, or None: a journal in the project's folder.
        project_dir: That folder.

    Raises:
        ValueError: The URL is malformed or nobody answers there, the journal holds something else,
            or the folder is not on a local disk.
    """
    if isinstance(storage, BaseStorage):
        return storage
    if storage is None and is_remote(project_dir):
        raise ValueError(
            f"a study cannot be kept in {project_dir}, which is no local folder; give a database "
            "as storage, for example storage='postgresql://user@host/database'."
        )
    try:
        return open_storage(journal_path(project_dir), storage)
    except StorageError as error:
        raise ValueError(str(error).removeprefix("--")) from error


def journal_path(project_dir: str) -> Path:
    """Where a project without another storage keeps its study."""
    return Path(project_dir).absolute() / JOURNAL


def mend_journal(project_dir: str) -> None:
    """Cut off what a crash left half written; only while nobody searches the project."""
    if not is_remote(project_dir):
        repair_journal(journal_path(project_dir))

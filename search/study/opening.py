"""Open a study for one coordinator: lock it, check it, and queue what must run first."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.engine import make_url

from search.errors import StudyError
from search.files import locked
from search.study.database import Outages, held_storage
from search.study.storage import is_server, open_storage, repair_journal
from search.study.study import enqueue_first, open_study, requeue_abandoned


@contextmanager
def opened_study(
    name: str,
    url: str | None,
    directory: Path,
    facts: Mapping[str, Any],
    first: Mapping[str, Mapping[str, Any]],
    say: Callable[[str], None],
    outages: Outages,
) -> Iterator[optuna.Study]:
    """Hold a study for this process, created or continued.

    Args:
        name: Name of the study.
        url: Database; None: a journal file in `directory`.
        directory: Folder of the study.
        facts: What the study stores (see `open_study`).
        first: Configurations of the first trials, by name.
        say: Takes a line for the user.
        outages: Waits while a database server is away.

    Raises:
        StudyError: Another process searches it, or its trials are not comparable.
        StorageError: It cannot be opened.
    """
    journal = directory / "study.journal"
    with _storage(name, url, directory, journal, say, outages) as storage:
        study = open_study(storage, name, facts)
        if requeued := requeue_abandoned(study):
            say(f"{requeued} trials that were cut off will be run again")
        enqueue_first(study, first)
        yield study


@contextmanager
def _storage(
    name: str,
    url: str | None,
    directory: Path,
    journal: Path,
    say: Callable[[str], None],
    outages: Outages,
) -> Iterator[BaseStorage]:
    if url is not None and is_server(url):
        storage = open_storage(journal, url)
        assert isinstance(storage, RDBStorage)
        with held_storage(storage, name, outages) as held:
            yield held
        return
    file = _lock_file(directory, name, url)
    refusal = StudyError(
        f"study {name!r} is being searched by another process (it holds {file}). Wait for it or "
        "stop it, or start another study with --study NAME."
    )
    with locked(file, refusal):
        if url is None and (cut := repair_journal(journal)):
            say(f"{journal}: cut off {cut} bytes of an unfinished last line")
        yield open_storage(journal, url)


def _lock_file(directory: Path, name: str, url: str | None) -> Path:
    if url is not None and "://" in url and (file := make_url(url).database):
        # Beside the file: two results folders may share it.
        beside = Path(f"{file}.{name}.lock").resolve()
        if beside.parent.is_dir():
            return beside
    return directory / "search.lock"

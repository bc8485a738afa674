"""Open a study to be searched: by one process where it is a file, by several on a server."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from sqlalchemy.engine import make_url

from search.engines.optuna_engine import requeue_abandoned
from search.settings import SearchSettings, is_server
from search.study.claims import Claims, SharedClaims
from search.study.database import Database, one_at_a_time
from search.study.leases import BEAT_SECONDS, GRACE_SECONDS, Leases
from search.study.storage import open_storage, repair_journal
from search.study.study import enqueue_first, lock_study, open_study


@contextmanager
def opened_study(
    settings: SearchSettings,
    directory: Path,
    facts: Mapping[str, Any],
    first: Mapping[str, Mapping[str, Any]],
    say: Callable[[str], None],
    *,
    beat_seconds: float = BEAT_SECONDS,
    grace_seconds: float = GRACE_SECONDS,
) -> Iterator[tuple[optuna.Study, Claims]]:
    """Inside, the study is this process' to search, alone or beside others.

    Args:
        settings: What to search.
        directory: Folder of the study; of its journal, if there is no database.
        facts: What the study stores (see `open_study`).
        first: Configurations that shall be its first trials, by name.
        say: Takes what a person must know.
        beat_seconds: See `Leases`.
        grace_seconds: See `Leases`.

    Yields:
        The study, and which of its trials this process may take.

    Raises:
        StudyError: Somebody else searches it, or what it holds does not fit.
        StorageError: It cannot be opened.
    """
    name, url = settings.study_name, settings.storage
    journal = directory / "study.journal"
    if url is None or not is_server(url):
        with lock_study(_lock_file(directory, name, url), name):
            if url is None and (cut := repair_journal(journal)):
                say(f"{journal}: cut off {cut} bytes of an unfinished last line")
            study = open_study(open_storage(journal, url), name, facts)
            _requeue(study, say)
            enqueue_first(study, first)
            yield study, Claims()
        return
    storage = open_storage(journal, url)
    assert isinstance(storage, RDBStorage)
    database = Database(storage, say)
    with one_at_a_time(url, f"open study {name}"):
        study = open_study(database, name, facts)
        leases = Leases(study, beat_seconds, grace_seconds)
        if not settings.join:
            leases.take_over(say)
            _requeue(study, say)
        enqueue_first(study, first)
        leases.open()
    try:
        yield study, SharedClaims(study, database, leases, settings.trials, say)
    finally:
        leases.close()


def _requeue(study: optuna.Study, say: Callable[[str], None]) -> None:
    if waiting := requeue_abandoned(study):
        say(f"{waiting} trials that were cut off will be run again")


def _lock_file(directory: Path, name: str, url: str | None) -> Path:
    if url is not None and "://" in url and (file := make_url(url).database):
        # Beside the file: two results folders may share it.
        beside = Path(f"{file}.{name}.lock").resolve()
        if beside.parent.is_dir():
            return beside
    return directory / "search.lock"

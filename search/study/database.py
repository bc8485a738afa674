"""A study in a database on a server: held by one coordinator, which waits out a restart."""

import functools
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn, TypeVar, cast

from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import NullPool, create_engine, event, text
from sqlalchemy.engine import ExceptionContext, make_url
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_fixed,
)

from search.errors import StoppedError, StopReason, StorageError, StudyError
from search.study.requests import ENQUEUED
from spaces.errors import one_line

PATIENCE_SECONDS: Final = 600.0
_RETRY_SECONDS: Final = 0.2
# A lost connection keeps its lock until the server notices that nobody answers there.
_OLD_LOCK_SECONDS: Final = 60.0
# A machine that dies closes no connection: without these, TCP notices after hours.
_LIBPQ: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_PYMYSQL: Final = {"connect_timeout": 10, "read_timeout": 60, "write_timeout": 60}
_CONNECT: Final[dict[str, dict[str, Any]]] = {
    "psycopg": _LIBPQ,
    "psycopg2": _LIBPQ,
    "pymysql": _PYMYSQL,
    "mysqldb": _PYMYSQL,
}
_SERVER_KEEPALIVE: Final = (
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
)

# A key of 64 bits is listed as two numbers of 32.
_HELD_IN_POSTGRESQL: Final = """
    SELECT count(*) FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32) | objid::bigint = :key
"""

T = TypeVar("T")


def connect_options(url: str) -> dict[str, Any]:
    """Return keyword arguments of SQLAlchemy's `create_engine` for the URL's driver."""
    parts = make_url(url)
    defaults = _CONNECT.get(parts.get_driver_name(), {})
    chosen = {name: value for name, value in defaults.items() if name not in parts.query}
    return {"pool_pre_ping": True, "connect_args": chosen}


@contextmanager
def one_at_a_time(url: str, what: str) -> Iterator[None]:
    """Let only one process at a time run a step in a database.

    Args:
        url: The database.
        what: Name of the step.
    """
    key = _lock_key(url, what)
    engine = create_engine(url, poolclass=NullPool, **connect_options(url))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        else:
            connection.execute(text("SELECT GET_LOCK(:key, 600)"), {"key": str(key)})
        yield


class _ServerAwayError(Exception):
    """The connection could not be made, or was lost; the lost statement may have been executed."""


class Outages:
    """Repeats calls while a database server is away, and measures for how long.

    Args:
        say: Called with a line for the user, at the start and at the end of an outage.
        patience_seconds: Longest outage.
    """

    def __init__(
        self, say: Callable[[str], None], patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._say = say
        self._patience_seconds = patience_seconds
        self._away_seconds = 0.0
        self._stopped_by: StopReason | None = None
        self._retrying = Retrying(
            retry=retry_if_exception_type(_ServerAwayError),
            wait=wait_fixed(_RETRY_SECONDS),
            stop=self._is_over,
            retry_error_callback=self._give_up,
        )

    def stop(self, reason: StopReason) -> None:
        """Stop waiting, now and later. Safe in a signal handler."""
        self._stopped_by = reason

    def clock(self) -> float:
        """Return a monotonic time in seconds that stands still during an outage."""
        return time.monotonic() - self._away_seconds

    def wait_out(self, call: Callable[[], T], again: Callable[[], T] | None = None) -> T:
        """Call a function, again after an outage if it was cut off.

        Args:
            call: Uses the database.
            again: Used in place of `call` after an outage, if that may not be done twice.

        Raises:
            StoppedError: `stop` was called, and the server is away.
            StorageError: The server is away for too long.
        """
        try:
            return call()
        except _ServerAwayError:
            began = time.monotonic()
            minutes = self._patience_seconds / 60
            self._say(f"the database does not answer; waiting up to {minutes:g} min (Ctrl-C stops)")
            result: T = self._retrying(again or call)
            self._away_seconds += time.monotonic() - began
            self._say("the database answers again")
            return result

    def _is_over(self, state: RetryCallState) -> bool:
        return self._stopped_by is not None or stop_after_delay(self._patience_seconds)(state)

    def _give_up(self, state: RetryCallState) -> NoReturn:
        if self._stopped_by is not None:
            raise StoppedError(self._stopped_by)
        assert state.outcome is not None
        error = state.outcome.exception()
        assert error is not None
        raise StorageError(
            f"the database did not answer for {self._patience_seconds / 60:g} min "
            f"({one_line(error)}). Stored trials are not lost; restore the connection, then run "
            "the same command again."
        ) from error


@contextmanager
def held_storage(storage: RDBStorage, study: str, outages: Outages) -> Iterator[BaseStorage]:
    """Hold a study in a database for this process.

    The lock belongs to the connection that reads and writes the study, so that nothing is written
    without it: a connection that replaces a lost one takes the lock first.

    Args:
        storage: The database; not used by another thread.
        study: Name of the study.
        outages: Waits for the server.

    Yields:
        The storage, whose methods wait out an outage.

    Raises:
        StudyError: (when the storage is used) Another process holds the study.
    """
    event.listen(storage.engine, "handle_error", _tell_lost_connections)
    event.listen(storage.engine, "connect", _StudyLock(storage, study).take)
    storage.engine.dispose()  # connections made before
    try:
        yield cast(BaseStorage, _WaitingStorage(storage, outages))
    finally:
        storage.engine.dispose()


def is_held(url: str, study: str) -> bool:
    """Return whether a process holds a study in a database; its lock is not touched.

    Args:
        url: The database, on a server.
        study: Name of the study.
    """
    key = _lock_key(url, _lock_name(study))
    engine = create_engine(url, poolclass=NullPool, **connect_options(url))
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            return bool(connection.execute(text(_HELD_IN_POSTGRESQL), {"key": key}).scalar())
        held_by = connection.execute(text("SELECT IS_USED_LOCK(:key)"), {"key": str(key)}).scalar()
        return held_by is not None


class _WaitingStorage:
    """Optuna's storage, with each method repeated when the connection is lost.

    All methods of `BaseStorage` may be called twice with the same result, except the ones here.
    """

    def __init__(self, storage: RDBStorage, outages: Outages) -> None:
        self._storage = get_storage(storage)  # cached: finished trials are read once
        self._outages = outages

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._storage, name)

        @functools.wraps(method)
        def waiting(*args: Any, **kwargs: Any) -> Any:
            return self._outages.wait_out(lambda: method(*args, **kwargs))

        return waiting

    def delete_study(self, study_id: int) -> None:
        """Delete a study, also when the answer of the database is lost."""

        def delete() -> None:
            self._storage.delete_study(study_id)

        def delete_what_is_left() -> None:
            with suppress(KeyError):  # it was deleted
                delete()

        self._outages.wait_out(delete, delete_what_is_left)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Create a trial once, also when the answer of the database is lost."""
        known = self._outages.wait_out(lambda: self._storage.get_n_trials(study_id))

        def create() -> int:
            return self._storage.create_new_trial(study_id, template_trial)

        def find_or_create() -> int:
            # Other processes create none but enqueued trials.
            created = [
                trial
                for trial in self._storage.get_all_trials(study_id, deepcopy=False)[known:]
                if ENQUEUED not in trial.user_attrs
            ]
            # A storage answers with the id, for which Optuna's trials have no public name.
            return created[-1]._trial_id if created else create()

        return self._outages.wait_out(create, find_or_create)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Change the state once, also when the answer of the database is lost."""

        def change() -> bool:
            return self._storage.set_trial_state_values(trial_id, state, values)

        def check_or_change() -> bool:
            return self._storage.get_trial(trial_id).state == state or change()

        return self._outages.wait_out(change, check_or_change)


class _StudyLock:
    """A lock that the server releases when the connection which took it ends."""

    def __init__(self, storage: RDBStorage, study: str) -> None:
        self._is_postgresql = storage.engine.dialect.name == "postgresql"
        self._study = study
        self._key = _lock_key(storage.url, _lock_name(study))
        self._was_held = False
        self._refused_since = 0.0

    def take(self, connection: Any, record: object) -> None:
        """Take the lock for a new connection.

        Args:
            connection: As the driver made it.
            record: SQLAlchemy's, unused.

        Raises:
            StudyError: Another process holds it.
        """
        with connection.cursor() as cursor:
            if self._is_postgresql:
                for statement in _SERVER_KEEPALIVE:
                    cursor.execute(statement)
                cursor.execute("SELECT pg_try_advisory_lock(%s)", (self._key,))
            else:
                cursor.execute("SELECT GET_LOCK(%s, 0)", (str(self._key),))
            taken = bool(cursor.fetchone()[0])
        connection.commit()
        if taken:
            self._was_held, self._refused_since = True, 0.0
            return
        connection.close()
        self._refuse()

    def _refuse(self) -> NoReturn:
        if not self._was_held:
            raise StudyError(
                f"study {self._study!r} is being searched by another process, which holds its lock "
                "in the database. Wait for it or stop it, or start another study with --study NAME."
            )
        self._refused_since = self._refused_since or time.monotonic()
        if time.monotonic() - self._refused_since < _OLD_LOCK_SECONDS:
            raise _ServerAwayError("the lock of the lost connection is still held")
        raise StudyError(
            f"study {self._study!r} was taken over by another process while the connection to the "
            "database was lost; this search has ended. Repeat the command once the other search "
            "has ended."
        )


def _tell_lost_connections(context: ExceptionContext) -> None:
    # Replaces SQLAlchemy's error: Optuna would repeat some statements by itself.
    away = isinstance(context.original_exception, context.dialect.loaded_dbapi.OperationalError)
    if context.is_pre_ping:
        return  # the pool connects again
    if context.is_disconnect or (context.connection is None and away):
        raise _ServerAwayError(one_line(context.original_exception))


def _lock_name(study: str) -> str:
    return f"search study {study}"


def _lock_key(url: str, what: str) -> int:
    # MySQL's locks are the server's, not the database's.
    named = f"{make_url(url).database} {what}"
    return int.from_bytes(hashlib.sha256(named.encode()).digest()[:8], signed=True)

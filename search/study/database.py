"""A study's database on a server: set up by one at a time, and waited for while it is away."""

import functools
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.trial import TrialState
from sqlalchemy import Engine, NullPool, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from search.errors import StoppedError, StudyError

PATIENCE_SECONDS: Final = 600.0
_RETRY_SECONDS: Final = 0.2
# A server whose machine has died says nothing, and the system itself notices it only after hours.
_LIBPQ: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_CONNECT: Final[dict[str, dict[str, Any]]] = {
    "psycopg": _LIBPQ,
    "psycopg2": _LIBPQ,
    "pymysql": {"connect_timeout": 10, "read_timeout": 60, "write_timeout": 60},
    "mysqldb": {"connect_timeout": 10, "read_timeout": 60, "write_timeout": 60},
}


def connect_options(url: str) -> dict[str, Any]:
    """Options of SQLAlchemy's engine for a server, by the URL's driver."""
    parts = make_url(url)
    given = _CONNECT.get(parts.get_driver_name(), {})
    chosen = {name: value for name, value in given.items() if name not in parts.query}
    return {"pool_pre_ping": True, "connect_args": chosen}


@contextmanager
def one_at_a_time(url: str, what: str) -> Iterator[None]:
    """Inside, no other process that names the same thing in the same database is inside.

    The lock is the server's own, which lets go of it when this process or its connection ends.

    Args:
        url: The database.
        what: What only one may do at a time.
    """
    key = _lock_key(what)
    engine = create_engine(url, poolclass=NullPool, **connect_options(url))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        else:
            connection.execute(text("SELECT GET_LOCK(:key, 600)"), {"key": str(key)})
        yield


class Outages:
    """Waiting for a database server that is away, for a restart or a lost network.

    Args:
        say: Takes a line for the user, when the waiting begins and when it ends.
        patience_seconds: Longest wait.
    """

    def __init__(
        self, say: Callable[[str], None], patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self.waited_seconds = 0.0
        self.patience_seconds = patience_seconds
        self._say = say
        self._stopped_by = ""
        self._one_waits = threading.Lock()

    def stop(self, reason: str) -> None:
        """Stop waiting, now and later. Safe in a signal handler."""
        self._stopped_by = reason

    def clock(self) -> float:
        """Return a monotonic time in seconds that stands still during an outage."""
        return time.monotonic() - self.waited_seconds

    def wait_in(self, engine: Engine) -> None:
        """Let each connection that the engine makes wait for the server.

        Raises:
            StoppedError: (when it connects) `stop` was called, and the server is away.
            OperationalError: (when it connects) It is away for too long.
        """
        event.listen(engine, "do_connect", self._connect)

    def _connect(self, dialect: Any, record: Any, args: list[Any], options: dict[str, Any]) -> Any:
        try:
            return dialect.connect(*args, **options)
        except dialect.loaded_dbapi.OperationalError:
            # The others wait here, and then try for themselves.
            with self._one_waits:
                return self._wait(functools.partial(dialect.connect, *args, **options), dialect)

    def _wait(self, connect: Callable[[], Any], dialect: Any) -> Any:
        began, told = time.monotonic(), False
        while True:
            try:
                connection = connect()
            except dialect.loaded_dbapi.OperationalError:
                waited = time.monotonic() - began
                if self._stopped_by:
                    raise StoppedError(self._stopped_by) from None
                if waited >= self.patience_seconds:
                    self.patience_seconds = 0.0
                    raise
            else:
                if told:
                    self.waited_seconds += time.monotonic() - began
                    self._say("the database answers again")
                return connection
            if not told:
                told = True
                minutes = self.patience_seconds / 60
                self._say(
                    f"the database does not answer; waiting up to {minutes:g} min (Ctrl-C stops)"
                )
            time.sleep(_RETRY_SECONDS)


class ServerLock:
    """A lock in a database, so that one coordinator searches a study.

    The server releases it when this process ends or its connection is lost.

    Args:
        url: The database.
        study: Name of the study.
        outages: Waits while the server is away.

    Raises:
        StudyError: Another coordinator holds it.
    """

    def __init__(self, url: str, study: str, outages: Outages) -> None:
        self._study = study
        self._key = _lock_key(f"search study {study}")
        self._engine = create_engine(
            url, poolclass=NullPool, isolation_level="AUTOCOMMIT", **connect_options(url)
        )
        outages.wait_in(self._engine)

    def __enter__(self) -> None:
        self._connection = self._engine.connect()
        if self._engine.dialect.name == "postgresql":
            query = text("SELECT pg_try_advisory_lock(:key)")
            held = self._connection.scalar(query, {"key": self._key})
        else:
            query = text("SELECT GET_LOCK(:key, 0)")
            held = self._connection.scalar(query, {"key": str(self._key)})
        if not held:
            self._connection.close()
            raise StudyError(
                f"study {self._study!r} is being searched by another process, which holds its lock "
                "in the database. Wait for it or stop it, or start another study with --study NAME."
            )

    def __exit__(self, *error: object) -> None:
        with suppress(DBAPIError):
            self._connection.close()


def _lock_key(what: str) -> int:
    return int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], signed=True)


class Database(_CachedStorage):
    """Optuna's storage in a database on a server that may be away for some minutes.

    Calls wait for it, and a statement that was cut off is repeated. That may leave a trial that
    nobody runs, which the next search requeues, and does nothing twice.

    Args:
        storage: The database, connected to once.
        outages: Waits while the server is away.

    Raises:
        StoppedError: (from all methods) The wait was stopped.
        OptunaError: (from all methods) The server is away for too long, or refuses a statement.
    """

    def __init__(self, storage: RDBStorage, outages: Outages) -> None:
        super().__init__(storage)
        self.outages = outages
        self._cut_off = 0
        outages.wait_in(storage.engine)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """See `BaseStorage`."""
        cut_off = self._cut_off
        try:
            return bool(_set_state(self, trial_id, state, values))
        except UpdateFinishedTrialError:
            # What was cut off may have been only the answer.
            if self._cut_off == cut_off or self.get_trial(trial_id).state != state:
                raise
            return True


def _repeated(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def repeat(self: Database, *args: Any, **kwargs: Any) -> Any:
        began = time.monotonic()
        while True:
            try:
                return method(self, *args, **kwargs)
            except Exception as error:
                waited = time.monotonic() - began
                if not _was_cut_off(error) or waited > self.outages.patience_seconds:
                    raise
                self._cut_off += 1
                time.sleep(_RETRY_SECONDS)

    return repeat


def _was_cut_off(error: BaseException | None) -> bool:
    # Optuna and SQLAlchemy wrap it, and at times fail once more over what it has left.
    while error is not None:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return True
        error = error.__cause__ or error.__context__
    return False


_set_state = _repeated(_CachedStorage.set_trial_state_values)
for _name in BaseStorage.__abstractmethods__ - {"set_trial_state_values"}:
    setattr(Database, _name, _repeated(getattr(_CachedStorage, _name)))

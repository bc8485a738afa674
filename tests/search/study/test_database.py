"""A study on a PostgreSQL that really goes away, and coordinators that really die."""

import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState
from sqlalchemy import NullPool, create_engine, event, text

from search.errors import StoppedError, StopReason, StorageError, StudyError
from search.study import database
from search.study import study as study_module
from search.study.database import Outages, held_storage
from search.study.requests import ENQUEUED
from search.study.storage import open_storage
from search.study.study import FINISHED
from tests.command_line import wait_until
from tests.postgres import Postgres
from tests.search.harness import Coordinating, RecordingDisplay, load, search

Begin = Callable[..., Coordinating]
REFUSED = (
    "study 'test' is being searched by another process, which holds its lock in the database. "
    "Wait for it or stop it, or start another study with --study NAME."
)
AWAY = "the database does not answer; waiting up to 10 min (Ctrl-C stops)"


def assert_whole(study: optuna.Study, trials: int) -> None:
    """Exactly so many trials are finished, none twice, and nothing is left over."""
    finished = study.get_trials(states=FINISHED)
    assert len(finished) == trials
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))
    tried = Counter(tuple(sorted(trial.params.items())) for trial in finished)
    assert set(tried.values()) == {1}
    baselines = Counter(trial.user_attrs.get("known_as") for trial in finished)
    assert all(count == 1 for name, count in baselines.items() if name is not None)
    for trial in finished:
        epochs = trial.user_attrs["epochs"]
        assert sorted(trial.intermediate_values) == list(range(1, epochs + 1))


def has_begun(directory: Path, server: Postgres) -> Callable[[], bool]:
    """Whether a trial runs; also while there is no study."""

    def look() -> bool:
        try:
            return bool(load(directory, server).get_trials(states=(TrialState.RUNNING,)))
        except KeyError:
            return False

    return look


@pytest.fixture
def begin(tmp_path: Path, server: Postgres) -> Iterator[Begin]:
    """Begins another coordinator, slowly training; none outlives the test."""
    server.database(tmp_path)
    begun: list[Coordinating] = []

    def one_more(**flags: Any) -> Coordinating:
        flags = {"space": "slow", "storage": server, **flags}
        begun.append(Coordinating(tmp_path, len(begun), **flags))
        return begun[-1]

    yield one_more
    for one in begun:
        one.kill()


@contextmanager
def held(
    server: Postgres, directory: Path, say: Callable[[str], None] = print, patience: float = 1
) -> Iterator[tuple[optuna.Study, RDBStorage, Outages]]:
    """A study as a coordinator holds it."""
    outages = Outages(say, patience_seconds=patience)
    storage = open_storage(directory, server.database(directory))
    assert isinstance(storage, RDBStorage)
    with held_storage(storage, "test", outages) as waiting:
        study = optuna.create_study(
            study_name="test", storage=waiting, direction="maximize", load_if_exists=True
        )
        yield study, storage, outages


def end_connections(server: Postgres, directory: Path) -> None:
    """End all connections to the database, as an administrator may."""
    engine = create_engine(server.database(directory), poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid != pg_backend_pid()"
            )
        )


# Outages


@pytest.mark.parametrize("algorithm", ["tpe", "keras-tuner:random"])
def test_a_database_that_goes_away_delays_a_search_and_no_more(
    tmp_path: Path, server: Postgres, algorithm: str
) -> None:
    outages = [2, 3, 3]

    def stop(text: str) -> None:
        if "val_accuracy" in text and outages:
            outages[0] -= 1
            if outages[0] <= 0:
                outages.pop(0)
                server.stop()
                threading.Timer(2, server.start).start()

    display = RecordingDisplay(on_log=stop)
    study, reason = search(
        tmp_path,
        space="slow",
        algorithm=algorithm,
        storage=server,
        trials=10,
        pruner="none",
        display=display,
        first={"mine": {"x": 0.5}},
    )
    assert reason is None
    assert not outages
    assert_whole(study, 10)
    assert not study.get_trials(states=(TrialState.FAIL,))
    assert display.lines.count(AWAY) == display.lines.count("the database answers again") == 3


def test_an_outage_is_no_reason_to_stop_a_trial(tmp_path: Path, server: Postgres) -> None:
    def stop(text: str) -> None:
        if text.startswith("trial 0"):
            server.stop()
            threading.Timer(9, server.start).start()

    study, _ = search(
        tmp_path,
        space="slow",
        algorithm="tpe@processes",
        storage=server,
        trials=4,
        pruner="none",
        trial_timeout_seconds=8,
        silence_seconds=8,
        display=RecordingDisplay(on_log=stop),
    )
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 4
    assert not any("attempts" in trial.user_attrs for trial in study.trials)
    assert all(0 < trial.user_attrs["seconds"] < 8 for trial in study.trials)


def lose_answers(monkeypatch: pytest.MonkeyPatch, storage: RDBStorage, every: int) -> None:
    """Lose the database's answer to every n-th commit of a write, which it has executed."""
    dialect = storage.engine.dialect
    commit = dialect.do_commit
    writes = 0
    has_written = False

    def note_write(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal has_written
        has_written |= statement.startswith(("INSERT", "UPDATE", "DELETE"))

    def commit_and_lose(connection: Any) -> None:
        nonlocal writes, has_written
        commit(connection)
        writes += has_written
        lost = has_written and writes % every == 0
        has_written = False
        if lost:
            connection.dbapi_connection.close()
            raise dialect.loaded_dbapi.OperationalError("the answer is lost")

    event.listen(storage.engine, "before_cursor_execute", note_write)
    monkeypatch.setattr(dialect, "do_commit", commit_and_lose)


def test_a_write_whose_answer_is_lost_is_not_done_twice(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(server, tmp_path) as (study, storage, _):
        study.enqueue_trial({"x": 0.5})
        (queued,) = study.get_trials(deepcopy=False)
        lose_answers(monkeypatch, storage, every=1)
        waiting = study._storage
        created = waiting.create_new_trial(study._study_id)
        assert waiting.set_trial_state_values(queued._trial_id, TrialState.RUNNING)
        assert waiting.set_trial_state_values(queued._trial_id, TrialState.COMPLETE, [0.5])
        assert waiting.set_trial_state_values(created, TrialState.FAIL)
        # A trial that ended otherwise has ended.
        with pytest.raises(UpdateFinishedTrialError):
            waiting.set_trial_state_values(created, TrialState.COMPLETE, [0.5])
    assert [trial.value for trial in load(tmp_path, server).trials] == [0.5, None]


def test_an_enqueued_trial_is_not_taken_for_one_whose_answer_was_lost(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(server, tmp_path) as (study, storage, _):
        elsewhere = load(tmp_path, server)
        lose_answers(monkeypatch, storage, every=1)
        dialect = storage.engine.dialect
        lose = dialect.do_commit

        def lose_and_enqueue(connection: Any) -> None:
            try:
                lose(connection)
            except dialect.loaded_dbapi.OperationalError:
                elsewhere.enqueue_trial({"x": 0.5}, user_attrs={ENQUEUED: {}})
                raise

        monkeypatch.setattr(dialect, "do_commit", lose_and_enqueue)
        created = study._storage.create_new_trial(study._study_id)
    first, enqueued = load(tmp_path, server).trials
    assert (first._trial_id, first.state) == (created, TrialState.RUNNING)
    assert enqueued.state == TrialState.WAITING


def test_a_study_is_deleted_also_when_the_answer_is_lost(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(server, tmp_path) as (study, storage, _):
        lose_answers(monkeypatch, storage, every=1)
        study._storage.delete_study(study._study_id)
        assert not study._storage.get_all_studies()
        # One that was never there is still an error.
        with pytest.raises(KeyError):
            study._storage.delete_study(study._study_id)


@pytest.mark.parametrize("every", [3, 10])
def test_answers_that_are_lost_cost_no_trial(
    tmp_path: Path, server: Postgres, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    def hold_and_lose(storage: RDBStorage, *args: Any) -> AbstractContextManager[BaseStorage]:
        lose_answers(monkeypatch, storage, every)
        return held_storage(storage, *args)

    monkeypatch.setattr(study_module, "held_storage", hold_and_lose)
    study, reason = search(
        tmp_path,
        space="conditional",
        storage=server,
        trials=8,
        first={"mine": {"layers": 0, "rate": 0.001, "kind": "a"}},
    )
    assert reason is None
    assert_whole(study, 8)
    assert [trial.number for trial in study.trials] == list(range(8))
    assert study.trials[0].user_attrs["known_as"] == "mine"


def test_patience_with_a_database_ends(server: Postgres, tmp_path: Path) -> None:
    said: list[str] = []
    with held(server, tmp_path, said.append) as (study, *_):
        server.stop()
        try:
            message = r"^the database did not answer for .* min \(.*refused.*Stored trials"
            with pytest.raises(StorageError, match=message):
                study.set_user_attr("anything", 1)
        finally:
            server.start()
        assert len(said) == 1
        study.set_user_attr("anything", 2)


def test_a_signal_ends_the_wait_for_a_database(server: Postgres, tmp_path: Path) -> None:
    with held(server, tmp_path, patience=60) as (study, _, outages):
        server.stop()
        try:
            threading.Timer(1, outages.stop, [StopReason.CTRL_C]).start()
            message = r"^stopped \(Ctrl-C\) while the database did not answer; repeat"
            with pytest.raises(StoppedError, match=message) as raised:
                study.set_user_attr("anything", 1)
        finally:
            server.start()
    assert raised.value.reason == StopReason.CTRL_C


# One coordinator


def test_after_a_kill_the_same_search_goes_on_under_the_same_numbers(
    tmp_path: Path, server: Postgres, begin: Begin
) -> None:
    killed = begin(trials=8, pruner="none")
    wait_until(has_begun(tmp_path, server))
    killed.kill()
    other = begin(trials=8, pruner="none")
    assert other.wait() == "ended: None"
    assert re.fullmatch(r"requeued \d+ interrupted trials?", other.said[0])
    study = load(tmp_path, server)
    assert_whole(study, 8)
    assert len(study.trials) == 8


def test_a_second_coordinator_is_refused_and_the_first_goes_on(
    tmp_path: Path, server: Postgres, begin: Begin
) -> None:
    first = begin(trials=8)
    wait_until(has_begun(tmp_path, server))
    first.send(signal.SIGSTOP)  # it must not end before the second one has started
    refused = begin(trials=8).wait()
    first.send(signal.SIGCONT)
    assert re.match(f"error: {REFUSED}", refused)
    assert first.wait() == "ended: None"
    assert_whole(load(tmp_path, server), 8)


def test_the_lock_is_held_again_after_a_restart_of_the_server(
    tmp_path: Path, server: Postgres
) -> None:
    with held(server, tmp_path) as (study, *_):
        server.stop()
        server.start()
        study.set_user_attr("anything", 1)
        with pytest.raises(StudyError, match=REFUSED), held(server, tmp_path):
            pass
    with held(server, tmp_path):
        pass


def test_a_search_that_lost_its_lock_to_another_writes_nothing_and_ends(
    tmp_path: Path, server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_OLD_LOCK_SECONDS", 0.5)
    message = r"^study 'test' was taken over by another process while the connection .* Repeat the"
    with held(server, tmp_path, patience=60) as (study, *_):
        end_connections(server, tmp_path)
        with held(server, tmp_path) as (other, *_):
            with pytest.raises(StudyError, match=message):
                study.set_user_attr("anything", 1)
            assert "anything" not in other.user_attrs


def test_the_lock_of_a_lost_connection_is_waited_for(tmp_path: Path, server: Postgres) -> None:
    with held(server, tmp_path, patience=60) as (study, *_):
        end_connections(server, tmp_path)
        with ExitStack() as old:
            old.enter_context(held(server, tmp_path))
            threading.Timer(1, old.pop_all().close).start()
            study.set_user_attr("anything", 1)
    assert load(tmp_path, server).user_attrs == {"anything": 1}

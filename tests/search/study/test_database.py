"""A study on a PostgreSQL that really goes away, and coordinators that really die."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search.errors import StoppedError
from search.study.database import Database, Outages
from search.study.storage import open_storage
from search.study.study import FINISHED
from tests.command_line import wait_until
from tests.postgres import Postgres
from tests.search.harness import Coordinating, RecordingDisplay, load, search

Begin = Callable[..., Coordinating]
AWAY = "the database does not answer; waiting up to 10 min (Ctrl-C stops)"


def assert_whole(study: optuna.Study, trials: int) -> None:
    """Exactly so many trials are finished, none twice, and nothing is left over."""
    finished = study.get_trials(states=FINISHED)
    assert len(finished) == trials
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))
    tried = Counter(tuple(sorted(trial.params.items())) for trial in finished)
    assert set(tried.values()) == {1}
    baselines = Counter(trial.user_attrs.get("baseline") for trial in finished)
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


def connect(server: Postgres, directory: Path) -> Database:
    """One more process' connection."""
    storage = open_storage(directory, server.database(directory))
    assert isinstance(storage, RDBStorage)
    return Database(storage, Outages(lambda text: None, patience_seconds=1))


@pytest.fixture
def database(server: Postgres, tmp_path: Path) -> Database:
    return connect(server, tmp_path)


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
    assert reason == ""
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


def lose_answers(monkeypatch: pytest.MonkeyPatch, database: RDBStorage, every: int) -> None:
    """From now on each so-manieth commit reaches the server, and its answer gets lost."""
    dialect = database.engine.dialect
    commit, count = dialect.do_commit, 0

    def commit_and_lose(connection: Any) -> None:
        nonlocal count
        commit(connection)
        count += 1
        if count % every == 0:
            connection.dbapi_connection.close()
            raise dialect.loaded_dbapi.OperationalError("the answer is lost")

    monkeypatch.setattr(dialect, "do_commit", commit_and_lose)


def test_an_answer_that_is_lost_ends_no_trial_twice(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = optuna.create_study(study_name="test", storage=database, direction="maximize")
    trial, other = study.ask(), study.ask()
    study.tell(other, state=TrialState.FAIL)
    lose_answers(monkeypatch, database._backend, every=2)
    study.tell(trial, 0.5)
    assert [trial.value for trial in study.trials] == [0.5, None]
    # What another has ended otherwise, it has ended.
    with pytest.raises(UpdateFinishedTrialError):
        database.set_trial_state_values(other._trial_id, TrialState.COMPLETE, [0.5])


@pytest.mark.xfail(reason="a trial whose creation was cut off stays unused", strict=False)
@pytest.mark.parametrize("every", [19, 31])
def test_answers_that_are_lost_cost_no_trial(
    tmp_path: Path, server: Postgres, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    make = Database.__init__

    def make_and_lose(self: Database, storage: RDBStorage, *args: Any) -> None:
        make(self, storage, *args)
        lose_answers(monkeypatch, storage, every)

    monkeypatch.setattr(Database, "__init__", make_and_lose)
    study, reason = search(
        tmp_path,
        space="conditional",
        storage=server,
        trials=8,
        first={"mine": {"layers": 0, "rate": 0.001, "kind": "a"}},
    )
    assert reason == ""
    assert_whole(study, 8)
    assert any(trial.user_attrs.get("baseline") for trial in study.get_trials(states=FINISHED))


def test_patience_with_a_database_ends(server: Postgres, database: Database) -> None:
    said: list[str] = []
    database.outages._say = said.append
    study = optuna.create_study(storage=database)
    server.stop()
    try:
        for _ in range(2):  # once it is over, it is over
            with pytest.raises(OptunaError):
                study.set_user_attr("anything", 1)
    finally:
        server.start()
    assert len(said) == 1
    study.set_user_attr("anything", 2)


def test_a_signal_ends_the_wait_for_a_database(server: Postgres, database: Database) -> None:
    study = optuna.create_study(storage=database)
    server.stop()
    try:
        database.outages.stop("Ctrl-C")
        message = r"^stopped \(Ctrl-C\) while the database did not answer; the same command cont"
        with pytest.raises(StoppedError, match=message) as raised:
            study.set_user_attr("anything", 1)
    finally:
        server.start()
    assert raised.value.reason == "Ctrl-C"


# One coordinator


def test_after_a_kill_the_same_search_goes_on_under_the_same_numbers(
    tmp_path: Path, server: Postgres, begin: Begin
) -> None:
    killed = begin(trials=8, pruner="none")
    wait_until(has_begun(tmp_path, server))
    killed.kill()
    other = begin(trials=8, pruner="none")
    assert other.wait() == "ended: "
    assert other.said[0].endswith(" trials that were cut off will be run again")
    study = load(tmp_path, server)
    assert_whole(study, 8)
    assert len(study.trials) == 8


def test_a_second_coordinator_is_refused_and_the_first_goes_on(
    tmp_path: Path, server: Postgres, begin: Begin
) -> None:
    first = begin(trials=8)
    wait_until(has_begun(tmp_path, server))
    refused = begin(trials=8).wait()
    assert refused.startswith("error: study 'test' is being searched by another process, which ")
    assert refused.endswith("Wait for it or stop it, or start another study with --study NAME.")
    assert first.wait() == "ended: "
    assert_whole(load(tmp_path, server), 8)

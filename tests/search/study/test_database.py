"""A study on a PostgreSQL that really goes away, and coordinators that share it and really die."""

import signal
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
from search.study.claims import SharedClaims
from search.study.database import Database
from search.study.leases import Leases
from search.study.storage import open_storage
from search.study.study import FINISHED, SURPLUS
from tests.command_line import wait_until
from tests.postgres import Postgres
from tests.search.harness import Coordinating, RecordingDisplay, load, search

QUICK = {"beat_seconds": 0.5, "grace_seconds": 3.0}
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


def has_ended_one(coordinator: Coordinating) -> Callable[[], bool]:
    return lambda: "val_accuracy" in " ".join(coordinator.said)


@pytest.fixture
def begin(tmp_path: Path, server: Postgres) -> Iterator[Begin]:
    """Begins another coordinator, slowly training; none outlives the test."""
    server.database(tmp_path)
    begun: list[Coordinating] = []

    def one_more(**flags: Any) -> Coordinating:
        flags = {"space": "slow", "storage": server, **QUICK, **flags}
        begun.append(Coordinating(tmp_path, len(begun), **flags))
        return begun[-1]

    yield one_more
    for one in begun:
        one.kill()


def connect(server: Postgres, directory: Path) -> Database:
    """One more process' connection."""
    storage = open_storage(directory, server.database(directory))
    assert isinstance(storage, RDBStorage)
    return Database(storage, lambda text: None, patience_seconds=1)


@pytest.fixture
def database(server: Postgres, tmp_path: Path) -> Database:
    return connect(server, tmp_path)


@pytest.fixture
def claims(server: Postgres, tmp_path: Path) -> Iterator[list[SharedClaims]]:
    """Those of two coordinators of one study."""
    both, opened = [], []
    for _ in range(2):
        database = connect(server, tmp_path)
        study = optuna.create_study(storage=database, study_name="test", load_if_exists=True)
        opened.append(Leases(study, 10, 60))
        opened[-1].open()
        both.append(SharedClaims(study, database, opened[-1], 10, print))
    yield both
    for leases in opened:
        leases.close()


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
        **QUICK,
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
        **QUICK,
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
        beat_seconds=0.2,
        grace_seconds=2,
    )
    assert reason == ""
    assert_whole(study, 8)
    assert any(trial.user_attrs.get("baseline") for trial in study.get_trials(states=FINISHED))


def test_patience_with_a_database_ends(server: Postgres, database: Database) -> None:
    said: list[str] = []
    database._say = said.append
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
        database.stop("Ctrl-C")
        message = r"^stopped \(Ctrl-C\) while the database did not answer; the same command cont"
        with pytest.raises(StoppedError, match=message) as raised:
            study.set_user_attr("anything", 1)
    finally:
        server.start()
    assert raised.value.reason == "Ctrl-C"


# Several coordinators


@pytest.mark.parametrize(("coordinators", "trials"), [(2, 12), (3, 20)])
def test_several_coordinators_end_with_exactly_n_trials(
    tmp_path: Path, server: Postgres, begin: Begin, coordinators: int, trials: int
) -> None:
    first = {"mine": {"x": 0.5}, "other": {"x": 0.25}}
    several = [begin(join=True, trials=trials, first=first) for _ in range(coordinators)]
    assert [one.wait() for one in several] == ["ended: "] * coordinators
    study = load(tmp_path, server)
    assert_whole(study, trials)
    failed = study.get_trials(states=(TrialState.FAIL,))
    assert all(trial.user_attrs.get(SURPLUS) for trial in failed)
    owners = {trial.user_attrs["coordinator"] for trial in study.get_trials(states=FINISHED)}
    assert len(owners) == coordinators


def test_they_begin_together_with_each_baseline_once(
    tmp_path: Path, server: Postgres, begin: Begin
) -> None:
    first = {str(n): {"x": n / 10} for n in range(5)}
    several = [begin(join=True, workers=1, trials=8, first=first) for _ in range(4)]
    assert [one.wait() for one in several] == ["ended: "] * 4
    study = load(tmp_path, server)
    assert_whole(study, 8)
    names = [trial.user_attrs.get("baseline") for trial in study.get_trials(states=FINISHED)]
    assert sorted(filter(None, names)) == sorted(first)


def test_they_try_a_finite_space_whole_and_end(
    tmp_path: Path, server: Postgres, begin: Begin
) -> None:
    flags: dict[str, Any] = {"space": "finite", "sampler": "grid", "workers": 1}
    several = [begin(join=True, trials=90, **flags) for _ in range(2)]
    whole = "every configuration of the space has been tried"
    assert [one.wait() for one in several] == [f"ended: {whole}"] * 2
    finished = load(tmp_path, server).get_trials(states=FINISHED)
    assert len({tuple(sorted(trial.params.items())) for trial in finished}) == 12
    assert len(finished) <= 13  # two that are built at the same moment may be the same


def test_the_trials_of_one_that_is_killed_are_run_again_by_the_others(
    tmp_path: Path, server: Postgres, begin: Begin
) -> None:
    flags: dict[str, Any] = {"trials": 12, "pruner": "none", "first": {"mine": {"x": 0.5}}}
    killed = begin(**flags)
    wait_until(has_begun(tmp_path, server))
    other = begin(join=True, **flags)
    wait_until(has_ended_one(other))
    killed.kill()
    assert other.wait() == "ended: "
    study = load(tmp_path, server)
    assert_whole(study, 12)
    failed = study.get_trials(states=(TrialState.FAIL,))
    reason = "its coordinator did not answer any more"
    assert reason in {trial.user_attrs["reason"] for trial in failed}
    again = [trial for trial in study.trials if trial.user_attrs.get("attempts") == [reason]]
    assert again


def test_after_a_kill_the_same_search_goes_on_under_the_same_numbers(
    tmp_path: Path, server: Postgres, begin: Begin
) -> None:
    killed = begin(trials=8, pruner="none")
    wait_until(has_begun(tmp_path, server))
    killed.kill()
    other = begin(trials=8, pruner="none")
    assert other.wait() == "ended: "
    assert "was not closed by its coordinator" in other.said[0]
    study = load(tmp_path, server)
    assert_whole(study, 8)
    assert len(study.trials) == 8


def test_one_that_freezes_and_comes_back_does_no_harm(
    tmp_path: Path, server: Postgres, begin: Begin
) -> None:
    frozen = begin(join=True, trials=16, pruner="none")
    wait_until(has_begun(tmp_path, server))
    other = begin(join=True, trials=16, pruner="none")
    wait_until(has_ended_one(other))
    frozen.send(signal.SIGSTOP)
    study = load(tmp_path, server)
    wait_until(lambda: study.get_trials(deepcopy=False, states=(TrialState.FAIL,)))
    frozen.send(signal.SIGCONT)
    assert (frozen.wait(), other.wait()) == ("ended: ", "ended: ")
    assert_whole(load(tmp_path, server), 16)
    assert "ended from outside" in " ".join(frozen.said)


def test_without_join_a_living_coordinator_is_not_disturbed(
    tmp_path: Path, server: Postgres, begin: Begin
) -> None:
    first = begin(trials=12)
    wait_until(has_begun(tmp_path, server))
    refused = begin(trials=12).wait()
    assert refused.startswith("error: study 'test' is being searched by another coordinator (host ")
    assert refused.endswith("; add --join to help it, or start another study with --study NAME.")
    helping = begin(trials=12, join=True)
    assert (first.wait(), helping.wait()) == ("ended: ", "ended: ")
    assert_whole(load(tmp_path, server), 12)


def test_one_that_was_taken_over_ends_when_it_comes_back(
    tmp_path: Path, server: Postgres, begin: Begin
) -> None:
    frozen = begin(trials=12, pruner="none")
    wait_until(has_begun(tmp_path, server))
    frozen.send(signal.SIGSTOP)
    other = begin(trials=12, pruner="none")
    wait_until(has_ended_one(other))
    frozen.send(signal.SIGCONT)
    assert frozen.wait().startswith("error: study 'test' was taken over by another coordinator")
    assert other.wait() == "ended: "
    assert len(load(tmp_path, server).get_trials(states=FINISHED)) == 12


def test_the_larger_number_of_trials_counts(tmp_path: Path, server: Postgres, begin: Begin) -> None:
    fewer, more = begin(join=True, trials=4), begin(join=True, trials=10)
    assert (fewer.wait(), more.wait()) == ("ended: ", "ended: ")
    assert_whole(load(tmp_path, server), 10)
    assert "ended from outside" not in " ".join(more.said)


def test_none_ends_another_s_trial_that_it_saw_before_it_was_taken(
    claims: list[SharedClaims],
) -> None:
    ours, theirs = claims
    trial = theirs._study.ask()
    assert len(ours._study.get_trials(states=(TrialState.RUNNING,))) == 1
    assert theirs.take(trial)
    ours.end()
    assert theirs._study.get_trials()[0].state == TrialState.RUNNING


def test_none_is_alone_while_a_trial_of_another_runs_or_waits(claims: list[SharedClaims]) -> None:
    ours, theirs = claims
    assert ours.alone()
    trial = theirs._study.ask()
    assert theirs.take(trial)
    assert not ours.alone()
    theirs._study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
    assert not ours.alone()
    theirs._study.tell(theirs._study.ask(), state=TrialState.FAIL)
    assert ours.alone()


def test_the_last_trials_are_waited_for(tmp_path: Path, server: Postgres, begin: Begin) -> None:
    flags: dict[str, Any] = {"trials": 1, "workers": 1, "pruner": "none", "max_epochs": 60}
    first = begin(**flags)
    wait_until(has_begun(tmp_path, server))
    second = begin(join=True, **flags)
    assert (first.wait(), second.wait()) == ("ended: ", "ended: ")
    assert_whole(load(tmp_path, server), 1)
    assert second.said[0] == "all trials that are missing are being run; waiting for them to end"

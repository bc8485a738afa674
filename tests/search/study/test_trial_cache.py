"""What a cache gives back is what the database holds; it asks for no more than it must."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import event

from search.study import trial_cache
from search.study.trial_cache import TrialCache

RUNNING = (TrialState.RUNNING,)


@pytest.fixture
def open_cache(tmp_path: Path) -> Callable[[], TrialCache]:
    """Opens one database for one more process."""
    return lambda: TrialCache(RDBStorage(f"sqlite:///{tmp_path / 'study.db'}"))


class Clock:
    """In place of the module's `time`: it goes on only when it is told to."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    standing = Clock()
    monkeypatch.setattr(trial_cache, "time", standing)
    return standing


@pytest.fixture
def cache(open_cache: Callable[[], TrialCache], clock: Clock) -> TrialCache:
    """One that never looks at others unasked, however slow the test is."""
    return open_cache()


def statements(cache: TrialCache) -> list[str]:
    """A list that takes what the cache asks of the database."""
    asked: list[str] = []

    def take(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    event.listen(cache._backend.engine, "before_cursor_execute", take)
    return asked


def test_what_is_written_here_is_read_at_once(cache: TrialCache) -> None:
    study = optuna.create_study(storage=cache, direction="maximize")
    study.get_trials()
    trial = study.ask()
    assert [one.number for one in study.get_trials(states=RUNNING)] == [0]
    trial.suggest_float("x", 0, 1)
    trial.set_user_attr("user", 1)
    trial.report(0.5, 1)
    cache.set_trial_system_attr(trial._trial_id, "system", 2)
    for found in (study.get_trials()[0], cache.get_trial(trial._trial_id)):
        assert found.params == trial.params
        assert found.user_attrs == {"user": 1}
        assert found.intermediate_values == {1: 0.5}
        assert found.system_attrs == {"system": 2}
    study.tell(trial, 0.5)
    assert study.get_trials()[0].state == TrialState.COMPLETE
    assert not study.get_trials(states=RUNNING)
    assert study.best_value == 0.5


def test_the_reading_does_not_grow_with_the_trials_that_run(cache: TrialCache) -> None:
    study = optuna.create_study(storage=cache)
    trials = [study.ask() for _ in range(30)]
    for trial in trials:
        trial.suggest_float("x", 0, 1)
    study.get_trials()
    asked = statements(cache)
    for _ in range(3):
        assert len(study.get_trials(states=RUNNING)) == 30
    assert asked == []
    trials[7].report(0.5, 1)
    assert study.get_trials()[7].intermediate_values == {1: 0.5}
    selected = [one for one in asked if "intermediate_values.trial_id IN" in one]
    assert len(selected) == 1
    assert selected[0].count("?") == 1


def test_what_others_do_is_seen_when_asked_for(
    cache: TrialCache, open_cache: Callable[[], TrialCache]
) -> None:
    study = optuna.create_study(storage=cache, study_name="shared")
    other = optuna.load_study(storage=open_cache(), study_name="shared")
    theirs = other.ask()
    assert [one.number for one in study.get_trials()] == [0]
    theirs.suggest_float("x", 0, 1)
    newer = other.ask()
    ours = study.ask()
    ours.set_user_attr("mine", 1)
    # What is new is read along with what has been written here; earlier ones are not.
    assert [one.number for one in study.get_trials()] == [0, 1, 2]
    assert study.get_trials()[0].params == {}
    cache.look_at_others()
    assert study.get_trials()[0].params == theirs.params
    other.tell(theirs, 1.0)
    other.tell(newer, state=TrialState.FAIL)
    cache.look_at_others()
    assert [one.state for one in study.get_trials()] == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.RUNNING,
    ]


def test_what_others_do_is_seen_unasked_a_little_later(
    cache: TrialCache, open_cache: Callable[[], TrialCache], clock: Clock
) -> None:
    study = optuna.create_study(storage=cache, study_name="shared")
    ours = study.ask()
    ours.set_user_attr("mine", 1)
    assert study.get_trials()[0].state == TrialState.RUNNING
    other = optuna.load_study(storage=open_cache(), study_name="shared")
    other.tell(ours.number, state=TrialState.FAIL)  # as somebody may in a dashboard
    clock.seconds += trial_cache.REREAD_SECONDS - 0.1
    assert study.get_trials()[0].state == TrialState.RUNNING
    clock.seconds += 0.2
    assert study.get_trials()[0].state == TrialState.FAIL


def take(study: optuna.Study) -> tuple[bool, int]:
    """Take trial 0, whatever is known of it: whether that worked, and its id."""
    trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, 0)
    return study._storage.set_trial_state_values(trial_id, TrialState.RUNNING), trial_id


def test_a_trial_that_waits_again_may_be_another_s(
    cache: TrialCache, open_cache: Callable[[], TrialCache]
) -> None:
    study = optuna.create_study(storage=cache, study_name="shared")
    ours = study.ask()
    ours.set_user_attr("mine", 1)
    cache.set_trial_state_values(ours._trial_id, TrialState.WAITING)
    other = optuna.load_study(storage=open_cache(), study_name="shared")
    assert take(other)[0]
    assert study.get_trials()[0].state == TrialState.RUNNING
    other._storage.set_trial_user_attr(ours._trial_id, "theirs", 2)
    cache.look_at_others()
    assert study.get_trials()[0].user_attrs == {"mine": 1, "theirs": 2}
    assert cache.get_trial(ours._trial_id).user_attrs == {"mine": 1, "theirs": 2}


def test_a_waiting_trial_that_another_took_first_is_not_ones_own(
    cache: TrialCache, open_cache: Callable[[], TrialCache]
) -> None:
    study = optuna.create_study(storage=cache, study_name="shared")
    study.enqueue_trial({"x": 0.5})
    study.get_trials()
    other = optuna.load_study(storage=open_cache(), study_name="shared")
    assert take(other)[0]
    lost, trial_id = take(study)
    assert not lost
    assert study.get_trials()[0].state == TrialState.RUNNING
    other._storage.set_trial_user_attr(trial_id, "theirs", 2)
    cache.look_at_others()
    assert study.get_trials()[0].user_attrs == {"theirs": 2}


def test_a_reading_that_fails_counts_as_none(
    cache: TrialCache, open_cache: Callable[[], TrialCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna.create_study(storage=open_cache(), study_name="shared").ask()
    study = optuna.load_study(storage=cache, study_name="shared")

    def fail(*_: Any, **__: Any) -> Any:
        raise ConnectionError

    with monkeypatch.context() as broken:
        broken.setattr(cache._backend, "_get_trials", fail)
        with pytest.raises(ConnectionError):
            study.get_trials()
    assert len(study.get_trials()) == 1


def test_who_changes_what_it_got_changes_nothing_here(cache: TrialCache) -> None:
    study = optuna.create_study(storage=cache)
    trial = study.ask()
    cache.set_trial_param(trial._trial_id, "x", 0.5, FloatDistribution(0, 1))
    cache.get_trial(trial._trial_id).params["y"] = 1
    assert cache.get_trial(trial._trial_id).params == {"x": 0.5}

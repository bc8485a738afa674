"""The study: one holder, comparable trials only."""

import os
import time
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.data.split import SplitSizes
from search.errors import SettingsError, StudyError
from search.study.database import Outages
from search.study.facts import COMPARABLE, split_fact, split_sizes
from search.study.requests import ENQUEUED
from search.study.storage import open_storage
from search.study.study import (
    ENGINE_FACTS,
    GIVEN,
    begin_study,
    create_or_continue,
    enqueue_first,
    finished_since,
    known_as,
)
from tests.search.harness import FACTS, opened_study

OTHER = {"split": split_fact(SplitSizes(train=5, val=1)), "objective": "accuracy,parameters"}


@pytest.mark.parametrize("url", [None, "sqlite:///{}/study.db"])
def test_only_one_process_holds_a_study(tmp_path: Path, url: str | None) -> None:
    def opened(name: str = "mine") -> AbstractContextManager[optuna.Study]:
        database = None if url is None else url.format(tmp_path)
        return opened_study(name, database, tmp_path, FACTS, {}, print, Outages(print))

    with (
        opened(),
        pytest.raises(StudyError, match=r"'mine' is being searched by this process.*--study NAM"),
        opened(),
    ):
        pass
    with opened():
        pass


def test_a_renamed_folder_is_refused_and_its_journal_is_left_alone(tmp_path: Path) -> None:
    def opened(name: str) -> AbstractContextManager[optuna.Study]:
        return opened_study(name, None, tmp_path, FACTS, {}, print, Outages(print))

    with opened("stop"):
        pass
    journal = tmp_path / "study.journal"
    with journal.open("ab") as file:
        file.write(b'{"op_co')  # would be cut off
    before = journal.read_bytes()
    with (
        pytest.raises(
            StudyError,
            match=r"study.journal holds study 'stop', not 'renamed': .* Rename the folder back, or",
        ),
        opened("renamed"),
    ):
        pass
    assert journal.read_bytes() == before


def test_a_name_that_a_shell_would_change_is_refused_for_a_new_study_only(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "study.journal", None)
    with pytest.raises(SettingsError, match=r"--study \"''\" .* use letters, digits, '-', '_' and"):
        create_or_continue(storage, "''", FACTS)
    assert not optuna.get_all_study_names(storage)
    optuna.create_study(study_name="''", storage=storage, direction="maximize")
    assert create_or_continue(storage, "''", FACTS).study_name == "''"
    assert create_or_continue(storage, "größe-1_2.x", FACTS)


@pytest.mark.parametrize("target", ["moved-away/study.journal", "other.journal", "study.journal"])
def test_the_lock_of_a_killed_process_is_removed_and_mentioned(tmp_path: Path, target: str) -> None:
    (tmp_path / "other.journal").write_text("")
    link = tmp_path / "study.journal.lock"
    link.symlink_to(tmp_path / target)
    os.utime(link, (0, time.time() - 60), follow_symlinks=False)
    said: list[str] = []
    with opened_study("mine", None, tmp_path, FACTS, {}, said.append, Outages(print)) as study:
        study.ask()
        assert len(study.trials) == 1
    assert said == [f"{tmp_path}/study.journal: removed the lock that a killed process left"]


@pytest.mark.parametrize("fact", COMPARABLE)
def test_trials_that_cannot_be_compared_are_not_mixed(fact: str) -> None:
    storage = optuna.storages.InMemoryStorage()
    study = create_or_continue(storage, "mine", FACTS)
    study.tell(study.ask(), 0.5)
    create_or_continue(storage, "mine", FACTS | {"command": "another"})
    other = OTHER.get(fact, "other")
    with pytest.raises(StudyError, match=f"'mine' has trials with {fact} .* start another with"):
        create_or_continue(storage, "mine", FACTS | {fact: other})


@pytest.mark.parametrize(("before", "now"), [("grid", "tpe"), ("near-best", "grid")])
def test_a_grid_is_not_mixed_with_other_samplers(before: str, now: str) -> None:
    storage = optuna.storages.InMemoryStorage()
    study = create_or_continue(storage, "mine", FACTS | {"settings": {"sampler": before}})
    study.tell(study.ask(), 0.5)
    message = (
        f"'mine' has trials of --sampler {before}; this run asks for {now}, and only grid has few "
        f"levels of each range. Continue it with --sampler {before}, or start another with --study"
    )
    with pytest.raises(StudyError, match=message):
        create_or_continue(storage, "mine", FACTS | {"settings": {"sampler": now}})


@pytest.mark.parametrize("fact", COMPARABLE)
@pytest.mark.parametrize("state", [None, *TrialState])
def test_a_study_takes_other_settings_until_a_trial_has_ended(
    tmp_path: Path, fact: str, state: TrialState | None
) -> None:
    storage = open_storage(tmp_path / "study.journal", None)
    study = create_or_continue(storage, "mine", FACTS)
    enqueue_first(study, {"of the other space": {"x": 1}})
    if state is not None:
        value = 0.5 if state == TrialState.COMPLETE else None
        study.add_trial(create_trial(state=state, value=value))
    other = OTHER.get(fact, "other")
    if state is not None and state.is_finished():
        with pytest.raises(StudyError, match="cannot be compared"):
            create_or_continue(storage, "mine", FACTS | {fact: other})
        assert len(study.trials) == 2
        return
    study = create_or_continue(storage, "mine", FACTS | {fact: other})
    assert study.user_attrs[fact] == other
    assert study.trials == []


QUEUE = {"default": {"x": 1}, "old trial 3": {"x": 2}}
BEGUN = FACTS | {"seed": 0, "minutes": 20.0, "settings": {"sampler": "near-best"}}


@pytest.mark.parametrize("state", [None, TrialState.WAITING, TrialState.RUNNING])
@pytest.mark.parametrize(
    ("changed", "first"),
    [
        ({"minutes": 30.0}, QUEUE),
        ({"seed": 1}, QUEUE),
        ({"settings": {"sampler": "tpe"}}, QUEUE),
        ({}, {}),
        ({}, {"default": {"x": 1}, "other trial 5": {"x": 2}}),
        ({}, QUEUE | {"default": {"x": 3}}),
    ],
)
def test_until_a_trial_has_ended_a_study_is_that_of_its_next_run(
    tmp_path: Path,
    state: TrialState | None,
    changed: dict[str, Any],
    first: dict[str, dict[str, Any]],
) -> None:
    storage = open_storage(tmp_path / "study.journal", None)
    study = begin_study(storage, "mine", BEGUN, QUEUE, print)
    if state is not None:
        study.add_trial(create_trial(state=state))
    study = begin_study(storage, "mine", BEGUN | changed, first, print)
    assert {name: study.user_attrs[name] for name in BEGUN} == BEGUN | changed
    assert {known_as(trial): trial.user_attrs[GIVEN] for trial in study.trials} == first


@pytest.mark.parametrize("state", [None, *TrialState])
def test_the_same_run_from_elsewhere_goes_on_with_its_queue(
    tmp_path: Path, state: TrialState | None
) -> None:
    storage = open_storage(tmp_path / "study.journal", None)
    study = begin_study(storage, "mine", BEGUN, QUEUE, print)
    if state is not None:
        value = 0.5 if state == TrialState.COMPLETE else None
        study.add_trial(create_trial(state=state, value=value))
    before = len(study.trials)
    study = begin_study(storage, "mine", BEGUN | {"command": "b", "machine": "b"}, QUEUE, print)
    assert len(study.trials) == before
    assert len(study.user_attrs["runs"]) == 2


def test_all_that_cannot_be_compared_is_said_at_once() -> None:
    storage = optuna.storages.InMemoryStorage()
    study = create_or_continue(storage, "mine", FACTS)
    study.tell(study.ask(), 0.5)
    other = {"epochs": FACTS["epochs"] + 1, "precision": "other"}
    with pytest.raises(StudyError) as refused:
        create_or_continue(storage, "mine", FACTS | other)
    said = str(refused.value)
    assert (
        f"has trials with epochs {FACTS['epochs']} and precision {FACTS['precision']!r}; " in said
    )
    assert f"this run asks for {other['epochs']} and 'other', and the two cannot" in said
    assert "Continue it with its own --epochs and with its own --precision, or start" in said


def test_sizes_that_follow_from_other_data_are_not_named() -> None:
    storage = optuna.storages.InMemoryStorage()
    study = create_or_continue(storage, "mine", FACTS)
    study.tell(study.ask(), 0.5)
    other = {"epochs": FACTS["epochs"] + 1, "data": "other", "split": OTHER["split"]}
    with pytest.raises(StudyError, match=r"^study 'mine' has trials with data [^;]*; ") as refused:
        create_or_continue(storage, "mine", FACTS | other)
    assert "--epochs" not in str(refused.value)
    assert "--val-size" not in str(refused.value)


def test_the_minutes_that_chose_several_sizes_are_named_once() -> None:
    storage = optuna.storages.InMemoryStorage()
    study = create_or_continue(storage, "mine", FACTS | {"minutes": 30.0})
    study.tell(study.ask(), 0.5)
    other = {"epochs": FACTS["epochs"] + 1, "split": OTHER["split"]}
    with pytest.raises(StudyError, match="Continue it with its own --minutes 30, or start another"):
        create_or_continue(storage, "mine", FACTS | other)


def test_enqueued_configurations_are_not_dropped_for_other_settings(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "study.journal", None)
    study = create_or_continue(storage, "mine", FACTS)
    study.enqueue_trial({"x": 1}, user_attrs={ENQUEUED: {}})
    with pytest.raises(StudyError, match=r"has trials with epochs .* start another with --study"):
        create_or_continue(storage, "mine", FACTS | {"epochs": 5})
    assert len(study.trials) == 1


@pytest.mark.parametrize(
    ("sentence", "sizes"),
    [
        (
            "stratified, fixed: 10,000 validation images, all other for training",
            SplitSizes(val=10_000),
        ),
        (
            "stratified, fixed: 500 validation images, 2,000 for training",
            SplitSizes(train=2_000, val=500),
        ),
    ],
)
def test_a_study_that_stores_its_split_in_words_is_continued(
    sentence: str, sizes: SplitSizes
) -> None:
    storage = optuna.storages.InMemoryStorage()
    create_or_continue(storage, "mine", FACTS | {"split": sentence})
    study = create_or_continue(storage, "mine", FACTS | {"split": split_fact(sizes)})
    assert split_sizes(study.user_attrs["split"]) == sizes
    study.tell(study.ask(), 0.5)
    message = f"has trials with split '{sentence.removeprefix('stratified, fixed: ')}'; this run"
    with pytest.raises(StudyError, match=message):
        create_or_continue(storage, "mine", FACTS | {"split": split_fact(SplitSizes(val=7))})


def test_a_study_of_another_program_is_refused() -> None:
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(study_name="mine", storage=storage, direction="maximize").ask()
    with pytest.raises(StudyError, match="'mine' holds trials of another program; start another"):
        create_or_continue(storage, "mine", FACTS)


def test_a_damaged_study_is_not_continued() -> None:
    storage = optuna.storages.InMemoryStorage()
    study = create_or_continue(storage, "mine", FACTS)
    study.set_user_attr("runs", "none")
    with pytest.raises(StudyError, match="'mine' cannot be used: its 'runs' is 'none'; it must be"):
        create_or_continue(storage, "mine", FACTS)


def test_every_run_is_recorded() -> None:
    storage = optuna.storages.InMemoryStorage()
    pixels = {"mean": [0.3], "deviation": [0.3], "patches": None, "normalized": True}
    for command in ("first", "second", "second"):
        facts = FACTS | {"command": command, "pixels": pixels}
        study = create_or_continue(storage, "mine", facts)
    assert [run["command"] for run in study.user_attrs["runs"]] == ["first", "second"]
    assert "pixels" in study.user_attrs
    assert not any("pixels" in run for run in study.user_attrs["runs"])  # they are always the same


def test_first_configurations_are_enqueued_once() -> None:
    study = create_or_continue(optuna.storages.InMemoryStorage(), "mine", FACTS)
    for _ in range(2):
        enqueue_first(study, {"a": {"x": 1}, "b": {"x": 2}})
    assert [trial.user_attrs["known_as"] for trial in study.trials] == ["a", "b"]


def test_trials_are_counted_by_number_also_after_the_clock_was_set_back() -> None:
    study = optuna.create_study(direction="maximize")
    noon = datetime(2024, 5, 1, 12)
    for number, state in enumerate([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL] * 2):
        ended = noon - timedelta(hours=number)
        trial = create_trial(state=state, value=None if state == TrialState.FAIL else 0.5)
        trial.datetime_start, trial.datetime_complete = ended - timedelta(minutes=1), ended
        study.add_trial(trial)
    assert [finished_since(study, number) for number in (None, 0, 1, 3, 4, 5)] == [4, 3, 2, 1, 0, 0]


def test_trials_that_ended_at_an_early_budget_do_not_count_as_finished_since() -> None:
    study = optuna.create_study(direction="maximize")
    bayesian = {"tuner": "bayesian"}
    hyperband = {"tuner": "hyperband", "epochs": 3}
    for state, facts in (
        (TrialState.PRUNED, hyperband),
        (TrialState.PRUNED, bayesian),
        (TrialState.PRUNED, None),
        (TrialState.COMPLETE, hyperband),
    ):
        attrs = {} if facts is None else {ENGINE_FACTS: facts}
        study.add_trial(create_trial(state=state, value=0.5, user_attrs=attrs))
    assert finished_since(study, None) == 3

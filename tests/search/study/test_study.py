"""The study: one holder, comparable trials only."""

from contextlib import AbstractContextManager
from pathlib import Path

import optuna
import pytest

from search.errors import StudyError
from search.study.database import Outages
from search.study.opening import opened_study
from search.study.study import COMPARABLE, enqueue_first, open_study
from tests.search.harness import FACTS


@pytest.mark.parametrize("url", [None, "sqlite:///{}/study.db"])
def test_only_one_process_holds_a_study(tmp_path: Path, url: str | None) -> None:
    def opened(name: str = "mine") -> AbstractContextManager[optuna.Study]:
        database = None if url is None else url.format(tmp_path)
        return opened_study(name, database, tmp_path, FACTS, {}, print, Outages(print))

    with (
        opened(),
        pytest.raises(StudyError, match=r"study 'mine' is being searched by another .*--study NAM"),
        opened(),
    ):
        pass
    with opened():
        pass


@pytest.mark.parametrize("fact", COMPARABLE)
def test_trials_that_cannot_be_compared_are_not_mixed(fact: str) -> None:
    storage = optuna.storages.InMemoryStorage()
    open_study(storage, "mine", FACTS)
    open_study(storage, "mine", FACTS | {"command": "another"})
    with pytest.raises(StudyError, match=f"'mine' has trials with {fact} .* start another with"):
        open_study(storage, "mine", FACTS | {fact: "other"})


def test_a_study_of_another_program_is_refused() -> None:
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(study_name="mine", storage=storage, direction="maximize").ask()
    with pytest.raises(StudyError, match="'mine' holds trials of another program; start another"):
        open_study(storage, "mine", FACTS)


def test_every_run_is_recorded() -> None:
    storage = optuna.storages.InMemoryStorage()
    for command in ("first", "second", "second"):
        study = open_study(storage, "mine", FACTS | {"command": command})
    assert [run["command"] for run in study.user_attrs["runs"]] == ["first", "second"]


def test_first_configurations_are_enqueued_once() -> None:
    study = open_study(optuna.storages.InMemoryStorage(), "mine", FACTS)
    for _ in range(2):
        enqueue_first(study, {"a": {"x": 1}, "b": {"x": 2}})
    assert [trial.user_attrs["baseline"] for trial in study.trials] == ["a", "b"]

"""Searches that are interrupted, killed, continued, overwritten or confused with another."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras_tuner
import optuna
import pytest
from optuna import samplers
from optuna.storages import InMemoryStorage

from search.optuna_tuner import OptunaOracle
from search.optuna_tuner.record import Record
from tests.search.optuna_tuner.programs import FunctionTuner, search, states

SCORE = keras_tuner.Objective("score", "max")


def two_values(hp: Any) -> float:
    return float(hp.Float("x", 0.0, 1.0) + hp.Int("n", 1, 100))


def interrupt_at(number: int) -> Any:
    """A function that Ctrl-C ends in its trial of that number."""
    calls = iter(range(100))

    def run(hp: Any) -> float:
        value = two_values(hp)
        if next(calls) == number:
            raise KeyboardInterrupt
        return value

    return run


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("same_process", [True, False])
def test_an_interrupted_trial_is_run_again_with_its_values(
    number: int, same_process: bool, tmp_path: Path
) -> None:
    tuner = FunctionTuner(OptunaOracle(SCORE, 5, seed=3), interrupt_at(number), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        tuner.search(verbose=0)
    values = dict(tuner.oracle.get_trial(str(number)).hyperparameters.values)
    tuner.oracle.interrupt(KeyboardInterrupt())
    assert states(tuner.oracle.study) == ["COMPLETE"] * number + ["FAIL"]
    if not same_process:
        tuner = FunctionTuner(OptunaOracle(SCORE, 5, seed=3), two_values, tmp_path)
    tuner.search(verbose=0)
    oracle = tuner.oracle
    assert list(oracle.trials) == ["0", "1", "2", "3", "4"] and oracle.remaining_trials() == 0
    assert oracle.get_trial(str(number)).hyperparameters.values == values
    assert oracle.study.trials[number].user_attrs["failure"] == "interrupted (KeyboardInterrupt)"
    assert oracle.study.trials[number + 1].params == values
    assert states(oracle.study).count("COMPLETE") == 5
    points = [tuple(t.params.values()) for t in oracle.study.trials if t.state.name == "COMPLETE"]
    assert len(set(points)) == 5
    assert oracle.end_order == ["0", "1", "2", "3", "4"]


PROGRAM = """
import sys, time
import keras_tuner
from search.optuna_tuner import OptunaOracle
from tests.search.optuna_tuner.programs import FunctionTuner
from tests.search.optuna_tuner.test_continued import two_values

def run(hp, trial, oracle):
    value = two_values(hp)
    oracle.report(trial.trial_id, value, 1)
    print(trial.trial_id, flush=True)
    if trial.trial_id == "2":
        time.sleep(600)
    return value

oracle = OptunaOracle(keras_tuner.Objective("score", "max"), 4, seed=0)
FunctionTuner(oracle, run, sys.argv[1]).search(verbose=0)
"""


def test_a_killed_search_is_continued(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline().strip() != "2":
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    # What a crash in the middle of a write leaves behind.
    with (tmp_path / "project" / "study.journal").open("a") as journal:
        journal.write('{"op_code": 4, "wor')
    oracle = OptunaOracle(SCORE, 4, seed=0)
    tuner = FunctionTuner(oracle, two_values, tmp_path)
    tuner.search(verbose=0)
    assert states(oracle.study) == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    killed, again = oracle.study.trials[2:4]
    assert killed.user_attrs["failure"] == "interrupted"
    assert again.params == killed.params
    assert killed.user_attrs["trial_id"] == again.user_attrs["trial_id"] == "2"
    assert len(oracle.trials) == 4
    assert {trial.status for trial in oracle.trials.values()} == {"COMPLETED"}


class Gone(BaseException):
    """The process is gone, and nobody is told."""


def test_a_trial_that_kills_its_process_three_times_has_failed(tmp_path: Path) -> None:
    def run(hp: Any, trial: Any) -> float:
        hp.Float("x", 0.0, 1.0)
        if trial.trial_id == "1":
            raise Gone
        return 1.0

    for kill in range(3):
        oracle = OptunaOracle(SCORE, 3, seed=0)
        tuner = FunctionTuner(oracle, run, tmp_path)
        with pytest.raises(Gone):
            tuner.search(verbose=0)
        assert states(oracle.study) == ["COMPLETE", *["FAIL"] * kill, "RUNNING"]
        oracle._lock.close()  # as the end of the process does
    oracle = search(run, tmp_path, max_trials=3).oracle
    assert states(oracle.study) == ["COMPLETE", "FAIL", "FAIL", "FAIL", "COMPLETE"]
    assert oracle.get_trial("1").status == "FAILED"
    assert oracle.get_trial("1").message == "The process died 3 times while this trial ran."
    assert oracle.end_order == ["0", "1", "2"]
    assert len({trial.params["x"] for trial in oracle.study.trials}) == 3


@pytest.mark.parametrize(
    ("kind", "method", "storage"),
    [
        (OptunaOracle, "_save_trial", False),
        (OptunaOracle, "save", False),
        (OptunaOracle, "update_trial", False),
        (Record, "end", False),
        # Between these the study is written, which may be in a database.
        (OptunaOracle, "update_trial", True),
        (Record, "end", True),
    ],
)
def test_a_project_survives_a_kill_at_every_moment(
    kind: type, method: str, storage: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is gone at each call of a method in turn, before or after it."""

    url = f"sqlite:///{tmp_path}/study.db" if storage else None
    real = getattr(kind, method)
    for call in range(4):
        for after in (False, True):
            folder = tmp_path / f"{call}-{after}"
            name = folder.name
            calls = iter(range(100))

            def gone(*args: Any, calls: Any = calls, end: Any = (call, after), **more: Any) -> Any:
                is_the_end = next(calls) == end[0]
                if is_the_end and not end[1]:
                    raise Gone
                result = real(*args, **more)
                if is_the_end:
                    raise Gone
                return result

            oracle = OptunaOracle(SCORE, 3, seed=0, storage=url, study_name=name)
            tuner = FunctionTuner(oracle, two_values, folder)
            with monkeypatch.context() as patch, contextlib.suppress(Gone):
                patch.setattr(kind, method, gone)
                # A killed process tells the study nothing.
                patch.setattr(OptunaOracle, "interrupt", lambda *_: None)
                tuner.search(verbose=0)
            oracle._lock.close()  # as its end does
            oracle = OptunaOracle(SCORE, 3, seed=0, storage=url, study_name=name)
            FunctionTuner(oracle, two_values, folder).search(verbose=0)
            assert sorted(oracle.trials) == ["0", "1", "2"]
            assert sorted(oracle.end_order) == ["0", "1", "2"]
            ended = states(oracle.study)
            assert ended.count("COMPLETE") == 3 and set(ended) <= {"COMPLETE", "FAIL"}
            for trial in oracle.study.trials:
                if trial.state.name == "COMPLETE":
                    assert trial.value == oracle.get_trial(trial.user_attrs["trial_id"]).score


def test_a_trial_whose_end_cannot_be_stored_is_ended_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    oracle = OptunaOracle(SCORE, 3, seed=0)
    tuner = FunctionTuner(oracle, two_values, tmp_path)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(Record, "end", fails)
        tuner.search(verbose=0)
    assert states(oracle.study) == ["RUNNING"]
    tuner.search(verbose=0)
    assert states(oracle.study) == ["COMPLETE"] * 3
    assert oracle.study.trials[0].value == oracle.get_trial("0").score


def test_trials_keep_their_order_when_max_trials_grows(tmp_path: Path) -> None:
    search(two_values, tmp_path, max_trials=2)
    search(two_values, tmp_path, max_trials=11)
    later = FunctionTuner(OptunaOracle(SCORE, 11), two_values, tmp_path).oracle
    assert [int(trial_id) for trial_id in later.trials] == list(range(11))


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"seed": 0},
        lambda: {"seed": 0, "sampler": samplers.RandomSampler()},
        lambda: {"sampler": samplers.TPESampler(seed=7)},
    ],
    ids=["default", "unseeded", "seeded"],
)
def test_a_continued_search_draws_what_an_uninterrupted_one_draws(
    make: Any, tmp_path: Path
) -> None:
    def points(folder: str, *stops: int, **more: Any) -> list[dict[str, Any]]:
        for stop in stops:
            arguments = {"seed": None, **make(), **more}
            oracle = search(two_values, tmp_path / folder, max_trials=stop, **arguments).oracle
        return [trial.params for trial in oracle.study.trials]

    through = points("through", 14)
    assert points("continued", 2, 6, 14) == through
    assert len({tuple(point.values()) for point in through}) == 14
    if "seed" in make():
        assert points("other", 2, seed=1) != through[:2]


def test_a_project_can_be_looked_at_without_its_study(tmp_path: Path) -> None:
    first = search(two_values, tmp_path, max_trials=3, storage=InMemoryStorage())
    later = FunctionTuner(OptunaOracle(SCORE, 3, storage=InMemoryStorage()), two_values, tmp_path)
    assert later.get_best_hyperparameters()[0].values == first.oracle.study.best_params
    later.results_summary()
    with pytest.raises(ValueError, match="study 'project' does not belong to the project in"):
        later.search(verbose=0)


def test_two_projects_do_not_share_a_study(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    search(two_values, tmp_path / "one", max_trials=2, storage=url)
    with pytest.raises(ValueError, match="choose another study_name or project_name"):
        search(two_values, tmp_path / "two", max_trials=2, storage=url)
    other = search(two_values, tmp_path / "two", max_trials=2, storage=url, study_name="two")
    assert len(other.oracle.study.trials) == 2


@pytest.mark.parametrize("objective", [keras_tuner.Objective("score", "min"), "val_accuracy"])
def test_a_study_of_another_objective_is_refused(objective: Any, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    search(two_values, tmp_path / "one", max_trials=1, storage=url)
    with pytest.raises(ValueError, match="study 'project' is to maximize score; this search is to"):
        search(two_values, tmp_path / "two", max_trials=1, storage=url, objective=objective)


def test_another_tuners_project_is_refused(tmp_path: Path) -> None:
    oracle = keras_tuner.oracles.RandomSearchOracle(SCORE, max_trials=1)
    FunctionTuner(oracle, two_values, tmp_path).search(verbose=0)
    with pytest.raises(RuntimeError, match="change the `project_name` or pass `overwrite=True`"):
        FunctionTuner(OptunaOracle(SCORE, 1), two_values, tmp_path)


def test_trials_that_other_programs_added_are_not_repeated(tmp_path: Path) -> None:
    oracle = OptunaOracle(SCORE, 5, storage=InMemoryStorage())
    tuner = FunctionTuner(oracle, lambda hp: float(hp.Int("a", 1, 2)), tmp_path)
    oracle.study.add_trial(
        optuna.create_trial(
            params={"a": 1},
            distributions={"a": optuna.distributions.IntDistribution(1, 2)},
            value=1.0,
        )
    )
    tuner.search(verbose=0)
    # The space is unknown before the first trial.
    assert {trial.params["a"] for trial in oracle.study.trials} == {1, 2}
    assert len(oracle.trials) <= 2


def enqueue(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 0.5, "n": 7})


def test_overwriting_keeps_the_study_of_another_project(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    search(two_values, tmp_path / "one", max_trials=2, storage=url)
    search(two_values, tmp_path / "two", max_trials=2)
    oracle = OptunaOracle(SCORE, 2, storage=url)
    tuner = FunctionTuner(oracle, two_values, tmp_path / "two", overwrite=True)
    with pytest.raises(ValueError, match="with, or choose another study_name or project_name"):
        tuner.search(verbose=0)
    (study,) = optuna.get_all_study_summaries(url)
    assert study.n_trials == 2


@pytest.mark.parametrize("storage", [True, False])
def test_overwriting_keeps_what_was_enqueued_after_it(storage: bool, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db" if storage else None
    search(two_values, tmp_path, max_trials=2, storage=url)
    oracle = OptunaOracle(SCORE, 2, storage=url)
    tuner = FunctionTuner(oracle, two_values, tmp_path, overwrite=True)
    enqueue(oracle.study)
    tuner.search(verbose=0)
    assert oracle.study.trials[0].params == {"x": 0.5, "n": 7}
    assert states(oracle.study) == ["COMPLETE"] * 2
    assert len(optuna.get_all_study_names(oracle.study._storage)) == 1


def test_a_tuner_continues_what_another_one_did_after_it_was_made(tmp_path: Path) -> None:
    search(two_values, tmp_path, max_trials=2)
    early = FunctionTuner(OptunaOracle(SCORE, 5, seed=0), two_values, tmp_path)
    assert len(early.oracle.study.trials) == 2
    done = search(two_values, tmp_path, max_trials=4).oracle
    early.search(verbose=0)
    assert len(early.oracle.study.trials) == len(early.oracle.trials) == 5
    assert early.oracle.end_order == ["0", "1", "2", "3", "4"]
    for trial_id, trial in done.trials.items():
        assert early.oracle.get_trial(trial_id).score == trial.score


def test_one_oracle_at_a_time_searches_a_project(tmp_path: Path) -> None:
    first, second = OptunaOracle(SCORE, 2), OptunaOracle(SCORE, 2)
    tuner = FunctionTuner(first, two_values, tmp_path)
    FunctionTuner(second, two_values, tmp_path)
    trial = first.create_trial("tuner0")
    with pytest.raises(RuntimeError, match="is being searched by this process"):
        second.create_trial("tuner0")
    assert states(first.study) == states(second.study) == ["RUNNING"]
    trial.hyperparameters.Int("n", 1, 100)
    first.update_trial(trial.trial_id, {"score": 1.0})
    trial.status = "COMPLETED"
    first.end_trial(trial)
    tuner.search(verbose=0)
    assert second.create_trial("tuner0").status == "STOPPED"
    assert len(second.trials) == 2


def test_a_torn_journal_can_be_added_to_before_the_search(tmp_path: Path) -> None:
    search(two_values, tmp_path, max_trials=1)
    with (tmp_path / "project" / "study.journal").open("a") as journal:
        journal.write('{"op_code": 4, "wor')
    oracle = OptunaOracle(SCORE, 2)
    tuner = FunctionTuner(oracle, two_values, tmp_path)
    enqueue(oracle.study)
    tuner.search(verbose=0)
    assert oracle.study.trials[1].params == {"x": 0.5, "n": 7}
    assert states(search(two_values, tmp_path, max_trials=2).oracle.study) == ["COMPLETE"] * 2


def test_trials_that_other_programs_run_are_left_alone(tmp_path: Path) -> None:
    storage = InMemoryStorage()
    study = optuna.create_study(study_name="project", storage=storage, direction="maximize")
    others = study.ask()
    others.set_user_attr("trial_id", "0")
    oracle = search(two_values, tmp_path, max_trials=2, storage=storage).oracle
    assert states(oracle.study) == ["RUNNING", "COMPLETE", "COMPLETE"]
    study.tell(others, 1.0)

"""How trials end (complete, pruned, failed, retried), and what ends a search."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras_tuner
import optuna
import pytest
from keras_tuner.errors import FailedTrialError, FatalRuntimeError, FatalTypeError

from search.optuna_tuner import OptunaOracle
from tests.search.optuna_tuner.programs import FunctionTuner, StopsAt, search, states

SCORE = keras_tuner.Objective("score", "max")


def one_of(results: list[Any]) -> Any:
    """A function that returns or raises these results, one after the other."""
    left: Iterator[Any] = iter(results)

    def run(hp: Any) -> Any:
        hp.Int("a", 1, 1000)
        result = next(left)
        if isinstance(result, BaseException):
            raise result
        return result

    return run


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (float("nan"), "score is not a number"),
        (ZeroDivisionError("oops"), "ZeroDivisionError: oops"),
    ],
)
def test_a_retry_is_another_attempt_with_the_same_values(
    bad: Any, reason: str, tmp_path: Path
) -> None:
    oracle = search(
        one_of([bad, 0.5, 0.25]), tmp_path, max_trials=2, max_retries_per_trial=1
    ).oracle
    assert states(oracle.study) == ["FAIL", "COMPLETE", "COMPLETE"]
    failed, again, _ = oracle.study.trials
    assert failed.user_attrs["failure"] == reason
    assert ("traceback" in failed.user_attrs) == isinstance(bad, Exception)
    assert again.params == failed.params
    assert again.value == 0.5
    assert "failure" not in again.user_attrs
    assert again.system_attrs["retry_history"] == [0]
    trial = oracle.get_trial("0")
    assert (trial.status, trial.score, trial.message) == ("COMPLETED", 0.5, None)
    assert failed.user_attrs["trial_id"] == again.user_attrs["trial_id"] == "0"


def test_a_trial_that_never_succeeds_has_failed(tmp_path: Path) -> None:
    oracle = search(
        one_of([ValueError("bad")] * 3 + [1.0]), tmp_path, max_trials=2, max_retries_per_trial=2
    ).oracle
    assert states(oracle.study) == ["FAIL"] * 3 + ["COMPLETE"]
    assert oracle.get_trial("0").status == "FAILED"
    assert "ValueError: bad" in oracle.get_trial("0").message
    assert [trial.trial_id for trial in oracle.get_best_trials(5)] == ["1", "0"]


def test_a_failed_trial_error_is_not_tried_again(tmp_path: Path) -> None:
    oracle = search(
        one_of([FailedTrialError("too big"), 1.0]),
        tmp_path,
        max_trials=2,
        max_retries_per_trial=5,
    ).oracle
    assert states(oracle.study) == ["FAIL", "COMPLETE"]
    assert oracle.study.trials[0].user_attrs["failure"].endswith("FailedTrialError: too big")


def test_failures_in_a_row_end_the_search_and_another_one_may_follow(tmp_path: Path) -> None:
    bad = [ValueError("bad")] * 2
    run = one_of([*bad, 1.0, *bad, *bad])
    oracle = OptunaOracle(SCORE, 9, seed=0, max_consecutive_failed_trials=3)
    tuner = FunctionTuner(oracle, run, tmp_path)
    with pytest.raises(RuntimeError, match=r"exceeded the limit of 3.\n(.|\n)*ValueError: bad"):
        tuner.search(verbose=0)
    assert states(oracle.study) == ["FAIL", "FAIL", "COMPLETE", "FAIL", "FAIL", "FAIL"]
    assert oracle.ongoing_trials == {}
    later = FunctionTuner(OptunaOracle(SCORE, 9, seed=0), one_of([2.0] * 3), tmp_path)
    later.search(verbose=0)
    assert states(later.oracle.study)[6:] == ["COMPLETE"] * 3
    assert len(later.oracle.trials) == 9


def test_a_fatal_error_ends_the_search(tmp_path: Path) -> None:
    tuner = FunctionTuner(OptunaOracle(SCORE, 9), one_of([FatalTypeError("no model")]), tmp_path)
    with pytest.raises(FatalTypeError, match="no model"):
        tuner.search(verbose=0)
    tuner.function = one_of([1.0] * 9)
    tuner.search(verbose=0)
    assert states(tuner.oracle.study).count("COMPLETE") == 9


@pytest.mark.parametrize("leave", ["raise", "return", "ignore"])
def test_a_pruned_trial_is_complete_for_keras_tuner(leave: str, tmp_path: Path) -> None:
    steps = []

    def run(hp: Any, trial: Any, oracle: Any) -> float:
        height = hp.Float("height", 0.0, 1.0)
        for step in range(1, 5):
            steps.append(step)
            if oracle.report(trial.trial_id, height + 10 - step, step) and leave != "ignore":
                if leave == "raise":
                    raise optuna.TrialPruned
                return float(height + 9)
        return float(height + 9)

    tuner = search(run, tmp_path, pruner=StopsAt(2), max_trials=5, max_consecutive_failed_trials=1)
    oracle = tuner.oracle
    assert states(oracle.study) == ["COMPLETE"] + ["PRUNED"] * 4
    assert {trial.status for trial in oracle.trials.values()} == {"COMPLETED"}
    assert steps == ([1, 2, 3, 4] * 5 if leave == "ignore" else [1, 2, 3, 4] + [1, 2] * 4)
    for number, trial in enumerate(oracle.study.trials):
        height = trial.params["height"]
        last = 4 if number == 0 else 2
        assert trial.intermediate_values == {s: height + 10 - s for s in range(1, last + 1)}
        assert oracle.get_trial(str(number)).score == height + 9
        assert number == 0 or trial.value == height + 8
    assert oracle.get_trial("1").message == "Pruned after step 2."
    best = [trial.trial_id for trial in oracle.get_best_trials(5)]
    scores = {trial.trial_id: trial.score for trial in oracle.trials.values()}
    assert best == ["0", *sorted("1234", key=lambda trial_id: -scores[trial_id])]
    again = FunctionTuner(OptunaOracle(SCORE, 5), run, tmp_path)
    assert [trial.trial_id for trial in again.oracle.get_best_trials(5)] == best


def test_pruned_trials_are_best_only_if_there_is_nothing_else(tmp_path: Path) -> None:
    class Always(optuna.pruners.NopPruner):
        def prune(self, *_: Any) -> bool:
            return True

    def run(hp: Any, trial: Any, oracle: Any) -> float:
        value = hp.Float("height", 0.0, 1.0)
        if oracle.report(trial.trial_id, value, 0):
            raise optuna.TrialPruned
        return float(value)

    oracle = search(run, tmp_path, pruner=Always(), max_trials=3).oracle
    scores = [trial.score for trial in oracle.get_best_trials(9)]
    assert scores == sorted((t.value for t in oracle.study.trials), reverse=True)


def test_trials_that_did_not_end_well_follow_the_best_ones(tmp_path: Path) -> None:
    def run(hp: Any, trial: Any, oracle: Any) -> float:
        hp.Int("a", 1, 1000)
        if trial.trial_id == "0":
            raise ValueError("bad")
        if oracle.report(trial.trial_id, 100.0, 1):
            raise optuna.TrialPruned
        return float(trial.trial_id)

    class SecondIsPruned(optuna.pruners.NopPruner):
        def prune(self, study: Any, trial: Any) -> bool:
            return bool(trial.number == 1)

    oracle = search(run, tmp_path, pruner=SecondIsPruned(), max_trials=4).oracle
    assert [trial.trial_id for trial in oracle.get_best_trials(9)] == ["3", "2", "1", "0"]
    assert [trial.trial_id for trial in oracle.get_best_trials(1)] == ["3"]
    oracle.get_trial("2").score = None
    assert [trial.trial_id for trial in oracle.get_best_trials(9)] == ["3", "1", "0", "2"]


def test_pruned_trials_stay_pruned_under_your_own_score(tmp_path: Path) -> None:
    class Own(OptunaOracle):
        def score_trial(self, trial: Any) -> None:
            trial.score, trial.best_step = 5.0, 1

    def run(hp: Any, trial: Any, oracle: Any) -> float:
        hp.Int("a", 1, 1000)
        if oracle.report(trial.trial_id, 1.0, 1):
            raise optuna.TrialPruned
        return 1.0

    oracle = Own(SCORE, 2, pruner=StopsAt(1))
    FunctionTuner(oracle, run, tmp_path).search(verbose=0)
    assert states(oracle.study) == ["COMPLETE", "PRUNED"]
    assert oracle.get_trial("1").score == 5.0


@pytest.mark.parametrize("call", ["set_trial_param", "set_trial_intermediate_value", "sample"])
def test_an_error_in_optuna_ends_the_search_and_not_the_trial(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(hp: Any, trial: Any, oracle: Any) -> float:
        hp.Int("a", 1, 1000)
        oracle.report(trial.trial_id, 1.0, 1)
        return 1.0

    def fails(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    oracle = OptunaOracle(SCORE, 2, seed=0)
    tuner = FunctionTuner(oracle, run, tmp_path)
    with monkeypatch.context() as patch:
        if call == "sample":
            patch.setattr(oracle.study.sampler, "sample_independent", fails)
        else:
            patch.setattr(oracle.study._storage, call, fails)
        with pytest.raises(FatalRuntimeError, match=r"not the model \(OSError: disk full\)"):
            tuner.search(verbose=0)
    oracle.interrupt(OSError("disk full"))
    tuner.search(verbose=0)
    assert states(oracle.study) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert [trial.status for trial in oracle.trials.values()] == ["COMPLETED"] * 2


def test_a_program_may_prune_by_itself(tmp_path: Path) -> None:
    def run(hp: Any, trial: Any, oracle: Any) -> float:
        hp.Int("a", 1, 1000)
        if trial.trial_id != "0":
            oracle.report(trial.trial_id, 1.0, 1)
        raise optuna.TrialPruned("hopeless")

    arguments: dict[str, Any] = {"max_retries_per_trial": 2, "max_consecutive_failed_trials": 1}
    oracle = search(run, tmp_path, max_trials=2, **arguments).oracle
    assert states(oracle.study) == ["FAIL", "PRUNED"]
    assert [trial.status for trial in oracle.trials.values()] == ["FAILED", "COMPLETED"]


def test_the_median_prunes_by_default_and_none_is_pruned_with_several_objectives(
    tmp_path: Path,
) -> None:
    heights = iter([1.0] * 5 + [0.0])

    def run(hp: Any, trial: Any, oracle: Any) -> dict[str, float]:
        hp.Int("a", 1, 1000)
        height = next(heights)
        stops = [oracle.report(trial.trial_id, height, step) for step in (1, 2)]
        assert stops == [False, height == 0.0 and oracle.objective.name == "score"]
        return {oracle.objective.name: height}

    assert states(search(run, tmp_path / "one", max_trials=6).oracle.study)[-1] == "PRUNED"
    heights = iter([0.0] * 5 + [1.0])
    summed = search(
        lambda hp, trial, oracle: {**run(hp, trial, oracle), "val_loss": 0.0, "loss": 0.0},
        tmp_path / "two",
        objective=["val_loss", "loss"],
        max_trials=6,
    ).oracle.study
    assert states(summed) == ["COMPLETE"] * 6
    assert summed.trials[5].intermediate_values == {1: 1.0, 2: 1.0}


def test_a_step_counts_once_and_the_last_one_prunes_nothing(tmp_path: Path) -> None:
    def run(hp: Any, trial: Any, oracle: Any) -> float:
        hp.Int("a", 1, 1000)
        oracle.report(trial.trial_id, 1.0, 1)
        oracle.report(trial.trial_id, 9.0, 1)
        assert not oracle.report(trial.trial_id, 2.0, 2, is_last=True)
        return 2.0

    study = search(run, tmp_path, pruner=StopsAt(2), max_trials=2).oracle.study
    assert states(study) == ["COMPLETE"] * 2
    assert study.trials[1].intermediate_values == {1: 1.0, 2: 2.0}


def test_a_pruned_trial_without_a_number_has_failed(tmp_path: Path) -> None:
    def run(hp: Any, trial: Any, oracle: Any) -> float:
        hp.Int("a", 1, 1000)
        oracle.report(trial.trial_id, float("nan"), 1)
        return float("nan")

    oracle = OptunaOracle(SCORE, 3, pruner=StopsAt(1), max_consecutive_failed_trials=2)
    with pytest.raises(RuntimeError, match="exceeded the limit of 2"):
        FunctionTuner(oracle, run, tmp_path).search(verbose=0)
    assert states(oracle.study) == ["FAIL", "FAIL"]
    assert oracle.study.trials[1].user_attrs["failure"] == "score is not a number"

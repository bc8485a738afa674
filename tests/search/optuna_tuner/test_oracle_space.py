"""Which hyperparameters the study holds, and that no configuration is tried twice."""

import copy
import pickle
from pathlib import Path
from typing import Any

import keras_tuner
import optuna
import pytest
from keras_tuner.errors import FatalValueError
from optuna import samplers
from optuna.storages import InMemoryStorage

from search.optuna_tuner import OptunaOracle
from tests.search.optuna_tuner.programs import (
    FunctionTuner,
    layers_and_units,
    search,
    states,
)


def six_points(hp: Any) -> float:
    return float(hp.Int("a", 1, 3) * (10 if hp.Boolean("b") else 1))


def test_parameters_that_a_trial_does_not_read_are_not_in_the_study(tmp_path: Path) -> None:
    tuner = search(layers_and_units, tmp_path, sampler=samplers.RandomSampler(), max_trials=5)
    for trial in tuner.oracle.study.trials:
        names = {"layers", "units_0", "units_1"} if trial.params["layers"] == 2 else None
        assert set(trial.params) == names or set(trial.params) == {"layers", "units_0"}
        kept = tuner.oracle.get_trial(trial.user_attrs["trial_id"]).hyperparameters
        assert kept.values == trial.params
    assert {trial.params["layers"] for trial in tuner.oracle.study.trials} == {1, 2}


def test_inactive_parameters_are_not_in_the_study(tmp_path: Path) -> None:
    def run(hp: Any) -> float:
        hp.Choice("kind", ["sgd", "adam"])
        with hp.conditional_scope("kind", ["sgd"]):
            momentum = hp.Float("momentum", 0.0, 1.0)
        with hp.conditional_scope("kind", ["adam"]):
            beta = hp.Float("beta", 0.0, 1.0)
        assert (momentum is None) != (beta is None)
        return 1.0

    trials = search(run, tmp_path, max_trials=6).oracle.study.trials
    assert {tuple(trial.params) for trial in trials} == {("kind", "momentum"), ("kind", "beta")}


def test_values_read_all_at_once_are_in_the_study(tmp_path: Path) -> None:
    space = keras_tuner.HyperParameters()
    space.Int("a", 1, 9)
    space.Int("b", 1, 9)
    tuner = search(
        lambda hp: float(sum(dict(hp.values).values())),
        tmp_path,
        hyperparameters=space,
        max_trials=2,
    )
    assert [sum(t.params.values()) for t in tuner.oracle.study.trials] == [
        t.value for t in tuner.oracle.study.trials
    ]


@pytest.mark.parametrize(
    "read_rest",
    [
        lambda hp: dict(hp.values.items()),
        lambda hp: dict(hp.values),
        lambda hp: {**hp.values},
        lambda hp: (lambda **values: values)(**hp.values),
        lambda hp: dict(zip(hp.values, hp.values.values(), strict=True)),
        lambda hp: hp.values | {},
        lambda hp: {name: hp.values.pop(name) for name in list(hp.values)},
        lambda hp: hp.copy().values,
        lambda hp: copy.deepcopy(hp).values,
        lambda hp: copy.deepcopy(hp.values),
    ],
    ids=["items", "dict", "merge", "call", "values", "or", "pop", "copy", "deepcopy", "plain"],
)
def test_values_read_at_once_after_one_was_read_singly_are_in_the_study(
    read_rest: Any, tmp_path: Path
) -> None:
    space = keras_tuner.HyperParameters()
    space.Choice("batch", [8, 16])
    space.Int("n", 1, 100)
    space.Float("r", 0.0, 1.0)

    def run(hp: Any) -> float:
        assert hp.Choice("batch", [8, 16]) in (8, 16)
        values = read_rest(hp)
        assert type(values) is dict
        return float(values["n"] + values["r"])

    oracle = search(run, tmp_path, hyperparameters=space, max_trials=5).oracle
    assert len(oracle.trials) == 5
    for trial in oracle.study.trials:
        assert set(trial.params) == {"batch", "n", "r"}
        assert trial.value == trial.params["n"] + trial.params["r"]


def test_showing_or_saving_values_does_not_read_them(tmp_path: Path) -> None:
    space = keras_tuner.HyperParameters()
    for name in ("read", "unread"):
        space.Int(name, 1, 9)
    calls = iter(range(9))

    def run(hp: Any) -> float:
        if next(calls) == 0:
            raise ValueError("once more")
        assert "unread" in hp.values and "unread" in list(hp.values)
        return float(hp.get("read"))

    oracle = OptunaOracle(
        keras_tuner.Objective("score", "max"), 2, hyperparameters=space, max_retries_per_trial=1
    )
    FunctionTuner(oracle, run, tmp_path).search(verbose=1)
    assert [list(trial.params) for trial in oracle.study.trials[1:]] == [["read"]] * 2


def test_values_read_from_the_dictionary_or_by_get_are_in_the_study(tmp_path: Path) -> None:
    space = keras_tuner.HyperParameters()
    for name in ("a", "b", "c", "unread"):
        space.Int(name, 1, 9)
    tuner = search(
        lambda hp: float(hp.values["a"] + hp.get("b") + hp.values.get("c", 0)),
        tmp_path,
        hyperparameters=space,
        max_trials=1,
    )
    assert list(tuner.oracle.study.trials[0].params) == ["a", "b", "c"]


def test_hyperparameters_can_be_copied_and_pickled_while_they_run(tmp_path: Path) -> None:
    def run(hp: Any) -> float:
        value = hp.Int("a", 1, 9)
        for each in (copy.deepcopy(hp), pickle.loads(pickle.dumps(hp)), hp.copy()):
            assert type(each) is keras_tuner.HyperParameters
            assert each.values == {"a": value}
        return 1.0

    assert states(search(run, tmp_path, max_trials=1).oracle.study) == ["COMPLETE"]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(
    "make",
    [
        lambda: None,
        lambda: samplers.TPESampler(),
        lambda: samplers.RandomSampler(),
        lambda: samplers.QMCSampler(),
        lambda: samplers.BruteForceSampler(),
        lambda: samplers.CmaEsSampler(),
        lambda: samplers.GridSampler({"a": [1, 2, 3], "b": [True, False]}),
    ],
    ids=["default", "tpe", "random", "qmc", "brute", "cmaes", "grid"],
)
def test_a_finite_space_is_searched_once_and_then_the_search_stops(
    make: Any, tmp_path: Path
) -> None:
    space = keras_tuner.HyperParameters()
    six_points(space)
    oracle = search(
        six_points, tmp_path, sampler=make(), max_trials=20, hyperparameters=space
    ).oracle
    points = [tuple(sorted(trial.params.items())) for trial in oracle.study.trials]
    assert len(points) == len(set(points)) == 6
    assert states(oracle.study) == ["COMPLETE"] * 6
    again = search(six_points, tmp_path, sampler=make(), max_trials=20).oracle
    assert len(again.trials) == len(again.study.trials) == 6


def test_two_trials_that_read_the_same_values_are_the_same(tmp_path: Path) -> None:
    study = search(layers_and_units, tmp_path, max_trials=None).oracle.study
    points = {tuple(sorted(trial.params.items())) for trial in study.trials}
    assert len(study.trials) == len(points) == 2 + 4


def test_a_grid_may_hold_points_that_read_the_same_values(tmp_path: Path) -> None:
    grid = samplers.GridSampler({"layers": [1, 2], "units_0": [1], "units_1": [1, 2]})
    space = keras_tuner.HyperParameters()
    space.Int("layers", 1, 2)
    space.Choice("units_0", [1, 2])
    space.Choice("units_1", [1, 2])
    oracle = search(
        layers_and_units, tmp_path, sampler=grid, max_trials=9, hyperparameters=space
    ).oracle
    assert sorted(states(oracle.study)) == ["COMPLETE"] * 3 + ["FAIL"]
    assert len(oracle.trials) == 3
    skipped = next(trial for trial in oracle.study.trials if trial.state.name == "FAIL")
    assert skipped.user_attrs["failure"] == "not run: an earlier trial has this configuration"


def test_an_early_failure_closes_no_part_of_the_space(tmp_path: Path) -> None:
    calls = iter(range(99))

    def run(hp: Any) -> float:
        a = hp.Int("a", 1, 2)
        if next(calls) == 0:
            raise ValueError("once")
        return float(a * hp.Int("b", 1, 3))

    oracle = search(run, tmp_path, max_trials=None).oracle
    ended = [trial for trial in oracle.study.trials if trial.state.name == "COMPLETE"]
    assert {tuple(sorted(trial.params.items())) for trial in ended} == {
        (("a", a), ("b", b)) for a in (1, 2) for b in (1, 2, 3)
    }
    assert states(oracle.study) == ["FAIL"] + ["COMPLETE"] * 6


def test_trials_that_run_at_once_differ(tmp_path: Path) -> None:
    space = keras_tuner.HyperParameters()
    six_points(space)
    oracle = OptunaOracle(keras_tuner.Objective("score", "max"), 9, hyperparameters=space)
    FunctionTuner(oracle, six_points, tmp_path)
    trials = [oracle.create_trial(f"tuner{number}") for number in range(7)]
    points = {tuple(trial.hyperparameters.copy().values.items()) for trial in trials[:6]}
    assert len(points) == 6
    assert trials[6].status == "STOPPED"


def test_a_program_without_hyperparameters_runs_once(tmp_path: Path) -> None:
    assert len(search(lambda hp: 1.0, tmp_path, max_trials=5).oracle.trials) == 1


def test_overrides_and_fixed_values_win(tmp_path: Path) -> None:
    space = keras_tuner.HyperParameters()
    space.Fixed("a", 3)
    oracle = search(six_points, tmp_path, hyperparameters=space, max_trials=9).oracle
    assert [list(trial.params) for trial in oracle.study.trials] == [["b"], ["b"]]
    assert sorted(trial.value for trial in oracle.study.trials) == [3.0, 30.0]
    assert oracle.study.trials[0].user_attrs["fixed"] == {"a": 3}


def test_entries_that_are_not_tuned_take_their_defaults(tmp_path: Path) -> None:
    space = keras_tuner.HyperParameters()
    space.Boolean("b")
    oracle = search(
        six_points, tmp_path, hyperparameters=space, tune_new_entries=False, max_trials=9
    ).oracle
    assert sorted(trial.value for trial in oracle.study.trials) == [1.0, 10.0]
    assert [list(trial.params) for trial in oracle.study.trials] == [["b"], ["b"]]
    assert [hp.name for hp in oracle.get_space().space] == ["b"]


def test_entries_that_are_not_allowed_end_the_search(tmp_path: Path) -> None:
    space = keras_tuner.HyperParameters()
    space.Boolean("b")
    oracle = OptunaOracle(
        keras_tuner.Objective("score", "max"), 3, hyperparameters=space, allow_new_entries=False
    )
    with pytest.raises(RuntimeError, match="`allow_new_entries` is `False`"):
        FunctionTuner(oracle, six_points, tmp_path).search(verbose=0)
    assert states(oracle.study) == ["FAIL"]
    assert "allow_new_entries" in oracle.study.trials[0].user_attrs["failure"]


def two_conditions(hp: Any) -> float:
    kind = hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", [kind]):
        return float(hp.Int("x", 1, 9))


def test_one_name_under_two_conditions_is_refused(tmp_path: Path) -> None:
    message = "'x' is defined under two conditions; give it two names"
    space = keras_tuner.HyperParameters()
    for kind in ("a", "b"):
        space.Choice("kind", ["a", "b"])
        with space.conditional_scope("kind", [kind]):
            space.Int("x", 1, 9)
    with pytest.raises(ValueError, match=message):
        OptunaOracle(hyperparameters=space)
    oracle = OptunaOracle()
    with pytest.raises(ValueError, match=message):
        oracle.update_space(space)
    oracle = OptunaOracle(keras_tuner.Objective("score", "max"), 9, seed=0)
    with pytest.raises(FatalValueError, match=message):
        FunctionTuner(oracle, two_conditions, tmp_path).search(verbose=0)
    assert "RUNNING" in states(oracle.study)  # KerasTuner's own tuner does not interrupt the oracle
    oracle.interrupt(ValueError("two"))
    assert states(oracle.study)[-1] == "FAIL"


def test_a_study_with_other_values_of_a_parameter_is_refused(tmp_path: Path) -> None:
    storage = InMemoryStorage()
    study = optuna.create_study(study_name="project", storage=storage, direction="maximize")
    earlier = study.ask()
    earlier.suggest_categorical("a", ["x", "y"])
    study.tell(earlier, 1.0)
    oracle = OptunaOracle(keras_tuner.Objective("score", "max"), 2, storage=storage)
    with pytest.raises(FatalValueError, match="knows hyperparameter 'a' with other values"):
        FunctionTuner(oracle, six_points, tmp_path).search(verbose=0)

"""The oracle alone: its arguments, what the study holds, storages, and other tuners."""

import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import optuna
import pytest
from keras_tuner.src.engine.oracle import THREADS
from optuna import samplers
from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sklearn.linear_model import RidgeClassifier

from search.optuna_tuner import OptunaOracle
from tests.search.optuna_tuner.programs import (
    FunctionTuner,
    search,
    states,
)


def six_points(hp: Any) -> float:
    return float(hp.Int("a", 1, 3) * (10 if hp.Boolean("b") else 1))


def continuous(hp: Any) -> float:
    return -float(abs(hp.Float("x", 0.0, 1.0) - 0.3))


def test_the_study_holds_the_values_that_ran_and_their_scores(tmp_path: Path) -> None:
    tuner = search(continuous, tmp_path, max_trials=5)
    study = tuner.oracle.study
    assert study.direction.name == "MAXIMIZE"
    assert study.metric_names == ["score"]
    assert len(study.trials) == 5
    for number, trial in enumerate(study.trials):
        ran = tuner.oracle.get_trial(str(number))
        assert trial.params == ran.hyperparameters.values
        assert trial.value == ran.score == -abs(trial.params["x"] - 0.3)
        assert trial.user_attrs["trial_id"] == str(number)
        assert trial.user_attrs["seconds"] >= 0
    best = tuner.oracle.get_best_trials(2)
    assert best[0].score == study.best_value > best[1].score
    assert tuner.get_best_hyperparameters()[0].values == study.best_params
    assert tuner.get_best_models() == [study.best_params]


@pytest.mark.parametrize(
    ("objective", "result", "value", "direction"),
    [
        (None, 3.0, 3.0, "MINIMIZE"),
        ("val_loss", {"val_loss": 2.0}, 2.0, "MINIMIZE"),
        ("val_accuracy", {"val_accuracy": 0.5, "val_loss": 9.0}, 0.5, "MAXIMIZE"),
        (
            ["val_loss", keras_tuner.Objective("f1", "max")],
            {"val_loss": 2.0, "f1": 0.5, "multi_objective": 1.5},
            1.5,
            "MINIMIZE",
        ),
    ],
)
def test_every_kind_of_objective_becomes_one_value(
    objective: Any, result: Any, value: float, direction: str, tmp_path: Path
) -> None:
    def run(hp: Any) -> Any:
        hp.Int("a", 1, 9)
        return result

    tuner = search(run, tmp_path, objective=objective, max_trials=1)
    assert tuner.oracle.study.best_value == value
    assert tuner.oracle.study.direction.name == direction


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
def test_optuna_names_a_missing_package(tmp_path: Path) -> None:
    oracle = OptunaOracle(
        keras_tuner.Objective("score", "max"), 20, sampler=samplers.GPSampler(n_startup_trials=1)
    )
    with pytest.raises(ImportError, match="torch"):
        FunctionTuner(oracle, continuous, tmp_path).search(verbose=0)
    assert set(states(oracle.study)) == {"COMPLETE", "FAIL"}


def test_enqueued_trials_come_first(tmp_path: Path) -> None:
    space = keras_tuner.HyperParameters()
    six_points(space)
    oracle = OptunaOracle(
        keras_tuner.Objective("score", "max"), 3, hyperparameters=space, storage=InMemoryStorage()
    )
    tuner = FunctionTuner(oracle, six_points, tmp_path)
    oracle.study.enqueue_trial({"a": 2, "b": True})
    tuner.search(verbose=0)
    assert oracle.study.trials[0].params == {"a": 2, "b": True}
    assert oracle.get_trial("0").score == 20.0
    assert len(oracle.trials) == 3


def test_enqueued_values_that_cannot_be_used_are_warned_of(tmp_path: Path) -> None:
    oracle = OptunaOracle(keras_tuner.Objective("score", "max"), 2)
    tuner = FunctionTuner(oracle, six_points, tmp_path)
    oracle.study.enqueue_trial({"a": 9, "b": True})
    oracle.study.enqueue_trial({"a": 2, "c": 1})
    with pytest.warns(UserWarning) as warned:
        tuner.search(verbose=0)
    first, second = (str(each.message) for each in warned if each.category is UserWarning)
    assert first.startswith("trial 0 was to run with a=9, which is not in IntDistribution(high=3")
    assert second == (
        "trial 1 was to run with values of c, which its search space does not use; it uses a, b."
    )
    assert oracle.study.trials[0].params["b"] is True
    assert oracle.study.trials[1].params["a"] == 2


@pytest.mark.parametrize("kind", ["memory", "sqlite", "journal", "url", "none"])
def test_every_storage_holds_the_study(kind: str, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/study.db"
    storages: dict[str, Any] = {
        "memory": InMemoryStorage,
        "sqlite": lambda: RDBStorage(database),
        "journal": lambda: JournalStorage(JournalFileBackend(str(tmp_path / "journal"))),
        "url": lambda: database,
        "none": lambda: None,
    }
    tuner = search(six_points, tmp_path, storage=storages[kind](), study_name="mine", max_trials=3)
    own = tmp_path / "project" / "study.journal"
    assert own.exists() == (kind == "none")
    where: Any = storages[kind]()
    if kind == "memory":
        where = tuner.oracle.study._storage
    elif kind == "none":
        where = JournalStorage(JournalFileBackend(str(own)))
    assert states(optuna.load_study(study_name="mine", storage=where)) == ["COMPLETE"] * 3


def test_a_scikit_learn_model_is_searched(tmp_path: Path) -> None:
    def build(hp: Any) -> RidgeClassifier:
        return RidgeClassifier(alpha=hp.Float("alpha", 1e-3, 1.0, sampling="log"))

    tuner = keras_tuner.tuners.SklearnTuner(
        OptunaOracle(keras_tuner.Objective("score", "max"), 3, seed=1),
        build,
        directory=str(tmp_path),
        project_name="project",
    )
    rng = np.random.default_rng(0)
    tuner.search(rng.random((40, 4)), rng.integers(0, 2, 40))
    assert states(tuner.oracle.study) == ["COMPLETE"] * 3
    best = tuner.get_best_models()[0]
    assert best.alpha == tuner.oracle.study.best_params["alpha"]


def test_an_error_does_not_leave_the_oracle_locked(tmp_path: Path) -> None:
    oracle = OptunaOracle(keras_tuner.Objective("score", "max"), 9)
    FunctionTuner(oracle, six_points, tmp_path)
    trial = oracle.create_trial("tuner0")
    for call in (
        lambda: oracle.update_trial(trial.trial_id, {"other": 1.0}),
        lambda: oracle.end_trial(keras_tuner.engine.trial.Trial(None, trial_id="none")),
        lambda: oracle.report("none", 1.0, 1),
    ):
        with pytest.raises(ValueError, match=r"missing in metrics|is not running"):
            call()
        assert THREADS[oracle] is None
    ended = threading.Thread(
        target=lambda: oracle.update_trial(trial.trial_id, {"score": 1.0}), daemon=True
    )
    ended.start()
    ended.join(60)
    assert not ended.is_alive()
    assert oracle.get_trial(trial.trial_id).metrics.exists("score")


def test_a_trial_can_be_ended_by_its_id(tmp_path: Path) -> None:
    oracle = OptunaOracle(keras_tuner.Objective("score", "max"), 9)
    FunctionTuner(oracle, six_points, tmp_path)
    trial = oracle.create_trial("tuner0")
    oracle.update_trial(trial.trial_id, {"score": 1.0})
    oracle.end_trial(trial.trial_id, "COMPLETED")
    assert oracle.get_trial("0").score == oracle.study.best_value == 1.0


def test_a_tuner_is_given_its_running_trial_again(tmp_path: Path) -> None:
    oracle = OptunaOracle(keras_tuner.Objective("score", "max"), 9)
    FunctionTuner(oracle, six_points, tmp_path)
    assert oracle.create_trial("one") is oracle.create_trial("one")
    assert oracle.create_trial("two").trial_id == "1"
    assert oracle.remaining_trials() == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": "tpe"}, "sampler must be an object of optuna.samplers, or None; got 'tpe'"),
        ({"pruner": optuna.pruners.MedianPruner}, "pruner must be an object of optuna.pruners"),
        ({"storage": 3}, "storage must be an Optuna storage, a database URL such as .* got 3"),
        (
            {"storage": "study.db"},
            "a database URL such as sqlite:///study.db, or None; got 'study.db'",
        ),
        ({"study_name": 3}, "study_name must be a string, or None; got 3"),
        ({"max_trials": 0}, "max_trials must be 1 or more, or None; got 0"),
        ({"max_trials": "5"}, "max_trials must be 1 or more, or None; got '5'"),
        ({"seed": "a"}, "seed must be an integer, or None; got 'a'"),
        ({"max_retries_per_trial": None}, "max_retries_per_trial must be 0 or more; got None"),
        ({"max_consecutive_failed_trials": 0}, "failed_trials must be 1 or more; got 0"),
        ({"objective": "nonsense"}, "Could not infer optimization direction"),
        ({"tune_new_entries": False}, "tune_new_entries=False"),
    ],
)
def test_unusable_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OptunaOracle(**arguments)


def test_unusable_storages_are_refused(tmp_path: Path) -> None:
    for storage, message in (
        ("nonsense://", "^storage .* is not a database URL; write sqlite:///file.db"),
        ("sqlite:////none/study.db", "^storage .* cannot be opened"),
    ):
        with pytest.raises(ValueError, match=message):
            search(six_points, tmp_path, storage=storage)


def test_a_remote_project_needs_a_database(tmp_path: Path) -> None:
    folder: Any = f"ram://{tmp_path.name}"  # stands for gs:// and its like
    with pytest.raises(ValueError, match=r"which is no local folder; give a database"):
        search(six_points, folder)


def test_multi_worker_mode_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    with pytest.raises(RuntimeError, match=r"multi-worker mode .* --workers N"):
        OptunaOracle()

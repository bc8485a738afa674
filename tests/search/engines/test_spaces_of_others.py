"""HyperModels of KerasTuner's guides and its own run unchanged under both engines."""

import itertools
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search.engines.keras_tuner_engine import SPACE_ATTR
from tests.command_line import FINISHED, run, study

SPACES = "tests.search.engines.spaces_of_others"
ROOT = Path(__file__).resolve().parents[3]
QUICK = ("--val-size", "100", "--workers", "1", "--precision", "float32", "--quiet")


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def search(directory: Path, data: Path, space: str, *flags: str):
    ran = run(directory, data, "--space", f"{SPACES}:{space}", *QUICK, *flags, "--study", "test")
    assert ran.returncode == 0, ran.stderr
    return study(directory, "test").trials


def test_a_model_that_its_space_trains(tmp_path: Path, small_data: Path) -> None:
    flags = ("--epochs", "4", "--trials", "4", "--engine", "keras-tuner")
    trials = search(tmp_path, small_data, "TuneModelTraining", *flags)
    assert all(trial.state in FINISHED for trial in trials)
    for trial in trials:
        # `fit` asked for these, after the model stood.
        assert {"normalize", "shuffle"} <= set(trial.params)
        assert f"units_{trial.params['num_layers'] - 1}" in trial.params
    known = {part["config"]["name"] for part in study(tmp_path, "test").user_attrs[SPACE_ATTR]}
    assert {"normalize", "shuffle", "lr"} <= known
    assert max(max(trial.intermediate_values.values()) for trial in trials) > 0.5


def test_pruning_stops_a_training_loop_that_guards_against_errors(
    tmp_path: Path, small_data: Path
) -> None:
    flags = ("--epochs", "8", "--trials", "8", "--pruner", "asha")
    trials = search(tmp_path, small_data, "CustomTrainingLoop", *flags)
    # `build` asks for one of three values, so all but three differ only in what `fit` asks for.
    assert [trial.number for trial in trials if trial.state in FINISHED] == [*range(8)]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert pruned
    for trial in pruned:
        assert len(trial.intermediate_values) == trial.user_attrs["epochs"] < 8


def test_an_oracle_proposes_what_only_fit_asks_for(tmp_path: Path, small_data: Path) -> None:
    flags = ("--epochs", "1", "--trials", "6", "--engine", "keras-tuner", "--tuner", "random")
    trials = search(tmp_path, small_data, "CustomTrainingLoop", *flags)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6
    assert len({trial.params["learning_rate"] for trial in trials}) == 6


def test_a_fit_that_returns_its_accuracy(tmp_path: Path, small_data: Path) -> None:
    flags = ("--trials", "1", "--epochs", "3")
    (trial,) = search(tmp_path, small_data, "ReturnsItsAccuracy", *flags)
    # One value for all epochs: it is that of the last one.
    assert trial.intermediate_values == {3: trial.value}


def test_a_fit_that_says_nothing_is_told_what_is_wanted(tmp_path: Path, small_data: Path) -> None:
    flags = ("--trials", "1", "--max-failures", "1", "--space", f"{SPACES}:SaysNothing")
    ran = run(tmp_path, small_data, *QUICK, *flags)
    assert ran.returncode == 2
    said = ran.stderr.splitlines()[-1]
    assert "fit() called no callback's on_epoch_end and returned float. Call on_epoch_end" in said


def test_models_that_their_space_refuses_are_failed_trials(
    tmp_path: Path, small_data: Path
) -> None:
    flags = ("--epochs", "1", "--trials", "4", "--engine", "keras-tuner", "--tuner", "random")
    trials = search(tmp_path, small_data, "TooLargeSometimes", *flags, "--max-failures", "50")
    refused = [trial for trial in trials if trial.state == TrialState.FAIL]
    assert sum(trial.state in FINISHED for trial in trials) == 4
    assert refused
    assert {trial.user_attrs["reason"] for trial in refused} == {
        "FailedTrialError: Model too large"
    }


def test_an_application_of_keras_tuner(tmp_path: Path, small_data: Path) -> None:
    flags = ("--epochs", "1", "--trials", "1", "--engine", "keras-tuner", "--tuner", "grid")
    (trial,) = search(tmp_path, small_data, "Xception", *flags, "--train-size", "64")
    assert trial.state == TrialState.COMPLETE
    assert trial.user_attrs["parameters"] > 1_000_000


@pytest.mark.parametrize(
    ("engine", "algorithm"),
    [
        ("optuna", ("--sampler", "grid")),
        *(("keras-tuner", ("--tuner", name)) for name in ("bayesian", "grid")),
    ],
)
def test_every_kind_of_question_has_an_answer_in_its_range(
    tmp_path: Path, small_data: Path, engine: str, algorithm: tuple[str, str]
) -> None:
    flags = ("--epochs", "1", "--trials", "9", "--engine", engine, *algorithm)
    allowed = {
        "plain": range(1, 10),
        "stepped": range(10, 91, 10),
        "log": range(1, 1001),
        "doubling": [2, 4, 8, 16, 32, 64],
        "half_steps": [0.0, 0.3, 0.6, 0.9],
        "times_ten": [1e-4, 1e-3, 1e-2, 1e-1, 1.0],
        "kind": ["conv", "dense"],
        "kernel": [1, 3, 5],
        "head/batch_norm": [True, False],
        "head/rate": [0.1, 0.2],
    }
    trials = search(tmp_path, small_data, "Scopes", *flags)
    assert len(trials) == 9
    for trial in trials:
        assert ("kernel" in trial.params) == (trial.params["kind"] == "conv")
        assert trial.user_attrs["fixed"] == {"classes": 10}
        reversed_name = next(name for name in trial.params if name.startswith("reversed"))
        assert 0.001 <= trial.params[reversed_name] <= 1.0
        for name in trial.params.keys() & allowed.keys():
            value = trial.params[name]
            assert any(value == pytest.approx(one) for one in allowed[name]), (name, value)
    assert all(a.params != b.params for a, b in itertools.combinations(trials, 2))


@pytest.mark.parametrize("engine", [("optuna",), ("keras-tuner", "--tuner", "random")])
def test_a_function_whose_choices_depend_on_another_hyperparameter(
    tmp_path: Path, small_data: Path, engine: tuple[str, ...]
) -> None:
    flags = ("--epochs", "1", "--trials", "3", "--engine", *engine)
    trials = search(tmp_path, small_data, "build_model", *flags)
    assert {trial.params["small"] for trial in trials} == {True, False}
    # As in KerasTuner, the first definition counts.
    choices = {str(trial.distributions["units"]) for trial in trials}
    assert len(choices) == 1
    if engine[0] == "keras-tuner":
        assert {trial.params["units"] for trial in trials} <= {32, 64}


def test_a_subclassed_model_has_parameters_and_is_promoted(
    tmp_path: Path, small_data: Path
) -> None:
    flags = ("--epochs", "4", "--trials", "8", "--engine", "keras-tuner", "--max-params", "50000")
    trials = search(tmp_path, small_data, "build_subclassed", *flags)
    for trial in trials:
        parameters = 785 * trial.params["units"] + 10 * (trial.params["units"] + 1)
        assert trial.user_attrs["parameters"] == parameters
        assert (trial.state in FINISHED) == (parameters <= 50_000)
    promoted = [t for t in trials if t.user_attrs["keras_tuner"]["initial_epoch"]]
    assert any(trial.state == TrialState.COMPLETE for trial in promoted)


@pytest.mark.parametrize("engine", ["optuna", "keras-tuner"])
def test_a_build_that_returns_nothing_ends_the_search_with_one_line(
    tmp_path: Path, small_data: Path, engine: str
) -> None:
    flags = ("--space", f"{SPACES}:returns_nothing", "--trials", "5", "--engine", engine)
    ran = run(tmp_path, small_data, *QUICK, *flags, "--study", "test", "--quiet")
    assert ran.returncode == 2
    (said,) = ran.stderr.splitlines()
    assert said.startswith("run_search: build(hp) returned None; it must return a keras.Model")
    assert not (tmp_path / "results").exists()

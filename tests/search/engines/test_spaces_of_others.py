"""HyperModels of KerasTuner's guides and its own run unchanged under both engines."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

from search.engines.keras_tuner_engine import SPACE_ATTR
from search.errors import SearchError
from spaces import SpaceError
from tests.command_line import FINISHED, ROOT, run, study
from tests.search import harness

SPACES = "tests.search.engines.spaces_of_others"


def search(
    directory: Path, images: Path, space: str, *, algorithm: str = "near-best", **flags: Any
) -> list[FrozenTrial]:
    """The trials of a search that really trains; `space` is one of `SPACES`."""
    flags = {"epochs": 1, "workers": 1, "val_size": 100, **flags}
    found, reason = harness.search(
        directory, space=f"{SPACES}:{space}", images=images, algorithm=algorithm, **flags
    )
    assert reason is None
    return found.trials


def test_a_model_that_its_space_trains(tmp_path: Path, small_data: Path) -> None:
    flags = {"epochs": 4, "trials": 4, "algorithm": "keras-tuner:hyperband"}
    trials = search(tmp_path, small_data, "TuneModelTraining", **flags)
    assert all(trial.state in FINISHED for trial in trials)
    for trial in trials:
        # `fit` asked for these, after the model stood.
        assert {"normalize", "shuffle"} <= set(trial.params)
        assert f"units_{trial.params['num_layers'] - 1}" in trial.params
    known = {part["config"]["name"] for part in harness.load(tmp_path).user_attrs[SPACE_ATTR]}
    assert {"normalize", "shuffle", "lr"} <= known
    assert max(max(trial.intermediate_values.values()) for trial in trials) > 0.5


def test_pruning_stops_a_training_loop_that_guards_against_errors(
    tmp_path: Path, small_data: Path
) -> None:
    flags = {"epochs": 8, "trials": 8, "pruner": "asha"}
    trials = search(tmp_path, small_data, "CustomTrainingLoop", **flags)
    # `build` asks for one of three values, so all but three differ only in what `fit` asks for.
    assert [trial.number for trial in trials if trial.state in FINISHED] == [*range(8)]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert pruned
    for trial in pruned:
        assert len(trial.intermediate_values) == trial.user_attrs["epochs"] < 8


def test_an_oracle_proposes_what_only_fit_asks_for(tmp_path: Path, small_data: Path) -> None:
    flags = {"trials": 6, "algorithm": "keras-tuner:random"}
    trials = search(tmp_path, small_data, "CustomTrainingLoop", **flags)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6
    assert len({trial.params["learning_rate"] for trial in trials}) == 6


def test_a_fit_that_returns_its_accuracy(tmp_path: Path, small_data: Path) -> None:
    (trial,) = search(tmp_path, small_data, "ReturnsItsAccuracy", trials=1, epochs=3)
    # One value for all epochs: it is that of the last one.
    assert trial.intermediate_values == {3: trial.value}


def test_a_fit_that_says_nothing_is_told_what_is_wanted(tmp_path: Path, small_data: Path) -> None:
    said = r"fit\(\) called no callback's on_epoch_end and returned float\. Call on_epoch_end"
    with pytest.raises(SearchError, match=said):
        search(tmp_path, small_data, "SaysNothing", trials=1, max_failures=1)


def test_models_that_their_space_refuses_are_failed_trials(
    tmp_path: Path, small_data: Path
) -> None:
    flags = {"trials": 4, "algorithm": "keras-tuner:random", "max_failures": 50}
    trials = search(tmp_path, small_data, "TooLargeSometimes", **flags)
    refused = [trial for trial in trials if trial.state == TrialState.FAIL]
    assert sum(trial.state in FINISHED for trial in trials) == 4
    assert refused
    assert {trial.user_attrs["reason"] for trial in refused} == {
        "FailedTrialError: Model too large"
    }


def test_an_application_of_keras_tuner(
    tmp_path: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real command: a process explores this space, another trains it.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    flags = ["--space", f"{SPACES}:Xception", "--engine", "keras-tuner", "--tuner", "grid"]
    flags += ["--trials", "1", "--epochs", "1", "--train-size", "64", "--val-size", "100"]
    flags += ["--workers", "1", "--precision", "float32", "--quiet", "--study", "test"]
    ran = run(tmp_path, small_data, *flags)
    assert ran.returncode == 0, ran.stderr
    (trial,) = study(tmp_path, "test").trials
    assert trial.state == TrialState.COMPLETE
    assert trial.user_attrs["parameters"] > 1_000_000


@pytest.mark.parametrize("algorithm", ["grid", "keras-tuner:bayesian", "keras-tuner:grid"])
def test_every_kind_of_question_has_an_answer_in_its_range(
    tmp_path: Path, small_data: Path, algorithm: str
) -> None:
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
    trials = search(tmp_path, small_data, "Scopes", trials=9, algorithm=algorithm)
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


@pytest.mark.parametrize("algorithm", ["near-best", "keras-tuner:random"])
def test_a_function_whose_choices_depend_on_another_hyperparameter(
    tmp_path: Path, small_data: Path, algorithm: str
) -> None:
    trials = search(tmp_path, small_data, "build_model", trials=3, algorithm=algorithm)
    assert {trial.params["small"] for trial in trials} == {True, False}
    # As in KerasTuner, the first definition counts.
    choices = {str(trial.distributions["units"]) for trial in trials}
    assert len(choices) == 1
    if algorithm == "keras-tuner:random":
        assert {trial.params["units"] for trial in trials} <= {32, 64}


def test_a_subclassed_model_has_parameters_and_is_promoted(
    tmp_path: Path, small_data: Path
) -> None:
    flags = {"epochs": 4, "trials": 8, "max_params": 50_000, "algorithm": "keras-tuner:hyperband"}
    trials = search(tmp_path, small_data, "build_subclassed", **flags)
    for trial in trials:
        parameters = 785 * trial.params["units"] + 10 * (trial.params["units"] + 1)
        assert trial.user_attrs["parameters"] == parameters
        assert (trial.state in FINISHED) == (parameters <= 50_000)
    promoted = [t for t in trials if t.user_attrs["keras_tuner"]["initial_epoch"]]
    assert any(trial.state == TrialState.COMPLETE for trial in promoted)


@pytest.mark.parametrize(
    ("algorithm", "error"), [("near-best", SearchError), ("keras-tuner:hyperband", SpaceError)]
)
def test_a_build_that_returns_nothing_ends_the_search(
    tmp_path: Path, small_data: Path, algorithm: str, error: type[Exception]
) -> None:
    said = r"^build\(hp\) returned None; it must return a keras\.Model"
    with pytest.raises(error, match=said):
        search(tmp_path, small_data, "returns_nothing", trials=5, algorithm=algorithm)


def test_a_model_that_a_report_cannot_use_is_said_at_its_first_trial(
    tmp_path: Path, small_data: Path
) -> None:
    display = harness.RecordingDisplay()
    harness.search(
        tmp_path,
        space="tests.search.workers.test_keras_trainer:has_a_lambda",
        images=small_data,
        display=display,
        trials=1,
        epochs=1,
        workers=1,
        val_size=100,
    )
    said = (
        "trial 0: a report cannot use the model: keras.saving.load_model cannot load it, "
        "ValueError: "
    )
    assert any(line.startswith(said) for line in display.lines), display.lines

"""Every flag that is out of range is refused by name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reporting.settings import ReportSettings
from search.errors import DataError, SettingsError
from search.preparation import find_inputs
from search.settings import SearchSettings


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("trials", 0, "--trials is 0; it must be above 0."),
        ("trials", -3, "--trials is -3"),
        ("epochs", 0, "--epochs is 0"),
        ("minutes", 0.0, "--minutes is 0.0; it must be above 0."),
        ("minutes", float("nan"), "--minutes is nan; it must be above 0."),
        ("minutes", float("inf"), "--minutes is inf; it must be a finite number."),
        ("timeout_seconds", 0.0, "--timeout is 0.0"),
        ("workers", 0, "--workers is 0; it must be above 0."),
        ("train_size", 0, "--train-size is 0"),
        ("val_size", -1, "--val-size is -1"),
        ("image_size", 15, "--image-size is 15; it must be 16 or more."),
        ("image_size", 225, "--image-size is 225; it must be 224 or less."),
        ("max_params", 0, "--max-params is 0"),
        ("patience_trials", 0, "--patience-trials is 0"),
        ("trial_timeout_seconds", -1.0, "--trial-timeout is -1.0"),
        ("max_worker_memory_mb", 0.0, "--max-worker-memory is 0.0"),
        ("max_failures", 0, "--max-failures is 0"),
        ("seed", -1, "--seed is -1; it must be 0 or more."),
        ("seed", 2**63, "--seed is 9223372036854775808; it must be 9223372036854775807 or less."),
        ("epochs", 1_000_001, "--epochs is 1000001; it must be 1000000 or less."),
        ("max_params", 2**63, "--max-params is 9223372036854775808; it must be 92233720368547"),
        ("trial_timeout_seconds", 2.0**63, r"--trial-timeout is 9.22\S*; it must be 9223372036854"),
        ("cpus_per_trial", 0.0, "--cpus-per-trial is 0.0; it must be above 0."),
        ("cpus_per_trial", 2.0, "--cpus-per-trial 2 needs --cluster; add it, or"),
        ("gpus_per_trial", -1.0, "--gpus-per-trial is -1.0; it must be 0 or more."),
        ("gpus_per_trial", 0.5, "--gpus-per-trial 0.5 needs --cluster; add it, or"),
        ("timeout_seconds", float("nan"), "--timeout is nan"),
        (
            "sampler",
            "tpee",
            "--sampler 'tpee' is unknown; use one of near-best, tpe, .* Did you mean 'tpe'",
        ),
        (
            "sampler",
            "zzz",
            "--sampler 'zzz' is unknown; use one of near-best, tpe, random, gp, cmaes, qmc",
        ),
        ("pruner", "hyperbnd", "--pruner 'hyperbnd' is unknown.*Did you mean 'hyperband'"),
        ("engine", "optima", "--engine 'optima' is unknown.*Did you mean 'optuna'"),
        ("precision", "float16", "--precision 'float16' is unknown; use one of auto, float32"),
        ("max_flops", 0, "--max-flops is 0; it must be above 0."),
        ("max_latency_ms", 0.0, "--max-latency-ms is 0.0; it must be above 0."),
        ("objective", "f1", "--objective 'f1' is unknown; use one of accuracy, balanced_accuracy,"),
        ("study", "a/b", "--study 'a/b' cannot name a folder"),
        ("study", "..", "--study '..' cannot name a folder"),
        ("study", " ", "--study ' ' cannot name a folder"),
    ],
)
def test_bad_values_are_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SearchSettings(**{field: value})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sampler": "tpe"}, "--sampler is 'tpe', but --engine is 'keras-tuner'; use --tuner inst"),
        ({"pruner": "median"}, "--pruner is 'median', but KerasTuner's hyperband uses epoch budge"),
    ],
)
def test_what_the_engine_would_ignore_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SearchSettings(engine="keras-tuner", **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"engine": "keras-tuner"},
            "--objective is 'accuracy,flops', but --engine is 'keras-tuner', whose tuners support",
        ),
        (
            {"sampler": "cmaes"},
            "but --sampler cmaes supports one objective; use one of near-best, tpe, random, gp,",
        ),
        ({"pruner": "hyperband"}, "but --pruner is 'hyperband': with several objectives no trial"),
    ],
)
def test_what_several_objectives_cannot_have_is_refused(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        SearchSettings(objective="accuracy,flops", **given)


def test_no_trial_is_pruned_with_several_objectives() -> None:
    several = SearchSettings(objective="accuracy,flops")
    assert several.pruner_used == "none"
    assert SearchSettings(objective="accuracy,flops", pruner="none").pruner_used == "none"
    assert SearchSettings().pruner_used == "asha"


def test_costs_are_measured_where_an_objective_or_a_limit_needs_them() -> None:
    assert SearchSettings().measured_costs == ()
    settings = SearchSettings(objective="accuracy, latency", max_flops=5)
    assert settings.objective == "accuracy,latency"
    assert settings.measured_costs == ("flops", "latency")


@pytest.mark.parametrize("settings", [SearchSettings, ReportSettings])
@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\udcffb", "a\u202eb", "a/b", "..", " "])
def test_a_name_that_could_harm_a_terminal_or_a_folder_is_refused(
    settings: type[SearchSettings | ReportSettings], name: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(study=name)
    assert str(refused.value).startswith(f"--study {name!r} cannot name a folder; use letters")
    assert str(refused.value).isprintable()


def test_the_folder_of_comparisons_cannot_be_that_of_a_new_study(tmp_path: Path) -> None:
    message = "--study 'compare' cannot name a new study: report.py --compare writes into the"
    settings = SearchSettings(study="compare", results_dir=tmp_path)
    with pytest.raises(SettingsError, match=message):
        find_inputs(settings)
    # One of an earlier version goes on.
    (tmp_path / "compare").mkdir()
    (tmp_path / "compare" / "study.journal").touch()
    with pytest.raises(DataError, match="nowhere"):
        find_inputs(replace(settings, data=str(tmp_path / "nowhere")))


@pytest.mark.parametrize("name", [".data", ".baselines", "-mine", "a b"])
def test_a_new_study_has_neither_a_hidden_folder_nor_one_to_quote(
    tmp_path: Path, name: str
) -> None:
    settings = SearchSettings(study=name, results_dir=tmp_path)
    message = f"^--study '{name}' cannot name a new study; .*, and neither '-' nor '\\.' first\\.$"
    with pytest.raises(SettingsError, match=message):
        find_inputs(settings)


@pytest.mark.parametrize(("letter", "most"), [("x", 200), ("ö", 100), ("👟", 50)])
def test_the_length_of_a_study_s_name_is_limited_in_bytes(letter: str, most: int) -> None:
    assert SearchSettings(study=letter * most).study_name == letter * most
    bytes_long = len((letter * (most + 1)).encode())
    with pytest.raises(SettingsError, match=f"^--study is {bytes_long} bytes long, .* 200 or few"):
        SearchSettings(study=letter * (most + 1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gpus_per_trial": 1.5}, "--gpus-per-trial is 1.5; above 1 it must be whole."),
        ({"cpus_per_trial": float("inf")}, "--cpus-per-trial is inf; it must be a finite number."),
    ],
)
def test_shares_of_a_cluster_are_checked(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SearchSettings(cluster="auto", **given)


def test_minutes_must_have_something_to_fit() -> None:
    message = "^--minutes is 30, but --epochs 8 and --epoch-size 9000 leave nothing to fit to it; l"
    with pytest.raises(SettingsError, match=message):
        SearchSettings(minutes=30.0, epochs=8, epoch_size=9000)
    SearchSettings(minutes=30.0, epochs=8)
    SearchSettings(minutes=30.0, epoch_size=9000)


def test_the_study_is_named_after_its_space() -> None:
    assert SearchSettings().study_name == "cnn"
    assert SearchSettings(space="package.module:Class").study_name == "package.module.Class"
    assert SearchSettings(study="mine").study_name == "mine"


@pytest.mark.parametrize(
    ("data", "space", "name"),
    [
        ("fashion_mnist", "cnn", "cnn"),
        ("cifar10", "cnn", "cifar10-cnn"),
        ("my photos/", "mlp", "my-photos-mlp"),
        ("a/digits.npz", "mine:Space", "digits-mine.Space"),
        ("...", "cnn", "cnn"),
        (f"{'x' * 300}", "cnn", f"{'x' * 60}-cnn"),
    ],
)
def test_a_study_is_called_after_its_data_and_its_space(data: str, space: str, name: str) -> None:
    assert SearchSettings(data=data, space=space).study_name == name
    assert SearchSettings(data=data, space=space, study="mine").study_name == "mine"

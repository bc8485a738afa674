"""Samplers: seeds, optional packages and grid levels."""

import sys

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.engines.samplers import SAMPLERS, is_used_up, make_sampler, to_grid
from search.errors import SettingsError
from search.study.study import trial_seed


def test_seeds_of_trials_and_searches_are_distinct() -> None:
    seeds = {trial_seed(seed, number) for seed in range(20) for number in range(500)}
    assert len(seeds) == 20 * 500


PACKAGES = [(name, package) for name, entry in SAMPLERS.items() for package in entry.packages]


@pytest.mark.parametrize(("sampler", "package"), PACKAGES)
def test_the_help_of_a_sampler_names_the_packages_that_it_needs(sampler: str, package: str) -> None:
    assert package in SAMPLERS[sampler].help


@pytest.mark.parametrize(("sampler", "package"), PACKAGES)
def test_a_missing_package_of_a_sampler_is_one_line(
    monkeypatch: pytest.MonkeyPatch, sampler: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SettingsError, match=f"--sampler {sampler} needs .*pip install .*{package}"):
        make_sampler(sampler, optuna.create_study(), 0)


@pytest.mark.parametrize(
    ("distribution", "levels"),
    [
        (IntDistribution(1, 4), None),
        (FloatDistribution(0.0, 0.4, step=0.1), None),
        (CategoricalDistribution(["a", "b"]), None),
        (IntDistribution(3, 3), None),
        (IntDistribution(0, 100), [0, 25, 50, 75, 100]),
        (IntDistribution(4, 64, step=4), [4, 20, 36, 48, 64]),
        (IntDistribution(4, 64, log=True), [4, 8, 16, 32, 64]),
        (FloatDistribution(1e-4, 1.0, log=True), [1e-4, 1e-3, 1e-2, 1e-1, 1.0]),
        (FloatDistribution(0.0, 1.0), [0.0, 0.25, 0.5, 0.75, 1.0]),
    ],
)
def test_a_grid_has_few_levels(distribution: BaseDistribution, levels: list[float] | None) -> None:
    grid = to_grid(distribution)
    if levels is None:
        assert grid is distribution
    else:
        assert isinstance(grid, CategoricalDistribution)
        assert list(grid.choices) == levels


def test_a_finite_space_is_used_up_when_every_configuration_was_tried() -> None:
    study = optuna.create_study(direction="maximize")
    assert not is_used_up(study)

    for params in ({"kind": "a"}, {"kind": "b", "x": 1}, {"kind": "b", "x": 2}):
        assert not is_used_up(study)
        study.enqueue_trial(params)
        trial = study.ask()
        if trial.suggest_categorical("kind", ["a", "b"]) == "b":
            trial.suggest_int("x", 1, 2)
        study.tell(trial, 0.5)
    assert is_used_up(study)
    trial = study.ask()
    trial.suggest_float("rate", 0.0, 1.0)
    study.tell(trial, 0.5)
    assert not is_used_up(study)


def test_a_range_of_billions_of_values_is_never_used_up() -> None:
    study = optuna.create_study()
    trial = study.ask()
    trial.suggest_int("seed", 0, 2**31 - 1)
    study.tell(trial, 0.5)
    assert not is_used_up(study)  # and does not list them

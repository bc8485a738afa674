"""Optuna's samplers, seeded anew for each trial so that an interruption changes nothing."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, BruteForceSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.errors import SettingsError

GRID_LEVELS = 5


def trial_seed(seed: int, number: int) -> int:
    """The seed of everything random in one trial: in [0, 2**32), distinct for near numbers."""
    return (seed * 1_000_003 + number) % 2**32


class SeededByTrial(BaseSampler):
    """A sampler that is made anew for each trial, from the search's seed and the trial's number.

    One instance's random state would depend on the trials that this process happened to run, so
    that a search continued after an interruption would repeat draws, or differ from one that ran
    through.

    Args:
        make: Makes the wrapped sampler from a seed.
        seed: Seed of the search.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make = make
        self._seed = seed
        self._sampler = make(seed)
        self.enumerate_rest = False

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Make the sampler of this trial."""
        seed = trial_seed(self._seed, trial.number)
        if not self.enumerate_rest:
            self._sampler = self._make(seed)
        elif _is_finite(study):
            self._sampler = BruteForceSampler(seed=seed)
        else:
            self._sampler = RandomSampler(seed=seed)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """See `BaseSampler`."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See `BaseSampler`."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """See `BaseSampler`."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """See `BaseSampler`."""
        # Brute force calls study.stop() here, which is an error outside study.optimize().
        if not isinstance(self._sampler, BruteForceSampler):
            self._sampler.after_trial(study, trial, state, values)


def make_sampler(name: str, seed: int) -> SeededByTrial:
    """The sampler of that name.

    Args:
        name: One of `search.settings.SAMPLERS`.
        seed: Seed of the search.

    Raises:
        SettingsError: A package that this sampler needs is not installed.
    """
    makers: dict[str, Callable[[int], BaseSampler]] = {
        "tpe": lambda s: optuna.samplers.TPESampler(seed=s, multivariate=True, group=True),
        "random": lambda s: RandomSampler(seed=s),
        "gp": lambda s: optuna.samplers.GPSampler(seed=s, deterministic_objective=False),
        "cmaes": lambda s: optuna.samplers.CmaEsSampler(seed=s, warn_independent_sampling=False),
        # A quasi-random sequence is one sequence: its seed belongs to the search, not the trial.
        "qmc": lambda s: optuna.samplers.QMCSampler(
            seed=seed, scramble=True, warn_independent_sampling=False
        ),
        "grid": lambda s: BruteForceSampler(seed=s),
    }
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    try:
        return SeededByTrial(makers[name], seed)
    except ImportError as error:
        needs = {"gp": "torch scipy", "cmaes": "cmaes", "qmc": "scipy"}[name]
        raise SettingsError(
            f"--sampler {name} needs packages that are not installed: pip install {needs} "
            "(or choose --sampler tpe, which needs none)."
        ) from error


def to_grid(distribution: BaseDistribution) -> BaseDistribution:
    """The levels that a grid search tries of one hyperparameter.

    Returns:
        The distribution itself where it has at most `GRID_LEVELS` values or is categorical; else
        a categorical one of `GRID_LEVELS` values, evenly spaced (on a log scale where it has one).
    """
    if isinstance(distribution, CategoricalDistribution) or distribution.single():
        return distribution
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        return distribution
    low, high, step = distribution.low, distribution.high, distribution.step
    if step is not None and not distribution.log and (high - low) / step < GRID_LEVELS:
        return distribution
    parts = [index / (GRID_LEVELS - 1) for index in range(GRID_LEVELS)]
    if distribution.log:
        levels = [low * (high / low) ** part for part in parts]
    else:
        levels = [low + (high - low) * part for part in parts]
    if step is not None and not distribution.log:
        levels = [low + round((level - low) / step) * step for level in levels]
    if isinstance(distribution, IntDistribution):
        return CategoricalDistribution(sorted({round(level) for level in levels}))
    return CategoricalDistribution([float(f"{level:.6g}") for level in levels])


def _is_finite(study: Study) -> bool:
    return not any(
        isinstance(distribution, FloatDistribution) and distribution.step is None
        for trial in study.get_trials(deepcopy=False)
        for distribution in trial.distributions.values()
    )

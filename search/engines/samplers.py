"""Optuna's samplers, seeded anew for each trial so that an interruption changes nothing."""

import copy
import warnings
from collections.abc import Callable, Container, Sequence
from importlib.util import find_spec
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, BruteForceSampler, QMCSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.errors import SettingsError
from search.study.study import trial_seed

GRID_LEVELS = 5
# Most trials that a model is fitted to: beyond them asking gets slow (TPE: 0.2 s at 1,000).
_MEMORY = {"tpe": 300, "gp": 300}
# Optuna imports these only when it draws, and does not depend on them.
_PACKAGES = {"gp": ("torch",), "cmaes": ("cmaes",)}


class SeededByTrial(BaseSampler):
    """A sampler that is made anew for each trial, from the search's seed and the trial's number.

    One instance's random state would depend on the trials that this process happened to run, so
    that a search continued after an interruption would repeat draws, or differ from one that ran
    through.

    Args:
        make: Makes the wrapped sampler for a trial of that number.
        study: The study that it samples for.
        seed: Seed of the search.
        memory: Most finished trials that it learns from; None: all.
    """

    def __init__(
        self,
        make: Callable[[int], BaseSampler],
        study: Study,
        seed: int,
        memory: int | None = None,
    ) -> None:
        self._make = make
        self._seed = seed
        self._samplers: dict[int, BaseSampler] = {}  # of the trials that run now
        # Optuna shows a sampler only the trials of one Hyperband bracket: 50 trials would mean
        # three searches of 10 to 25. All trials say something about the space.
        self._study = _Remembered(study, memory)
        self.enumerate_rest = False

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Make the sampler of this trial."""
        self._study.look_again()
        seed = trial_seed(self._seed, trial.number)
        if not self.enumerate_rest:
            sampler = self._make(trial.number)
        elif _is_finite(self._study):
            sampler = BruteForceSampler(seed=seed)
        else:
            sampler = RandomSampler(seed=seed)
        self._samplers[trial.number] = sampler
        sampler.before_trial(self._study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """See `BaseSampler`."""
        # A database gives hyperparameters back in no fixed order.
        sampler = self._samplers[trial.number]
        return dict(sorted(sampler.infer_relative_search_space(self._study, trial).items()))

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See `BaseSampler`."""
        sampler = self._samplers[trial.number]
        drawn = sampler.sample_relative(self._study, trial, search_space)
        return {name: _on_its_step(drawn[name], search_space[name]) for name in drawn}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """See `BaseSampler`."""
        sampler = self._samplers[trial.number]
        drawn = sampler.sample_independent(self._study, trial, param_name, param_distribution)
        return _on_its_step(drawn, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """See `BaseSampler`."""
        sampler = self._samplers.pop(trial.number, None)
        # Brute force calls study.stop() here, which is an error outside study.optimize().
        if sampler is not None and not isinstance(sampler, BruteForceSampler):
            sampler.after_trial(self._study, trial, state, values)


def _on_its_step(value: Any, distribution: BaseDistribution) -> Any:
    """0.3, where one sampler adds up steps to it and another to 0.30000000000000004."""
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        return float(f"{value:.12g}")
    return value


class _NumberedPoint(QMCSampler):
    """The point of a quasi-random sequence that has the trial's number.

    Optuna counts how often it was asked instead, which a trial that is begun twice would shift.
    """

    def __init__(self, number: int, seed: int) -> None:
        super().__init__(
            scramble=True,
            seed=seed,
            independent_sampler=RandomSampler(seed=trial_seed(seed, number)),
            warn_independent_sampling=False,
        )
        self._number = number

    def _find_sample_id(self, study: Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._number


class _Remembered(Study):
    """A study as a sampler sees it while it thinks of one trial: its best and its latest trials."""

    def __init__(self, study: Study, memory: int | None) -> None:
        super().__init__(study_name=study.study_name, storage=study._storage)
        self._memory = memory
        self._seen: list[FrozenTrial] | None = None

    def look_again(self) -> None:
        """Take in what has happened since the last trial was begun."""
        self._seen = None

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        if self._seen is None:
            self._seen = self._select(super()._get_trials(deepcopy=False))
        trials = [trial for trial in self._seen if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def _select(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        if self._memory is None or len(trials) <= self._memory:
            return trials
        # Never more than the best 25 are TPE's good ones, so that half of the memory is ample.
        best = sorted(trials, key=_rank, reverse=True)[: self._memory // 2]
        kept = {trial.number for trial in best}
        latest = [trial for trial in trials if trial.number not in kept][-self._memory // 2 :]
        return sorted([*best, *latest], key=lambda trial: trial.number)


def _rank(trial: FrozenTrial) -> tuple[bool, float, float]:
    # As TPE ranks them: complete by value, then pruned ones by how far they got.
    if trial.state == TrialState.COMPLETE:
        return True, trial.value or 0.0, 0.0
    step = trial.last_step
    return False, -1.0 if step is None else step, trial.intermediate_values.get(step or 0, 0.0)


def make_sampler(name: str, study: Study, seed: int) -> SeededByTrial:
    """The sampler of that name.

    Args:
        name: One of `search.settings.SAMPLERS`.
        study: The study that it samples for.
        seed: Seed of the search.

    Raises:
        SettingsError: A package that this sampler needs is not installed.
    """

    def own(number: int) -> int:
        return trial_seed(seed, number)

    makers: dict[str, Callable[[int], BaseSampler]] = {
        "tpe": lambda n: optuna.samplers.TPESampler(seed=own(n), multivariate=True, group=True),
        "random": lambda n: RandomSampler(seed=own(n)),
        "gp": lambda n: optuna.samplers.GPSampler(seed=own(n)),
        "cmaes": lambda n: optuna.samplers.CmaEsSampler(
            seed=own(n), warn_independent_sampling=False
        ),
        "qmc": lambda n: _NumberedPoint(n, seed),
        "grid": lambda n: BruteForceSampler(seed=own(n)),
    }
    missing = [package for package in _PACKAGES.get(name, ()) if find_spec(package) is None]
    if missing:
        raise SettingsError(
            f"--sampler {name} needs packages that are not installed: "
            f"pip install {' '.join(missing)} (or choose --sampler tpe, which needs none)."
        )
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    return SeededByTrial(makers[name], study, seed, memory=_MEMORY.get(name))


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

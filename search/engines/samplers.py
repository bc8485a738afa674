"""Optuna's samplers by name, made anew for every trial: interruptions change nothing."""

import copy
import warnings
import zlib
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, Final, cast

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    GPSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.engines.near_best import NearBestSampler, ranked
from search.errors import SettingsError
from search.study.front import is_refused
from search.study.objective import NO_LIMITS, Limits, costs_of
from search.study.provenance import install_command
from search.study.study import FINISHED, GIVEN, trial_seed
from search.words import rounded

GRID_LEVELS: Final = 5
_MOST_LISTED: Final = 10_000  # values of a range in a space that is searched to its end


@dataclass(frozen=True, slots=True)
class Sampler:
    """An entry of `SAMPLERS`.

    Args:
        help: Phrase for `--help` and the documentation.
        make: Makes Optuna's sampler for one trial, given the seed of the search and the number of
            the trial; whatever it draws must depend on both.
        packages: Packages that Optuna imports for it but does not depend on.
        memory: Maximum trials that it learns from, where more make asking slow; None: all.
        takes_several: Whether it can search for several objectives.
        learns_limits: Whether it learns from networks that were rejected for their cost.
        on_grid: Whether it searches `to_grid` of each hyperparameter. Known configurations are not
            on that grid, so they are left out.
    """

    help: str
    make: Callable[[int, int], BaseSampler]
    packages: tuple[str, ...] = ()
    memory: int | None = None
    takes_several: bool = True
    learns_limits: bool = False
    on_grid: bool = False

    @property
    def takes_first(self) -> bool:
        """Whether it tries given configurations first."""
        return not self.on_grid

    @property
    def missing(self) -> list[str]:
        """Its packages that are not installed."""
        return [package for package in self.packages if find_spec(package) is None]


class _NumberedPoint(QMCSampler):
    """Draws the point of a quasi-random sequence that has the number of the trial.

    Optuna's sampler stores in the study how often it was asked, so a trial that begins twice
    would shift the sequence. It reads the count in an underscored method, which is the only way
    to replace it.
    """

    def __init__(self, seed: int, number: int) -> None:
        super().__init__(
            scramble=True,
            seed=seed,
            independent_sampler=RandomSampler(seed=trial_seed(seed, number)),
            warn_independent_sampling=False,
        )
        self._number = number

    def _find_sample_id(self, study: Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._number


SAMPLERS: Final = {
    "near-best": Sampler(
        "variants of the best trials, and more and more often TPE",
        lambda seed, number: NearBestSampler(trial_seed(seed, number)),
        memory=300,
        learns_limits=True,
    ),
    "tpe": Sampler(
        "Tree-structured Parzen Estimator",
        lambda seed, number: TPESampler(
            seed=trial_seed(seed, number), multivariate=True, group=True
        ),
        memory=300,  # asking takes 0.2 s with 1,000 trials
        learns_limits=True,
    ),
    "random": Sampler(
        "uniform draws",
        lambda seed, number: RandomSampler(seed=trial_seed(seed, number)),
    ),
    "gp": Sampler(
        "Gaussian process, needs torch",
        lambda seed, number: GPSampler(seed=trial_seed(seed, number)),
        packages=("torch",),
        memory=300,
    ),
    "cmaes": Sampler(
        "CMA-ES, needs cmaes",
        lambda seed, number: CmaEsSampler(
            seed=trial_seed(seed, number), warn_independent_sampling=False
        ),
        packages=("cmaes",),
        takes_several=False,
    ),
    "qmc": Sampler("quasi-random sequence", _NumberedPoint),
    "grid": Sampler(
        f"all combinations, wide ranges at {GRID_LEVELS} levels, without first configurations",
        lambda seed, number: BruteForceSampler(seed=trial_seed(seed, number)),
        on_grid=True,
    ),
}


def make_sampler(name: str, study: Study, seed: int, limits: Limits = NO_LIMITS) -> "SeededByTrial":
    """Make the sampler of a study.

    Args:
        name: A key of `SAMPLERS`.
        study: The study.
        seed: Seed of the search.
        limits: The most that a network may cost in this run.

    Raises:
        SettingsError: A package that this sampler needs is not installed.
    """
    check_packages(name)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    # CMA-ES: rejected trials are recorded for all, also for samplers that do not learn from them.
    warnings.filterwarnings("ignore", message="Constraints have been set")
    return SeededByTrial(SAMPLERS[name], study, seed, limits)


def check_packages(name: str) -> None:
    """Refuse a sampler whose packages are not installed.

    Raises:
        SettingsError: One is not installed; the message says how to install it.
    """
    if missing := SAMPLERS[name].missing:
        raise SettingsError(
            f"--sampler {name} needs packages that are not installed: "
            f"{install_command(missing)} (or use --sampler tpe, which needs none)."
        )


class SeededByTrial(BaseSampler):
    """Makes the wrapped sampler anew for each trial, from the seed of the search and its number.

    The random state of a single sampler would depend on the trials that this process happened to
    run: a search continued after an interruption would repeat draws, or differ from one that ran
    through.

    Args:
        sampler: The sampler to wrap.
        study: The study that it samples for.
        seed: Seed of the search.
        limits: The most that a network may cost in this run.

    Attributes:
        enumerates: Whether the next trials come from the untried configurations of a finite space
            instead of the wrapped sampler.
    """

    def __init__(self, sampler: Sampler, study: Study, seed: int, limits: Limits) -> None:
        self.enumerates = False
        self._make = sampler.make
        self._seed = seed
        # Of the running trials, by number, and how the sampler of each is made.
        self._samplers: dict[int, BaseSampler] = {}
        self._makers: dict[int, Callable[[int, int], BaseSampler]] = {}
        self._study = _Remembered(study, sampler, limits)
        self._paths = _Paths(study)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Make the sampler of this trial."""
        self._study.refresh()
        make = self._make
        if self.enumerates:
            # Not `search.engines.untried`: Optuna learns the space one question at a time, so what
            # is left can only be inferred from the trials, as this sampler does.
            rest = BruteForceSampler if _is_finite(self._study) else RandomSampler
            make = partial(_seeded, rest)
        self._makers[trial.number] = make
        self._samplers[trial.number] = sampler = make(self._seed, trial.number)
        sampler.before_trial(self._study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """See `BaseSampler`."""
        # A database returns hyperparameters in no fixed order.
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
        seed = zlib.crc32(f"{self._seed} {param_name}".encode())
        if not isinstance(sampler, NearBestSampler):  # which does the same itself
            # A draw must not depend on those before it: a trial that was interrupted between two
            # questions is continued with what it has.
            sampler = self._makers[trial.number](seed, trial.number)
        enumerates = isinstance(sampler, BruteForceSampler)
        known = self._paths if enumerates else self._study
        try:
            drawn = sampler.sample_independent(known, trial, param_name, param_distribution)
        except ValueError:
            if not enumerates:
                raise
            # Trials have asked other questions after the same answers: there is no tree of them.
            sampler = RandomSampler(seed=trial_seed(seed, trial.number))
            drawn = sampler.sample_independent(known, trial, param_name, param_distribution)
        return _on_its_step(drawn, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """See `BaseSampler`."""
        self._makers.pop(trial.number, None)
        sampler = self._samplers.pop(trial.number, None)
        # BruteForceSampler calls study.stop() here, which only study.optimize() allows.
        if sampler is not None and not isinstance(sampler, BruteForceSampler):
            sampler.after_trial(self._study, trial, state, values)


def _seeded(kind: type[BruteForceSampler | RandomSampler], seed: int, number: int) -> BaseSampler:
    return kind(seed=trial_seed(seed, number))


def _on_its_step(value: Any, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        return rounded(value)
    return value


class _Remembered(Study):
    """A study as samplers see it during one trial: its best and its latest trials.

    Optuna's samplers read constraints of complete and pruned trials only. So a sampler that
    learns limits sees a rejected trial, which has failed, as one pruned before its first epoch.
    All trials are judged by the limits of this run. The constraints in the study are ignored,
    since earlier runs may have had other limits.

    This study also replaces the one that Optuna would show, which holds only the trials of one
    Hyperband bracket and would split a search into several small ones. Samplers read trials by
    an underscored method: there is no other way to limit what they see.
    """

    def __init__(self, study: Study, sampler: Sampler, limits: Limits) -> None:
        # Optuna has no public way to the storage of a study, and another one would read anew.
        super().__init__(study_name=study.study_name, storage=study._storage)
        self._memory = sampler.memory
        # The Gaussian process would refuse a study some of whose trials have no constraints.
        self._limits = limits if sampler.learns_limits else NO_LIMITS
        self._seen: list[FrozenTrial] | None = None

    def refresh(self) -> None:
        """Read the trials of the study again, for the next trial."""
        self._seen = None

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        if self._seen is None:
            # Leave out trials with values outside of the ranges. They lack these values here, which
            # would shrink the intersection of all spaces, in which several samplers work.
            inside = [
                self._as_seen(trial)
                for trial in super()._get_trials(deepcopy=False)
                if trial.user_attrs.get(GIVEN, {}).keys() <= trial.params.keys()
                or not trial.state.is_finished()
            ]
            self._seen = self._select(inside)
        trials = [trial for trial in self._seen if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def _as_seen(self, trial: FrozenTrial) -> FrozenTrial:
        excesses = self._limits.excesses(costs_of(trial.user_attrs))
        if not excesses and not trial.constraints:
            return trial
        seen = copy.copy(trial)
        seen.system_attrs = {
            name: value
            for name, value in trial.system_attrs.items()
            if not name.startswith("constraints")
        }
        for name, excess in excesses.items():
            seen.set_constraint(name, excess)
        if seen.state == TrialState.FAIL and is_refused(seen):
            seen.state = TrialState.PRUNED
        return seen

    def _select(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        if self._memory is None or len(trials) <= self._memory:
            return trials
        # TPE takes at most 25 trials as good ones: half of the memory is ample.
        allowed = [trial for trial in trials if not is_refused(trial)]
        several = len(self.directions) > 1
        best = ranked(allowed, several=several, limit=self._memory // 2)
        kept = {trial.number for trial in best}
        latest = [trial for trial in trials if trial.number not in kept][-self._memory // 2 :]
        return sorted([*best, *latest], key=lambda trial: trial.number)


def to_grid(distribution: BaseDistribution) -> BaseDistribution:
    """Return the values of a hyperparameter that a grid search tries, as a distribution.

    Returns:
        The distribution itself if it is categorical or has at most `GRID_LEVELS` values; else a
        categorical one of `GRID_LEVELS` values, evenly spaced on its linear or logarithmic scale.
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


def is_used_up(study: Study) -> bool:
    """Whether every configuration of a finite space has been tried, as far as its trials show."""
    finished = [one for one in study.get_trials(deepcopy=False, states=FINISHED) if _is_whole(one)]
    if not finished or not _is_finite(study):
        return False
    asked, last = _Paths(study), finished[-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = BruteForceSampler(seed=0)
    try:
        sampler.after_trial(asked, last, last.state, last.values)
    except ValueError:  # the trials disagree about the space
        return False
    return asked.stopped


class _Paths(Study):
    """A study as `BruteForceSampler` sees it: without trials that lack hyperparameters.

    It takes each trial for a path to a leaf of the space, and fails on one that ended between two
    questions, or has a value outside of its range.

    Attributes:
        stopped: Whether that sampler has stopped it, since nothing is left.
    """

    def __init__(self, study: Study) -> None:
        # Optuna has no public way to the storage of a study, and another one would read anew. The
        # sampler reads its trials there.
        super().__init__(study_name=study.study_name, storage=study._storage)
        self._storage = cast(BaseStorage, _WholeTrials(study._storage))
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True


class _WholeTrials:
    """A storage without the ended trials that lack hyperparameters."""

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage

    def get_all_trials(self, *given: Any, **more: Any) -> list[FrozenTrial]:
        """Return trials, as a storage does."""
        trials = self._storage.get_all_trials(*given, **more)
        return [trial for trial in trials if not trial.state.is_finished() or _is_whole(trial)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


def _is_whole(trial: FrozenTrial) -> bool:
    # A failed trial that has a model had asked for all that the model needs.
    asked = trial.state in FINISHED or "parameters" in trial.user_attrs
    return asked and trial.user_attrs.get(GIVEN, {}).keys() <= trial.params.keys()


def _is_finite(study: Study) -> bool:
    return all(
        _is_listable(distribution)
        for trial in study.get_trials(deepcopy=False)
        for distribution in trial.distributions.values()
    )


def _is_listable(distribution: BaseDistribution) -> bool:
    # BruteForceSampler lists all values of a range: of `hp.Int("seed", 0, 2**31)` over 70 GB.
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        return True
    step = distribution.step
    return step is not None and (distribution.high - distribution.low) / step < _MOST_LISTED

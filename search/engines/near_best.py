"""A sampler that stays near the best trials while there is little else to learn from."""

import math
import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.study.front import best_first, front, is_refused
from search.study.requests import ENQUEUED
from search.study.study import FINISHED, known_as

# The centre is one of this many best trials, and of the best third; better ones are likelier. With
# several objectives it is any trial of the front.
_BEST: Final = 3
_UNIFORM: Final = 0.1  # share of trials drawn from the whole space, however good the others look
_HALF_AFTER: Final = 16  # sampled trials after which TPE proposes half of the others
CHANGED: Final = 2.0  # hyperparameters of the centre that are drawn anew, on average,
_MOST_CHANGED: Final = 0.25  # but at most this share of them
_SPREAD: Final = 0.25  # standard deviation of a changed number, as a share of its range


class NearBestSampler(BaseSampler):
    """Proposes one trial: a variant of one of the best, or what TPE proposes, or any point.

    A search begins with configurations that are known to be good, and TPE needs tens of trials
    before it knows why they are. Until then most trials are variants of them; the probability
    falls with each trial that was sampled, and that of TPE rises.

    Args:
        seed: Seed of all draws.
        changed: Number of the centre's hyperparameters that a variant draws anew, on average; above
            0. It draws at least one. Those that exist only with the new value of another are extra.

    Source: the rule of PriorBand (Mallik et al. 2023, arXiv 2306.12370), whose prior is here the
    best of the first configurations. The numbers above are our choice, `CHANGED` by measurement
    (benchmarks/README.md, "Pruners and variants, replayed").
    """

    def __init__(self, seed: int, changed: float = CHANGED) -> None:
        self._seed = seed
        self._mean_changed = changed
        self._tpe = TPESampler(seed=seed, multivariate=True, group=True)
        self._uses_tpe = False
        self._centre: dict[str, Any] = {}
        self._changed: set[str] = set()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Choose how this trial is proposed."""
        rng = self._draws_of("")
        finished = [
            one for one in study.get_trials(deepcopy=False, states=FINISHED) if not is_refused(one)
        ]
        sampled = sum(known_as(one) is None and ENQUEUED not in one.user_attrs for one in finished)
        near = _HALF_AFTER / (_HALF_AFTER + sampled) if finished else 0.0
        if rng.random() >= _UNIFORM:
            self._uses_tpe = rng.random() >= near
            if not self._uses_tpe:
                if len(study.directions) > 1:
                    # All of the front: its trials are equally good, and far apart.
                    best = front(finished) or finished
                    place = rng.random()
                else:
                    count = min(_BEST, math.ceil(len(finished) / 3))
                    best = ranked(finished, several=False, limit=count)
                    place = rng.random() ** 2
                self._centre = best[int(len(best) * place)].params
                names = sorted(self._centre)
                share = min(_MOST_CHANGED, self._mean_changed / max(1, len(names)))
                # At least one: the centre itself was tried.
                self._changed = {name for name in names if rng.random() < share} or set(
                    rng.choice(names, size=min(1, len(names)))
                )
        if self._uses_tpe:
            self._tpe.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """See `BaseSampler`."""
        return self._tpe.infer_relative_search_space(study, trial) if self._uses_tpe else {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See `BaseSampler`."""
        return self._tpe.sample_relative(study, trial, search_space) if self._uses_tpe else {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """See `BaseSampler`."""
        seed = int(self._draws_of(param_name).integers(2**32))
        if self._uses_tpe:
            tpe = TPESampler(seed=seed, multivariate=True, group=True)
            return tpe.sample_independent(study, trial, param_name, param_distribution)
        value = self._centre.get(param_name)
        if value is None or not contains(param_distribution, value):
            uniform = RandomSampler(seed=seed)
            return uniform.sample_independent(study, trial, param_name, param_distribution)
        return self._near(param_name, param_distribution) if param_name in self._changed else value

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """See `BaseSampler`."""
        if self._uses_tpe:
            self._tpe.after_trial(study, trial, state, values)

    def _draws_of(self, name: str) -> np.random.Generator:
        # One for each hyperparameter, so that a trial interrupted between two can be continued.
        return np.random.default_rng([self._seed, zlib.crc32(name.encode())])

    def _near(self, name: str, distribution: BaseDistribution) -> Any:
        """Return another value than the centre's, near it if it is a number."""
        value, rng = self._centre[name], self._draws_of(name)
        if distribution.single():
            return value
        if isinstance(distribution, CategoricalDistribution):
            others = [choice for choice in distribution.choices if choice != value]
            return others[rng.integers(len(others))] if others else value  # all may be equal
        assert isinstance(distribution, IntDistribution | FloatDistribution)
        low, high, step = distribution.low, distribution.high, distribution.step

        def moved(start: float, end: float, here: float) -> float:
            place = abs((here - start) / (end - start) + rng.normal(0.0, _SPREAD))
            return start + (end - start) * max(0.0, 1 - abs(1 - place))  # reflected at both ends

        if distribution.log:
            drawn = math.exp(moved(math.log(low), math.log(high), math.log(value)))
        else:
            drawn = moved(low, high, value)
        if step is None:
            return min(max(drawn, low), high)
        old, last = round((value - low) / step), math.floor((high - low) / step + 1e-9)
        place = min(round((drawn - low) / step), last)
        if place == old:
            place += 1 if old == 0 or (drawn > value and old < last) else -1
        return low + place * step


def ranked(
    trials: Sequence[FrozenTrial], *, several: bool, limit: int | None = None
) -> list[FrozenTrial]:
    """Return trials in the order in which a sampler learns from them, the best first.

    Args:
        trials: Of one study.
        several: Whether it has several objectives; the best are then those of the front.
        limit: Return the first ones only; None: all.
    """
    if not several:
        return sorted(trials, key=_rank, reverse=True)[:limit]
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    numbers = {trial.number for trial in complete}
    others = [one for one in trials if one.number not in numbers]
    return [*best_first(complete, limit), *others][:limit]


def _rank(trial: FrozenTrial) -> tuple[bool, float, float]:
    """Return the order of trials as TPE has it: complete ones by value, others by last step."""
    if trial.state == TrialState.COMPLETE:
        return True, trial.value or 0.0, 0.0
    step = trial.last_step
    return False, -1.0 if step is None else step, trial.intermediate_values.get(step or 0, 0.0)


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Return whether a hyperparameter can have a value; Optuna exports no function for it."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return isinstance(value, int | float) and distribution.low <= value <= distribution.high

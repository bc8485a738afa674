"""A sampler that stays near the best trials while there is little else to learn from."""

import math
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

from search.study.study import FINISHED, known_as

_BEST: Final = 3  # of these, one is the centre; the best is the likeliest
_UNIFORM: Final = 0.1  # share of trials drawn from the whole space, which no evidence can rule out
_HALF_AFTER: Final = 16  # sampled trials after which TPE proposes half of the others
_CHANGED: Final = 0.25  # share of the centre's hyperparameters that are drawn anew
_SPREAD: Final = 0.25  # standard deviation of a changed number, as a share of its range


class NearBestSampler(BaseSampler):
    """Proposes one trial: a variant of one of the best, or what TPE proposes, or any point.

    A search begins with configurations that are known to be good, and TPE needs tens of trials
    before it knows why they are. Until then most trials are variants of them; the probability
    falls with each trial that was sampled, and that of TPE rises.

    Args:
        seed: Everything that it draws depends on it.

    Source: the rule of PriorBand (Mallik et al. 2023, arXiv 2306.12370), whose prior is here the
    best of the known configurations; the numbers above are our choice.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._random = RandomSampler(seed=seed)
        self._tpe = TPESampler(seed=seed, multivariate=True, group=True)
        self._uses_tpe = False
        self._centre: dict[str, Any] | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Choose how this trial is proposed."""
        finished = study.get_trials(deepcopy=False, states=FINISHED)
        sampled = sum(known_as(one) is None for one in finished)
        near = _HALF_AFTER / (_HALF_AFTER + sampled) if finished else 0.0
        draw = self._rng.random()
        if draw >= _UNIFORM:
            self._uses_tpe = (draw - _UNIFORM) / (1 - _UNIFORM) >= near
            if not self._uses_tpe:
                best = sorted(finished, key=rank, reverse=True)[:_BEST]
                self._centre = best[int(len(best) * self._rng.random() ** 2)].params
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
        if self._uses_tpe:
            return self._tpe.sample_independent(study, trial, param_name, param_distribution)
        value = None if self._centre is None else self._centre.get(param_name)
        if value is None or not contains(param_distribution, value):
            return self._random.sample_independent(study, trial, param_name, param_distribution)
        changed = self._rng.random() < _CHANGED
        return self._near(param_distribution, value) if changed else value

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

    def _near(self, distribution: BaseDistribution, value: Any) -> Any:
        if isinstance(distribution, CategoricalDistribution):
            others = [choice for choice in distribution.choices if choice != value] or [value]
            return others[self._rng.integers(len(others))]
        assert isinstance(distribution, IntDistribution | FloatDistribution)
        low, high, step = distribution.low, distribution.high, distribution.step
        if distribution.log:
            width = math.log(high / low)
            drawn = value * math.exp(self._rng.normal(0.0, _SPREAD * width))
        else:
            drawn = self._rng.normal(value, _SPREAD * (high - low))
        drawn = min(max(drawn, low), high)
        if step is not None:
            drawn = low + round((drawn - low) / step) * step
        return int(drawn) if isinstance(distribution, IntDistribution) else float(drawn)


def rank(trial: FrozenTrial) -> tuple[bool, float, float]:
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

"""KerasTuner's `HyperParameters`, answered by whoever runs the trial: any `build(hp)` runs here."""

import math
from collections.abc import Callable
from typing import Any

import keras_tuner
from keras_tuner.engine import hyperparameters as kinds
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Suggest = Callable[[str, BaseDistribution], Any]
_REVERSED = "~reversed"


class TrialHyperParameters(keras_tuner.HyperParameters):  # type: ignore[misc]
    """The hyperparameters of one trial, each asked for when the space first names it.

    Args:
        suggest: Gives the value of a name under a distribution.
    """

    def __init__(self, suggest: Suggest) -> None:
        super().__init__()
        self._suggest = suggest
        self.fixed: dict[str, Any] = {}

    def _register(self, hyperparameter: Any, overwrite: bool = False) -> Any:
        name = hyperparameter.name
        for known in self._space:
            if known.name == name and known.conditions != hyperparameter.conditions:
                raise ValueError(
                    f"hyperparameter {name!r} is defined under two conditions; give it two names."
                )
        super()._register(hyperparameter, overwrite)
        if not self.is_active(hyperparameter):
            return None
        if isinstance(hyperparameter, kinds.Fixed):
            self.fixed[name] = hyperparameter.value
        else:
            self.values[name] = value_of(self._suggest, hyperparameter)
        return self.values[name]


def value_of(suggest: Suggest, hyperparameter: Any) -> Any:
    """Ask for the value of one of KerasTuner's hyperparameters in terms of Optuna's distributions.

    Args:
        suggest: Gives the value of a name under a distribution.
        hyperparameter: One of `keras_tuner.engine.hyperparameters`, active and not `Fixed`.
    """
    name = hyperparameter.name
    if isinstance(hyperparameter, kinds.Boolean):
        return suggest(name, CategoricalDistribution([True, False]))
    if isinstance(hyperparameter, kinds.Choice):
        return suggest(name, CategoricalDistribution(list(hyperparameter.values)))
    whole = isinstance(hyperparameter, kinds.Int)
    low, high, step = hyperparameter.min_value, hyperparameter.max_value, hyperparameter.step
    if hyperparameter.sampling != "linear" and step:
        # A multiplicative grid, which Optuna has no numeric distribution for.
        values = [int(value) if whole else float(value) for value in hyperparameter.values]
        return suggest(name, CategoricalDistribution(values))
    if hyperparameter.sampling == "reverse_log":
        return low + high - suggest(name + _REVERSED, _numeric(whole, low, high, log=True))
    if hyperparameter.sampling == "log":
        return suggest(name, _numeric(whole, low, high, log=True))
    if step and not whole:
        # Optuna cuts a range that is no multiple of its step, and 0.5 // 0.05 is 9: rounding errors
        # must not cut more than that.
        high = round(low + math.floor((high - low) / step + 1e-9) * step, 10)
    return suggest(name, _numeric(whole, low, high, step=step))


def _numeric(
    whole: bool, low: float, high: float, *, log: bool = False, step: float | None = None
) -> BaseDistribution:
    if whole:
        return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    return FloatDistribution(float(low), float(high), log=log, step=step)

"""KerasTuner's `HyperParameters` over Optuna's distributions, so that any `build(hp)` runs here."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras_tuner
from keras_tuner.engine import hyperparameters as kinds
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.errors import SearchError
from search.words import rounded

Ask = Callable[[str, BaseDistribution], Any]
_REVERSED = "~reversed"


class TrialHyperParameters(keras_tuner.HyperParameters):  # type: ignore[misc]
    """The hyperparameters of one trial; each is suggested when `build` first names it.

    KerasTuner has no public way to decide a value when it is declared, hence `_register`.

    Args:
        suggest: Returns a value for a name and a distribution.

    Attributes:
        fixed: Values of `Fixed` hyperparameters by name.
    """

    def __init__(self, suggest: Ask) -> None:
        super().__init__()
        self._suggest = suggest
        self.fixed: dict[str, Any] = {}

    def _register(self, hyperparameter: Any, overwrite: bool = False) -> Any:
        name = hyperparameter.name
        for known in self.space:
            if known.name == name and known.conditions != hyperparameter.conditions:
                raise SearchError(
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


def value_of(suggest: Ask, hyperparameter: Any) -> Any:
    """Return the value of one of KerasTuner's hyperparameters, suggested from a distribution.

    Args:
        suggest: Returns a value for a name and a distribution.
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
        # Optuna has no numeric distribution for a multiplicative grid.
        values = [int(value) if whole else float(value) for value in hyperparameter.values]
        return suggest(name, CategoricalDistribution(values))
    if hyperparameter.sampling == "reverse_log":
        return low + high - suggest(name + _REVERSED, _numeric(whole, low, high, log=True))
    if hyperparameter.sampling == "log":
        return suggest(name, _numeric(whole, low, high, log=True))
    if step and whole:
        high = low + (high - low) // step * step
    elif step:
        # Optuna cuts a range that is not a multiple of its step. Cut it here, tolerant of rounding:
        # 0.5 // 0.05 is 9.
        high = rounded(low + math.floor((high - low) / step + 1e-9) * step)
    return suggest(name, _numeric(whole, low, high, step=step))


def to_params(values: Mapping[str, Any], space: Sequence[Any]) -> dict[str, Any]:
    """Convert a configuration from KerasTuner's values to Optuna's parameters.

    Args:
        values: Values by name.
        space: KerasTuner's hyperparameters.

    Returns:
        Values by the names that `value_of` suggests; without `Fixed` hyperparameters.
    """
    params: dict[str, Any] = {}

    def collect(hyperparameter: Any, wanted: Any) -> None:
        def answer(name: str, distribution: BaseDistribution) -> Any:
            if isinstance(distribution, CategoricalDistribution):
                params[name] = _nearest(wanted, distribution.choices)
            elif name.endswith(_REVERSED):
                params[name] = hyperparameter.min_value + hyperparameter.max_value - wanted
            elif isinstance(distribution, FloatDistribution) and distribution.step:
                params[name] = rounded(float(wanted))
            else:
                params[name] = wanted.item() if hasattr(wanted, "item") else wanted
            return params[name]

        value_of(answer, hyperparameter)

    for hyperparameter in space:
        if hyperparameter.name in values and not isinstance(hyperparameter, kinds.Fixed):
            collect(hyperparameter, values[hyperparameter.name])
    return params


def to_values(params: Mapping[str, Any], space: Sequence[Any]) -> dict[str, Any]:
    """Convert a configuration from Optuna's parameters to KerasTuner's values.

    Args:
        params: From `to_params`.
        space: KerasTuner's hyperparameters, parents before children.

    Returns:
        Values of the active hyperparameters in `params`, and of active `Fixed` ones.
    """
    active = keras_tuner.HyperParameters()
    for hyperparameter in space:
        active.merge([hyperparameter])
        if not active.is_active(hyperparameter):
            continue
        name = hyperparameter.name
        if isinstance(hyperparameter, kinds.Fixed):
            active.values[name] = hyperparameter.value
        elif name in params:
            active.values[name] = params[name]
        elif name + _REVERSED in params:
            ends = hyperparameter.min_value + hyperparameter.max_value
            active.values[name] = ends - params[name + _REVERSED]
        else:
            active.values.pop(name, None)  # merge() has set its default
    return dict(active.values)


def _nearest(wanted: Any, choices: Sequence[Any]) -> Any:
    """Return the choice nearest to a value: computed numbers differ in their last digits."""
    if wanted in choices:
        return choices[choices.index(wanted)]
    return min(choices, key=lambda choice: abs(choice - wanted))


def _numeric(
    whole: bool, low: float, high: float, *, log: bool = False, step: float | None = None
) -> BaseDistribution:
    if whole:
        return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    return FloatDistribution(float(low), float(high), log=log, step=step)

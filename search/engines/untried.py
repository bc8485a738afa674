"""The configurations of a known space that no trial has tried.

A space is a sequence of KerasTuner's hyperparameters, parents before children. Configurations are
parameters as Optuna names and stores them (see `search.training.hyperparameters`).
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from keras_tuner.engine import hyperparameters as kinds
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from search.engines.trials import is_same
from search.training.hyperparameters import to_params, to_values, value_of

FIXED_PARAMS: Final = "fixed_params"  # Optuna's attribute: what a trial was enqueued with
Params = Mapping[str, Any]


def wanted_params(trial: FrozenTrial) -> dict[str, Any]:
    """Return the parameters that a trial must have: those it was enqueued with, drew, or used."""
    return {**trial.system_attrs.get(FIXED_PARAMS, {}), **trial.params}


def is_tried(params: Params, tried: Iterable[Params]) -> bool:
    """Return whether one of the tried configurations is a part of this one.

    A build that reads only `layers=1` and `units_0=8` is the same for every `units_1`.
    """
    return any(
        all(name in params and is_same(params[name], value) for name, value in other.items())
        for other in tried
    )


def is_complete(params: Params, space: Sequence[Any]) -> bool:
    """Return whether a configuration has a value for every active hyperparameter.

    Continuous ones may be missing.
    """
    values = to_values(params, space)
    return all(
        each.name in values
        or not all(condition.is_active(values) for condition in each.conditions)
        or _is_continuous(question(each)[1])
        for each in space
    )


def find_untried(
    space: Sequence[Any], tried: Iterable[Params], rng: random.Random | None = None
) -> dict[str, Any] | None:
    """Return a configuration that differs from each of those tried.

    Args:
        space: KerasTuner's hyperparameters, parents before children.
        tried: Configurations of earlier trials, each only what its trial used.
        rng: Draws the order of the values. None: that of KerasTuner's grid search, which lists 10
            values of a continuous hyperparameter and puts the default first.

    Returns:
        The parameters; with `rng` without continuous ones, as any of their values will do. None if
        nothing is left.
    """
    return _extend(list(space), {}, {}, [dict(params) for params in tried], rng)


def _extend(
    space: list[Any],
    values: dict[str, Any],
    params: dict[str, Any],
    rivals: list[dict[str, Any]],
    rng: random.Random | None,
) -> dict[str, Any] | None:
    # Rivals are the tried configurations that agree so far, without what has been compared.
    if not all(rivals):
        return None
    if not space:
        return params
    first, rest = space[0], space[1:]
    if not all(condition.is_active(values) for condition in first.conditions):
        return _extend(rest, values, params, rivals, rng)
    if isinstance(first, kinds.Fixed):
        return _extend(rest, {**values, first.name: first.value}, params, rivals, rng)
    name, distribution = question(first)
    if rng is not None and _is_continuous(distribution):
        return _extend(rest, values, params, [r for r in rivals if name not in r], rng)
    for value in _listed(first) if rng is None else _shuffled(distribution, rng):
        agreeing = [r for r in rivals if name not in r or is_same(r[name], value)]
        found = _extend(
            rest,
            {**values, first.name: value_of(lambda *_, value=value: value, first)},
            {**params, name: value},
            [{key: r[key] for key in r if key != name} for r in agreeing],
            rng,
        )
        # A value that no rival has leaves the fewest of them: no other value can do better.
        if found is not None or not any(name in r for r in agreeing):
            return found
    return None


def question(hyperparameter: Any) -> tuple[str, BaseDistribution]:
    """Return Optuna's name and distribution of a hyperparameter."""
    asked: list[tuple[str, BaseDistribution]] = []

    def note(name: str, distribution: Any) -> Any:
        asked.append((name, distribution))
        is_choice = isinstance(distribution, CategoricalDistribution)
        return distribution.choices[0] if is_choice else distribution.low

    value_of(note, hyperparameter)
    return asked[0]


def _is_continuous(distribution: BaseDistribution) -> bool:
    return (
        isinstance(distribution, FloatDistribution)
        and distribution.step is None
        and not distribution.single()
    )


def _listed(hyperparameter: Any) -> Iterator[Any]:
    values, default = list(hyperparameter.values), hyperparameter.default
    for value in [default, *(value for value in values if value != default)]:
        yield from to_params({hyperparameter.name: value}, [hyperparameter]).values()


def _shuffled(distribution: BaseDistribution, rng: random.Random) -> Iterator[Any]:
    if isinstance(distribution, CategoricalDistribution):
        yield from rng.sample(distribution.choices, len(distribution.choices))
        return
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, step = distribution.low, distribution.step or 1
    count = 1 + round((distribution.high - low) / step)
    start = rng.randrange(count)
    for index in range(count):
        yield low + (start + index) % count * step

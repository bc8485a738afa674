"""Random points of a space, drawn by stock KerasTuner."""

import random
from collections.abc import Callable
from typing import Any

import keras_tuner


def random_params(
    sample: Callable[[Any], object], count: int, seed: int = 0, **fixed: Any
) -> list[dict[str, Any]]:
    """Draw every active hyperparameter as KerasTuner's random search does, but for fixed ones."""
    space = keras_tuner.HyperParameters()
    sample(space)
    generator = random.Random(seed)
    points = []
    for _ in range(count):
        values: dict[str, Any] = {}
        for parameter in space.space:
            if parameter.name in fixed:
                values[parameter.name] = fixed[parameter.name]
            elif all(condition.is_active(values) for condition in parameter.conditions):
                values[parameter.name] = parameter.random_sample(generator.randrange(2**31))
        points.append(values)
    return points


def with_values(values: dict[str, Any]) -> keras_tuner.HyperParameters:
    """Stock hyperparameters that answer with `values`."""
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    return hp

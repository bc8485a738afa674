"""Trials with given learning curves and hyperparameters."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
)
from optuna.trial import FrozenTrial, TrialState

START = datetime.datetime(2026, 1, 1)


LEARNING_RATE = FloatDistribution(1e-4, 1e-1, log=True)


FILTERS = CategoricalDistribution([16, 32, 64])


BATCH_NORM = CategoricalDistribution(["none", "before", "after"])


def trial(
    curve: Sequence[float],
    state: TrialState = TrialState.COMPLETE,
    params: Mapping[str, tuple[Any, BaseDistribution]] | None = None,
    minutes: tuple[float, float] | None = None,
    **attrs: Any,
) -> FrozenTrial:
    """A trial with these accuracies after its epochs, from and to these minutes."""
    known = params or {}
    first, last = minutes or (0.0, 1.0)
    return FrozenTrial(
        number=0,
        trial_id=0,
        state=state,
        value=None if state == TrialState.FAIL else [0.5, *curve][-1],
        datetime_start=START + datetime.timedelta(minutes=first),
        datetime_complete=START + datetime.timedelta(minutes=last),
        params={name: value for name, (value, _) in known.items()},
        distributions={name: distribution for name, (_, distribution) in known.items()},
        user_attrs=attrs,
        system_attrs={},
        intermediate_values=dict(enumerate(curve, start=1)),
    )


def random_trials(count: int, seed: int = 0) -> list[FrozenTrial]:
    """Complete trials whose accuracy depends on the learning rate and the batch norm alone."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        rate, place = rng.random(), int(rng.integers(3))
        final = 0.8 + 0.1 * rate + 0.02 * (place == 1)
        made.append(
            trial(
                [final - 0.1, final],
                params={
                    "learning_rate": (float(1e-4 * 1000**rate), LEARNING_RATE),
                    "noise": (float(rng.random()), FloatDistribution(0, 1)),
                    "filters": (FILTERS.choices[int(rng.integers(3))], FILTERS),
                    "conv_batch_norm": (BATCH_NORM.choices[place], BATCH_NORM),
                },
            )
        )
    return made

"""The pruners that `benchmarks.replay` compares, all of them Optuna's own."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)

from search.engines.pruners import PRUNERS


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pruner under test.

    Args:
        make: Makes it, given the epochs of a complete training.
        steps: Returns the steps that it is told, by epoch, given the same; it prunes at these
            epochs only.
    """

    make: Callable[[int], BasePruner]
    steps: Callable[[int], dict[int, int]]


def _first_half(epochs: int) -> dict[int, int]:
    return {epoch: epoch for epoch in range(1, max(1, epochs // 2) + 1)}


def _of_product(name: str) -> Candidate:
    return Candidate(lambda epochs: PRUNERS[name].make(max(1, epochs // 2)), _first_half)


def _rungs(reduction: int) -> Callable[[int], dict[int, int]]:
    # Told steps 1 and `reduction` at a quarter and half of the epochs, Optuna's pruners have their
    # rungs there whatever the reduction is.
    return lambda epochs: {max(1, round(epochs / 4)): 1, max(2, epochs // 2): reduction}


def _halving(reduction: int) -> Candidate:
    return Candidate(
        lambda epochs: SuccessiveHalvingPruner(min_resource=1, reduction_factor=reduction),
        _rungs(reduction),
    )


def _hyperband(reduction: int) -> Candidate:
    return Candidate(
        lambda epochs: HyperbandPruner(
            min_resource=1, max_resource=reduction, reduction_factor=reduction
        ),
        _rungs(reduction),
    )


def _percentile(kept: float) -> Candidate:
    return Candidate(
        lambda epochs: PercentilePruner(kept, n_startup_trials=5, n_warmup_steps=1),
        lambda epochs: {
            epoch: epoch for epoch in range(max(1, math.ceil(epochs / 4)), epochs // 2 + 1)
        },
    )


CANDIDATES: Final = {
    "none": _of_product("none"),
    "hyperband, as it is": _of_product("hyperband"),
    "asha, as it is": _of_product("asha"),
    "median, as it is": _of_product("median"),
    "median, no warm-up": Candidate(lambda epochs: MedianPruner(), _first_half),
    **{f"halving at 25, 50 %, best 1/{n}": _halving(n) for n in (2, 3, 4)},
    **{f"hyperband at 25, 50 %, best 1/{n}": _hyperband(n) for n in (2, 3, 4)},
    **{f"best {n} % at each of 25..50 %": _percentile(n) for n in (75, 50)},
}

"""The pruners that `benchmarks.replay` compares."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)

from search.engines.pruners import PRUNERS, BestAtRungs, Rungs


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pruner under test.

    Args:
        make: Makes it, given the epochs of a complete training.
        steps: Returns the steps that are reported to it, by epoch, given the same number; it prunes
            at these epochs only.
    """

    make: Callable[[int], BasePruner]
    steps: Callable[[int], dict[int, int]]


def _first_half(epochs: int) -> dict[int, int]:
    return {epoch: epoch for epoch in range(1, epochs // 2 + 1)}


def _of_product(name: str) -> Candidate:
    return Candidate(lambda epochs: PRUNERS[name].make(Rungs.of(epochs)), _first_half)


def _quarter_to_half(epochs: int) -> range:
    # Not `Rungs.of`: what is compared stays the same when the project's own pruners change.
    return range(math.ceil(epochs / 4), epochs // 2 + 1)


def _two_rungs(reduction: int) -> Callable[[int], dict[int, int]]:
    # Told steps 1 and `reduction` after a quarter and a half of the epochs, Optuna's pruners have
    # their rungs there whatever the reduction is.
    def steps(epochs: int) -> dict[int, int]:
        judged = _quarter_to_half(epochs)
        return {judged[0]: 1, judged[-1]: reduction} if judged else {}

    return steps


def _halving(reduction: int) -> Candidate:
    return Candidate(
        lambda epochs: SuccessiveHalvingPruner(min_resource=1, reduction_factor=reduction),
        _two_rungs(reduction),
    )


def _best_at(rungs: Sequence[int], best: int) -> Candidate:
    return Candidate(lambda epochs: BestAtRungs(rungs, best), _first_half)


def _hyperband(reduction: int) -> Candidate:
    return Candidate(
        lambda epochs: HyperbandPruner(
            min_resource=1, max_resource=reduction, reduction_factor=reduction
        ),
        _two_rungs(reduction),
    )


def _percentile(kept: float) -> Candidate:
    def steps(epochs: int) -> dict[int, int]:
        return {epoch: epoch for epoch in _quarter_to_half(epochs)}

    return Candidate(lambda epochs: PercentilePruner(kept, n_startup_trials=5), steps)


CANDIDATES: Final = {
    "none": _of_product("none"),
    **{f"ours: {name}": _of_product(name) for name in PRUNERS if name != "none"},
    **{
        f"best 1/{best} at epochs {' and '.join(map(str, rungs))}": _best_at(rungs, best)
        for rungs in ([2], [2, 4], [1, 4], [3])
        for best in (2, 3, 4)
    },
    # As this project had them before.
    "hyperband from epoch 1, best 1/3": Candidate(
        lambda epochs: HyperbandPruner(
            min_resource=1, max_resource=max(1, epochs // 2), reduction_factor=3
        ),
        _first_half,
    ),
    "asha from epoch 1, best 1/3": Candidate(
        lambda epochs: SuccessiveHalvingPruner(min_resource=1, reduction_factor=3), _first_half
    ),
    "median from epoch 1": Candidate(lambda epochs: MedianPruner(), _first_half),
    **{f"halving at 25, 50 %, best 1/{n}": _halving(n) for n in (2, 3, 4)},
    **{f"hyperband at 25, 50 %, best 1/{n}": _hyperband(n) for n in (2, 3, 4)},
    **{f"best {n} % at each of 25..50 %": _percentile(n) for n in (75, 50)},
}

"""The pruners that `benchmarks.replay` compares."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from optuna.pruners import BasePruner, SuccessiveHalvingPruner

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


def _two_rungs(epochs: int) -> dict[int, int]:
    # Told steps 1 and 3 after a quarter and a half of the epochs, Optuna's pruner has its rungs
    # there. Not `Rungs.of`: what is compared stays the same when the project's own pruners change.
    first, last = math.ceil(epochs / 4), epochs // 2
    return {first: 1, last: 3} if first <= last else {}


def _best_at(rungs: Sequence[int], best: int) -> Candidate:
    return Candidate(lambda epochs: BestAtRungs(rungs, best), _first_half)


CANDIDATES: Final = {
    "none": _of_product("none"),
    **{f"ours: {name}": _of_product(name) for name in PRUNERS if name != "none"},
    **{
        f"best 1/{best} at epochs {' and '.join(map(str, rungs))}": _best_at(rungs, best)
        for rungs, best in (([2, 4], 2), ([2, 4], 4), ([1, 4], 3))
    },
    "halving at 25, 50 %, best 1/3": Candidate(
        lambda epochs: SuccessiveHalvingPruner(min_resource=1, reduction_factor=3), _two_rungs
    ),
}

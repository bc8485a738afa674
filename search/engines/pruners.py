"""Optuna's pruners by name; their steps are finished epochs, so that the first one is 1.

Trials are judged between a fifth and a half of their epochs, and never after the first epoch.
Earlier, the learning rate of the one-cycle schedule is still rising, and the first epoch of a small
data set says nothing at all. Later, falling rates bring their gain, and a trial whose rate is still
high would lose to one that has settled for less.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)

REDUCTION_FACTOR: Final = 2


@dataclass(frozen=True, slots=True)
class Pruner:
    """An entry of `PRUNERS`.

    Args:
        help: Phrase for `--help` and the documentation.
        make: Makes the pruner, given the rungs.
        epochs: Returns the epochs after which it may stop a trial, given the rungs.
    """

    help: str
    make: Callable[["Rungs"], BasePruner]
    epochs: Callable[["Rungs"], list[int]]


@dataclass(frozen=True, slots=True)
class Rungs:
    """The epochs after which a trial may be pruned.

    Args:
        first: The first; 2 or more.
        last: The last; below the first if there are none.
    """

    first: int
    last: int

    @classmethod
    def of(cls, max_epochs: int) -> "Rungs":
        """Return the rungs of trials of at most this many epochs."""
        return cls(first=max(2, math.ceil(max_epochs / 5)), last=max_epochs // 2)

    @property
    def are_none(self) -> bool:
        """Whether trials are too short to be pruned."""
        return self.last < self.first


def _halvings(rungs: Rungs) -> list[int]:
    """Return the rungs of successive halving: each is a constant multiple of the one before."""
    epochs, epoch = [], rungs.first
    while epoch <= rungs.last:
        epochs.append(epoch)
        epoch *= REDUCTION_FACTOR
    return epochs


PRUNERS: Final = {
    "hyperband": Pruner(
        "successive halving in brackets",
        # A bracket whose first rung is above the last epoch would prune nothing.
        lambda rungs: HyperbandPruner(
            min_resource=rungs.first,
            max_resource=max(rungs.first, rungs.last),
            reduction_factor=REDUCTION_FACTOR,
        ),
        _halvings,
    ),
    "asha": Pruner(
        "keeps the best half after a fifth of the epochs, and again after twice as many",
        lambda rungs: SuccessiveHalvingPruner(
            min_resource=rungs.first, reduction_factor=REDUCTION_FACTOR
        ),
        _halvings,
    ),
    "median": Pruner(
        "keeps trials above the median",
        # MedianPruner never prunes at a step below n_warmup_steps.
        lambda rungs: MedianPruner(n_startup_trials=5, n_warmup_steps=rungs.first),
        lambda rungs: list(range(rungs.first, rungs.last + 1)),
    ),
    "none": Pruner("every trial runs all its epochs", lambda rungs: NopPruner(), lambda rungs: []),
}

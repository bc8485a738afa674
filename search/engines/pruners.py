"""Optuna's pruners by name; their steps are finished epochs, so that the first one is 1."""

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

REDUCTION_FACTOR: Final = 3


@dataclass(frozen=True, slots=True)
class Pruner:
    """An entry of `PRUNERS`.

    Args:
        help: Phrase for `--help` and the documentation.
        make: Makes the pruner, given the last epoch after which a trial may be pruned (1 or more).
    """

    help: str
    make: Callable[[int], BasePruner]


PRUNERS: Final = {
    "hyperband": Pruner(
        "successive halving in brackets",
        # A bracket whose first rung is above the last epoch would prune nothing.
        lambda last_epoch: HyperbandPruner(
            min_resource=1, max_resource=last_epoch, reduction_factor=REDUCTION_FACTOR
        ),
    ),
    "asha": Pruner(
        "keeps the best third at 1, 3, 9 ... epochs",
        lambda last_epoch: SuccessiveHalvingPruner(
            min_resource=1, reduction_factor=REDUCTION_FACTOR
        ),
    ),
    "median": Pruner(
        "keeps trials above the median, from epoch 2",
        # MedianPruner never prunes at a step below n_warmup_steps.
        lambda last_epoch: MedianPruner(n_startup_trials=5, n_warmup_steps=2),
    ),
    "none": Pruner("every trial runs all its epochs", lambda last_epoch: NopPruner()),
}

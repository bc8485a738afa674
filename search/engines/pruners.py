"""Pruners by name; their steps are finished epochs, so that the first one is 1.

Trials are judged between a fifth and a half of their epochs, and never after the first epoch.
Earlier, the learning rate of the one-cycle schedule is still rising, and the first epoch of a small
data set says nothing at all. Later, falling rates bring their gain, and a trial whose rate is still
high would lose to one that has settled for less.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.study import Study
from optuna.trial import FrozenTrial

DEFAULT_PRUNER: Final = "asha"
_SPACING: Final = 2  # each rung of successive halving is this multiple of the one before
_BEST: Final = 3  # one of this many trials goes on at a rung of `asha`


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


@dataclass(frozen=True, slots=True)
class Pruner:
    """An entry of `PRUNERS`.

    Args:
        help: Phrase for `--help` and the documentation.
        make: Makes the pruner, given the rungs.
        epochs: Returns the epochs after which it may stop a trial, given the rungs.
        brackets: Returns the epochs at which trials end in an estimate, given the rungs; equal
            shares of the trials follow each of the lists.
        kept: Share of the trials that go on at each of them, in (0, 1].
        first_kept: That share of the configurations that are tried first, which have few others to
            compete with.
    """

    help: str
    make: Callable[[Rungs], BasePruner]
    epochs: Callable[[Rungs], list[int]]
    brackets: Callable[[Rungs], list[list[int]]]
    kept: float
    first_kept: float

    def expected_epochs(self, max_epochs: int, *, is_first: bool, done: int = 0) -> float:
        """Return the epochs that a trial is expected to train.

        Args:
            max_epochs: Maximum epochs.
            is_first: Whether it is one of the configurations that are tried first.
            done: Epochs that it has trained without being stopped.
        """
        kept = self.first_kept if is_first else self.kept
        expected = []
        for bracket in self.brackets(Rungs.of(max_epochs)):
            left, ended = 1.0, 0.0
            for rung in bracket:
                if rung > done:
                    ended += left * (1 - kept) * rung
                    left *= kept
            expected.append(ended + left * max_epochs)
        return sum(expected) / len(expected)


def _halvings(rungs: Rungs) -> list[int]:
    """Return the rungs of successive halving: each is a constant multiple of the one before."""
    epochs, epoch = [], rungs.first
    while epoch <= rungs.last:
        epochs.append(epoch)
        epoch *= _SPACING
    return epochs


class BestAtRungs(BasePruner):
    """Stops a trial that is not among the best at a rung, of all trials that have reached it.

    Optuna's `SuccessiveHalvingPruner` keeps one of n trials at rungs that are n times as far
    apart: with a third kept, only one rung would lie between a fifth and a half of the epochs.

    Args:
        rungs: Epochs at which trials are judged.
        best: One of this many trials goes on, rounded up; 2 or more. (Rounded down, as Optuna does
            it, only a new best would go on until twice as many have come.)

    Source: ASHA (Li et al. 2018, arXiv 1810.05934), without promotion of trials that were stopped.
    """

    def __init__(self, rungs: Sequence[int], best: int) -> None:
        self._rungs = frozenset(rungs)
        self._best = best

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """See `BasePruner`; higher values are better, and NaN is stopped."""
        epoch = trial.last_step
        if epoch not in self._rungs:
            return False
        value = trial.intermediate_values[epoch]
        others = [
            one.intermediate_values[epoch]
            for one in study.get_trials(deepcopy=False)
            if epoch in one.intermediate_values and one.number != trial.number
        ]
        better = sum(other > value for other in others)
        return math.isnan(value) or better >= math.ceil((len(others) + 1) / self._best)


# Source of the shares: the simulated searches in tests/search/test_length.py.
PRUNERS: Final = {
    "asha": Pruner(
        "keeps the best third after a fifth of the epochs (2 or more), and again after twice as "
        "many, up to half of them",
        lambda rungs: BestAtRungs(_halvings(rungs), _BEST),
        _halvings,
        lambda rungs: [_halvings(rungs)],
        kept=0.38,
        first_kept=0.6,
    ),
    "hyperband": Pruner(
        "keeps the best half after the same epochs as asha, but some trials skip the first check",
        # A bracket whose first rung is above the last epoch would prune nothing.
        lambda rungs: HyperbandPruner(
            min_resource=rungs.first,
            max_resource=max(rungs.first, rungs.last),
            reduction_factor=_SPACING,
        ),
        _halvings,
        lambda rungs: [_halvings(rungs)[start:] for start in range(len(_halvings(rungs)))] or [[]],
        kept=0.5,
        first_kept=0.67,
    ),
    "median": Pruner(
        "keeps trials above the median",
        # MedianPruner never prunes at a step below n_warmup_steps.
        lambda rungs: MedianPruner(n_startup_trials=5, n_warmup_steps=rungs.first),
        lambda rungs: list(range(rungs.first, rungs.last + 1)),
        lambda rungs: [[] if rungs.are_none else [rungs.first]],  # most end there
        kept=0.4,
        first_kept=0.87,
    ),
    "none": Pruner(
        "every trial runs all its epochs",
        lambda rungs: NopPruner(),
        lambda rungs: [],
        lambda rungs: [[]],
        kept=1.0,
        first_kept=1.0,
    ),
}

"""Optuna's pruners over rungs of finished epochs (the first epoch is 1)."""

from collections.abc import Callable

from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)

REDUCTION_FACTOR = 3


def make_pruner(name: str, last_epoch: int) -> BasePruner:
    """The pruner of that name.

    Args:
        name: One of `search.settings.PRUNERS`. `hyperband` and `asha` keep the best third at each
            rung (1, 3, 9 ... finished epochs); `median` stops what is below the median of the
            earlier trials at the same epoch, from the second epoch on.
        last_epoch: Last epoch at which a trial may be pruned; a bracket of Hyperband that begins
            later would prune nothing.
    """
    makers: dict[str, Callable[[], BasePruner]] = {
        "hyperband": lambda: HyperbandPruner(
            min_resource=1, max_resource=max(1, last_epoch), reduction_factor=REDUCTION_FACTOR
        ),
        "asha": lambda: SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION_FACTOR),
        # It prunes at no step below n_warmup_steps, and the first epoch is step 1.
        "median": lambda: MedianPruner(n_startup_trials=5, n_warmup_steps=2),
        "none": NopPruner,
    }
    return makers[name]()

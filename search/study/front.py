"""The Pareto front of a study with several objectives, and the rule that chooses a trial."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from optuna.trial import FrozenTrial, TrialState

from search.study.objective import Limits, costs_of

_LEAST_COST: Final = 1e-3  # of a network without any FLOPs: there is no logarithm of 0


def value_of(trial: FrozenTrial) -> float:
    """Return a trial's value of the maximized objective; 0 without a value."""
    return trial.values[0] if trial.values else 0.0


def is_refused(trial: FrozenTrial) -> bool:
    """Return whether a trial's network is above a limit, by the constraints that it has."""
    return any(excess > 0 for excess in trial.constraints.values())


def front(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the Pareto front: the trials that no other one dominates.

    A trial dominates another one if it is better in one value and worse in none.

    Args:
        trials: Of one study; the first value of each is maximized, the others minimized. Only
            complete ones count.

    Returns:
        The most accurate first; of equals the earlier one first.
    """
    found: list[tuple[tuple[float, ...], FrozenTrial]] = []
    # In this order no trial can be dominated by a later one.
    complete = [(_losses(one), one) for one in trials if one.state == TrialState.COMPLETE]
    for losses, trial in sorted(complete, key=_by_losses):
        # With one cost the last one found is the cheapest so far: it dominates if any does.
        rivals = found[-1:] if len(losses) == 2 else found
        if not any(_dominates(other, losses) for other, _ in rivals):
            found.append((losses, trial))
    return [trial for _, trial in found]


def best_first(trials: Sequence[FrozenTrial], limit: int | None = None) -> list[FrozenTrial]:
    """Return complete trials in order: the front, then the front of the others, and so on.

    Args:
        trials: As for `front`, all complete.
        limit: Return the first ones only, without sorting the others; None: all.
    """
    ordered: list[FrozenTrial] = []
    rest = list(trials)
    while rest and (limit is None or len(ordered) < limit):
        layer = front(rest)
        numbers = {trial.number for trial in layer}
        ordered += layer
        rest = [trial for trial in rest if trial.number not in numbers]
    return ordered[:limit]


def choose(trials: Sequence[FrozenTrial], limits: Limits, *, several: bool) -> list[FrozenTrial]:
    """Return the trials that the rule of searches and reports allows, best first.

    The limits come first, because the front may ignore the cost that they limit: a dominated
    trial may be the most accurate one within them.

    Args:
        trials: Of one study; only complete ones count.
        limits: The most that a network may cost.
        several: Whether the study has several objectives.

    Returns:
        The complete trials within the limits, the most accurate first. With several objectives,
        only the front of these; without limits, only the knee.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    kept = within(complete, limits)
    if not several:
        return by_value(kept)
    on_front = front(kept)
    return [knee(on_front)] if on_front and not limits.given else on_front


def by_value(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Return complete trials, the most accurate first, the earlier one of equals first."""
    return sorted(trials, key=lambda trial: (-value_of(trial), trial.number))


def within(trials: Sequence[FrozenTrial], limits: Limits) -> list[FrozenTrial]:
    """Return the trials within the limits, in their order; trials of unknown cost are left out."""
    return [
        trial
        for trial in trials
        if limits.given.keys() <= (costs := costs_of(trial.user_attrs)).keys()
        and not limits.refusal(costs)
    ]


def knee(trials: Sequence[FrozenTrial]) -> FrozenTrial:
    """Return the trial of a front that is farthest from the line between the front's ends.

    Accuracy and the logarithm of each cost are scaled to [0, 1] over the front, 1 being the best:
    the line is where accuracy and cheapness sum to 1, and the knee has the highest sum. With
    several costs, cheapness is their mean. Of equals it is the most accurate.

    Source: Das 1999, "On characterizing the 'knee' of the Pareto curve based on normal-boundary
    intersection", Structural Optimization 18. The logarithm, and the mean, are our choice.

    Args:
        trials: From `front`; not empty.
    """
    points = [
        (value_of(trial), *(-math.log(max(cost, _LEAST_COST)) for cost in trial.values[1:]))
        for trial in trials
    ]
    ends = [(min(axis), max(axis)) for axis in zip(*points, strict=True)]

    def scaled(point: tuple[float, ...]) -> float:
        accuracy, *cheap = (
            (place - low) / (high - low) if high > low else 1.0
            for place, (low, high) in zip(point, ends, strict=True)
        )
        return accuracy + sum(cheap) / max(1, len(cheap))

    sums = [round(scaled(point), 9) for point in points]
    return trials[sums.index(max(sums))]  # the most accurate of equals


def rule_words(limits: Limits, *, several: bool) -> str:
    """Return the rule of `choose` in words."""
    if limits.given:
        return f"the most accurate within {limits.words}"
    return "the knee of the front" if several else "the most accurate"


def _losses(trial: FrozenTrial) -> tuple[float, ...]:
    return (-value_of(trial), *trial.values[1:])


def _by_losses(pair: tuple[tuple[float, ...], FrozenTrial]) -> tuple[tuple[float, ...], int]:
    return pair[0], pair[1].number


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))

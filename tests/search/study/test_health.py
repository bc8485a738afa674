"""The checks of a search find what they say, and nothing else."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from search.study.health import CHECKS, Trials, findings, narrow_ends

RATE = FloatDistribution(1e-4, 1e-1, log=True)
KIND = CategoricalDistribution(["a", "b", "c", "d"])
START = datetime.datetime(2026, 1, 1)


def trial(
    number: int,
    curve: Sequence[float] = (0.5, 0.8),
    state: TrialState = TrialState.COMPLETE,
    params: Mapping[str, tuple[Any, BaseDistribution]] | None = None,
    **attrs: Any,
) -> FrozenTrial:
    given = params or {}
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=state,
        value=None if state == TrialState.FAIL else curve[-1],
        datetime_start=START + datetime.timedelta(minutes=number),
        datetime_complete=START + datetime.timedelta(minutes=number + 1),
        params={name: value for name, (value, _) in given.items()},
        distributions={name: distribution for name, (_, distribution) in given.items()},
        user_attrs=attrs,
        system_attrs={},
        intermediate_values=dict(enumerate(curve, start=1)),
    )


def found(trials: Sequence[FrozenTrial], *, prunes: bool = False, **facts: Any) -> dict[str, str]:
    facts = {"settings": {"pruner": "hyperband" if prunes else "none"}, **facts}
    return {one.check.name: one.words for one in findings(Trials(trials, facts))}


def improving(count: int, **rest: Any) -> list[FrozenTrial]:
    """Trials of which each is a little better than the one before."""
    return [trial(number, (0.5, 0.7 + 0.001 * number), **rest) for number in range(count)]


def test_a_sound_search_has_no_findings() -> None:
    timed = {"seconds": 100.0, "train_seconds": 90.0, "val_seconds": 9.0, "slowest_epoch": 1.1}
    trials = improving(40, train_accuracy=0.75, **timed)
    trials += [trial(40 + i, (0.4,), TrialState.PRUNED) for i in range(10)]
    trials += [
        trial(50 + i, (0.5, 0.9 + 0.001 * i), params={"rate": (0.01, RATE)}) for i in range(10)
    ]
    assert found(trials, prunes=True) == {}
    assert found([]) == {}


def test_best_trials_at_an_end_of_a_range() -> None:
    trials = [
        trial(i, (0.9 - 0.01 * i,), params={"rate": (0.099 if i < 3 else 1e-3, RATE)})
        for i in range(20)
    ]
    assert found(trials)["best at an end of a range"] == (
        "half or more of the best 5 trials point to rate above 0.1"
    )
    assert "best at an end of a range" not in found(trials[:19])  # too few


@pytest.mark.parametrize(
    ("low", "high", "whole", "ends"),
    [
        (0.0, 1.0, False, []),
        (1, 100, True, ["above 100"]),
        (0.1, 0.5, False, ["below 0.1", "above 0.5"]),
    ],
)
def test_counts_and_rates_have_ends_that_cannot_move(
    low: float, high: float, whole: bool, ends: list[str]
) -> None:
    assert narrow_ends(low, high, whole=whole, best=4, at_low=2, at_high=2) == ends
    assert narrow_ends(low, high, whole=whole, best=2, at_low=1, at_high=1) == []


def test_few_integers_are_no_range() -> None:
    few = IntDistribution(1, 3)
    trials = [trial(i, (0.9 - 0.01 * i,), params={"layers": (3, few)}) for i in range(20)]
    assert found(trials) == {}


def with_costs(trials: Sequence[FrozenTrial], costs: Sequence[float]) -> list[FrozenTrial]:
    for one, cost in zip(trials, costs, strict=True):
        one.values = [one.values[0], cost]
    return list(trials)


def test_with_several_objectives_the_front_stands_for_the_best() -> None:
    objective = "accuracy,parameters"
    # The first two are the most accurate and the cheapest: with one objective, no progress.
    trials = with_costs([trial(0, (0.95,)), *improving(30)[1:]], [9, 1, *[10] * 28])
    assert found(trials, objective=objective) == {}

    # Half of the front is at an end of a range, though the most accurate trials are not.
    def at(end: float) -> dict[str, str]:
        rates = [(end if number < 10 else 1e-2, RATE) for number in range(20)]
        wide = [trial(i, (0.5 + 0.01 * i,), params={"rate": rates[i]}) for i in range(20)]
        return found(with_costs(wide, [*range(20)]), objective=objective)

    assert at(0.1)["best at an end of a range"] == (
        "half or more of the best 20 trials point to rate above 0.1"
    )
    assert at(1e-4) == {}  # cheap networks are at low ends on purpose


def test_no_progress_after_the_first_fifth() -> None:
    trials = [trial(0, (0.95,)), *improving(29)]
    assert found(trials)["no progress"] == (
        "trial 0 is the best, and none of the last 24 trials was better"
    )
    assert "no progress" not in found(trials[:29])
    assert "no progress" not in found(improving(30))
    later = improving(30)
    later[6] = trial(6, (0.95,))
    assert "no progress" not in found(later)
    trials[3].datetime_complete = None  # as some tool may have left it
    assert "no progress" in found(trials)


def test_a_pruner_that_saves_nothing() -> None:
    pruned = [trial(20, (0.5, 0.6), TrialState.PRUNED)]
    trials = [*improving(20), *pruned]
    assert found(trials, prunes=True)["pruning saves nothing"] == (
        "1 of 21 trials were pruned, which saved 0% of the epochs"
    )
    assert "pruning saves nothing" not in found(trials, prunes=False)
    # That of the last run counts; with KerasTuner's Hyperband there is none.
    runs = [{"settings": {"pruner": "none"}}, {"settings": {"pruner": "median"}}]
    assert "pruning saves nothing" in found(trials, runs=runs)
    assert "pruning saves nothing" not in found(trials, prunes=True, runs=runs[:1])
    assert "pruning saves nothing" not in found(trials, settings={"tuner": "hyperband"})
    saving = [trial(20 + i, (0.4,), TrialState.PRUNED) for i in range(5)]
    assert "pruning saves nothing" not in found([*improving(20), *saving], prunes=True)


def test_a_trial_that_was_ahead_of_the_best_when_pruned() -> None:
    trials = [
        trial(0, (0.5, 0.6, 0.9)),
        trial(1, (0.4, 0.65), TrialState.PRUNED),
        trial(2, (0.6, 0.6), TrialState.PRUNED),
        # Its tuner ended it, to go on with it later.
        trial(3, (0.8,), TrialState.PRUNED, keras_tuner={"epochs": 1}),
    ]
    assert found(trials)["pruned while ahead"] == (
        "1 trial (1) had a higher value when pruned than the best trial, 0, after the same epoch"
    )


def test_of_many_trials_that_were_ahead_a_few_are_named() -> None:
    ahead = [trial(i, (0.7,), TrialState.PRUNED) for i in range(1, 10_000)]
    assert found([trial(0, (0.5, 0.9)), *ahead])["pruned while ahead"].startswith(
        "9,999 trials (1, 2, 3, 4, 5 and others) had a higher value when pruned than the best trial"
    )


def test_failures_that_share_a_choice() -> None:
    good = [trial(i, params={"kind": ("abc"[i % 3], KIND)}) for i in range(18)]
    bad = [trial(18 + i, (), TrialState.FAIL, params={"kind": ("d", KIND)}) for i in range(4)]
    assert found([*good, *bad])["failures at one value"] == "4 of 4 trials with kind d failed"
    spread = [
        trial(18 + i, (), TrialState.FAIL, params={"kind": ("abcd"[i], KIND)}) for i in range(4)
    ]
    assert "failures at one value" not in found([*good, *spread])
    again = [
        trial(
            18 + i,
            (),
            TrialState.FAIL,
            bad[0].distributions and {"kind": ("d", KIND)},
            duplicate_of=1,
        )
        for i in range(4)
    ]
    assert "failures at one value" not in found([*good, *again])
    for refused in bad:
        refused.set_constraint("parameters", 0.1)
    assert "failures at one value" not in found([*good, *bad])


def test_a_best_trial_that_is_over_fitted() -> None:
    trials = [trial(0, (0.9,), train_accuracy=0.97), trial(1, (0.8,), train_accuracy=0.99)]
    assert found(trials)["over-fitting"] == (
        "the best trial, 0, has 97.00% on training images and 90.00% in validation"
    )
    assert "over-fitting" not in found([trial(0, (0.9,), train_accuracy=0.94)])
    assert "over-fitting" not in found(trials, objective="balanced_accuracy")  # of other units


def test_epochs_that_became_slower() -> None:
    trials = [
        *improving(12, slowest_epoch=1.1),
        *(trial(12 + i, slowest_epoch=2.0) for i in range(6)),
    ]
    assert found(trials)["the machine slowed down"] == (
        "in half of the last 6 trials the slowest epoch took 2.0 times as long as the fastest, or "
        "longer"
    )
    assert "the machine slowed down" not in found(trials[:14])


def test_time_outside_training() -> None:
    lost = {"seconds": 100.0, "train_seconds": 80.0, "val_seconds": 10.0}
    assert found(improving(6, **lost))["time outside training"] == (
        "10% of the workers' time was neither training nor validation"
    )
    assert "time outside training" not in found(improving(5, **lost))
    measured = {"seconds": 120.0, "train_seconds": 90.0, "val_seconds": 10.0}
    assert "time outside training" not in found(improving(6, **measured, latency_seconds=20.0))


def test_every_check_says_its_rule_and_what_to_do() -> None:
    assert all(check.rule.endswith(".") and check.advice.endswith(".") for check in CHECKS)
    assert len({check.name for check in CHECKS}) == len(CHECKS)

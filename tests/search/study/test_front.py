"""The front of a study, and the rule that chooses from it."""

from collections.abc import Sequence
from random import Random
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.errors import SettingsError
from search.study.front import best_first, choose, front, is_refused, knee, rule_words, within
from search.study.objective import Limits, Objectives, costs_of


def studied(*values: tuple[float, ...]) -> list[FrozenTrial]:
    """The trials of a study with these values: an accuracy, then costs."""
    study = optuna.create_study(directions=["maximize"] + ["minimize"] * (len(values[0]) - 1))
    names = ("parameters", "latency_ms")
    for accuracy, *costs in values:
        attrs = dict(zip(names, costs, strict=False))
        study.add_trial(create_trial(values=[accuracy, *costs], user_attrs=attrs))
    assert {trial.number for trial in front(study.trials)} == {
        trial.number for trial in study.best_trials
    }
    return study.trials


def numbers(trials: list[FrozenTrial]) -> list[int]:
    return [trial.number for trial in trials]


def test_the_front_holds_what_no_other_trial_dominates_the_most_accurate_first() -> None:
    trials = studied((0.7, 10), (0.9, 100), (0.8, 100), (0.9, 100), (0.6, 20), (0.95, 1000))
    assert numbers(front(trials)) == [5, 1, 3, 0]
    assert numbers(best_first(trials)) == [5, 1, 3, 0, 2, 4]
    unfinished = create_trial(state=TrialState.FAIL)
    assert numbers(front([*trials, unfinished])) == [5, 1, 3, 0]
    assert front([unfinished]) == []


@pytest.mark.parametrize("costs", [1, 2])
def test_the_first_of_many_trials_are_found_without_sorting_the_others(
    costs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = Random(0)
    trials = studied(*((draw.random(), *(draw.randint(1, 99),) * costs) for _ in range(300)))
    ordered = numbers(best_first(trials))
    assert sorted(ordered) == [*range(300)]
    layers: list[int] = []

    def counted(rest: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        found = front(rest)
        layers.append(len(found))
        return found

    monkeypatch.setattr("search.study.front.front", counted)
    for limit in (0, 1, 30, 150):
        layers.clear()
        assert numbers(best_first(trials, limit)) == ordered[:limit]
        assert sum(layers[:-1]) < max(limit, 1)  # no layer more than is needed


def test_three_objectives_have_a_front_too() -> None:
    assert numbers(front(studied((0.7, 10, 3.0), (0.6, 10, 2.0), (0.6, 10, 3.0)))) == [0, 1]


def test_the_knee_is_farthest_from_the_line_between_the_ends() -> None:
    # On a logarithmic scale the costs are 0, 1/3, 2/3 and 1.
    trials = studied((0.5, 1_000), (0.85, 10_000), (0.9, 100_000), (0.92, 1_000_000))
    assert knee(front(trials)).number == 1
    # Below the line the ends are the farthest: the most accurate of the two.
    assert knee(front(studied((0.5, 1), (0.6, 10), (0.9, 100)))).number == 2
    assert knee(front(studied((0.5, 10)))).number == 0
    assert knee(front(studied((0.5, 0), (0.6, 10)))).number == 1  # without any cost


def test_limits_choose_the_most_accurate_within_them() -> None:
    trials = front(studied((0.5, 1_000), (0.85, 10_000), (0.9, 100_000)))
    limits = Limits(max_params=50_000)
    assert numbers(within(trials, limits)) == [1, 0]
    assert numbers(choose(trials, limits, several=True)) == [1, 0]
    assert rule_words(limits, several=True) == "the most accurate within --max-params 50,000"
    assert choose(trials, Limits(max_params=10), several=True) == []
    unknown = Limits(max_latency_ms=1.0)  # which nobody has measured
    assert choose(trials, unknown, several=True) == []
    assert choose([], Limits(), several=True) == []
    assert numbers(choose(trials, Limits(), several=True)) == [knee(trials).number]
    assert rule_words(Limits(), several=True) == "the knee of the front"


def test_limits_with_one_objective_choose_the_most_accurate_within_them() -> None:
    trials = [
        create_trial(value=value, user_attrs={"parameters": parameters})
        for value, parameters in ((0.9, 500), (0.8, 50), (0.85, 50))
    ]
    found = choose(trials, Limits(max_params=100), several=False)
    assert [trial.value for trial in found] == [0.85, 0.8]
    found = choose([*trials, create_trial(state=TrialState.FAIL)], Limits(), several=False)
    assert [trial.value for trial in found] == [0.9, 0.85, 0.8]
    assert rule_words(Limits(), several=False) == "the most accurate"


def test_a_limit_beside_the_objectives_may_choose_a_trial_that_is_not_on_the_front() -> None:
    trials = studied((0.9, 1_000), (0.92, 2_000), (0.915, 50_000), (0.85, 900))
    for trial, flops in zip(trials, (9e6, 8e6, 1e5, 7e6), strict=True):
        trial.user_attrs["flops"] = flops
    assert numbers(choose(trials, Limits(max_flops=200_000), several=True)) == [2]
    assert numbers(choose(trials, Limits(max_flops=8_500_000), several=True)) == [1, 3]


def test_excesses_are_parts_of_the_limits() -> None:
    limits = Limits(max_params=100, max_latency_ms=2.0)
    assert limits.excesses({"parameters": 150, "flops": 9}) == {"parameters": 0.5}
    assert limits.excesses(costs_of({"parameters": 50, "latency_ms": 3.0, "seed": 1})) == {
        "parameters": -0.5,
        "latency": 0.5,
    }
    assert limits.refusal({"parameters": 100, "latency": 2.0}) == ""
    assert limits.refusal({"parameters": 100, "latency": 2.5}) == (
        "2.5 ms for one image, above --max-latency-ms 2"
    )
    assert Limits.of({"max_params": 5, "pruner": "none"}) == Limits(max_params=5)


def test_a_refused_trial_has_a_constraint_above_zero() -> None:
    trial = create_trial(value=0.5)
    assert not is_refused(trial)
    trial.set_constraint("parameters", 0.1)
    assert is_refused(trial)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accurcy", r"--objective 'accurcy' is unknown; use one of .* Did you mean 'accuracy'\?"),
        ("accuracy,params", r"--objective 'params' is unknown; .* costs: parameters, flops, laten"),
        ("accuracy,", r"--objective '' is unknown; use one of accuracy, balanced_accuracy, and"),
        ("accuracy,flops,flops", r"--objective names 'flops' twice; name each once\."),
        ("flops,accuracy", r"begins with the cost 'flops'; .* as in --objective accuracy,flops\."),
        ("accuracy,balanced_accuracy", r"names 'accuracy' and 'balanced_accuracy'; use one of th"),
    ],
)
def test_objectives_that_no_search_can_have_are_refused(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Objectives.read(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("accuracy", {"names": ["val_accuracy"], "several": False}),
        (
            "balanced_accuracy, latency,parameters",
            {
                "text": "balanced_accuracy,parameters,latency",
                "names": ["val_balanced_accuracy", "parameters", "latency_ms"],
                "directions": ["maximize", "minimize", "minimize"],
                "words": "validation balanced accuracy",
                "several": True,
            },
        ),
    ],
)
def test_neither_the_order_of_costs_nor_spaces_matter(text: str, expected: dict[str, Any]) -> None:
    objectives = Objectives.read(text)
    assert {name: getattr(objectives, name) for name in expected} == expected

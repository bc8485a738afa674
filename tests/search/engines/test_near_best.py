"""The sampler that stays near the best trials."""

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from search.engines.optuna_engine import OptunaEngine

SPACE: dict[str, Any] = {
    "kind": CategoricalDistribution(["a", "b", "c"]),
    "whole": IntDistribution(1, 33, step=2),
    "wide": IntDistribution(16, 512, log=True),
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "share": FloatDistribution(0.0, 0.5, step=0.05),
    "flag": CategoricalDistribution([True, False]),
}
GOOD = {"kind": "b", "whole": 9, "wide": 128, "rate": 3e-3, "share": 0.1, "flag": True}


def proposals(
    count: int, *, worse: int = 0, first: dict[str, Any] | None = GOOD
) -> list[FrozenTrial]:
    """What is proposed after one known good trial and so many bad sampled ones."""
    study = optuna.create_study(direction="maximize")
    if first is not None:
        study.enqueue_trial(first, user_attrs={"known_as": "default"})
    engine = OptunaEngine(study, sampler="near-best", pruner="none", seed=0, max_epochs=8)
    for number in range(worse + count + (first is not None)):
        trial = engine.ask()
        assert trial is not None
        for name, distribution in SPACE.items():
            engine.suggest(trial, name, distribution)
        engine.complete(trial, 0.9 if first is not None and number == 0 else 0.1)
    return study.trials[-count:]


def kept(trial: FrozenTrial) -> int:
    return sum(trial.params[name] == value for name, value in GOOD.items())


def test_first_proposals_are_variants_of_what_is_known_to_be_good() -> None:
    found = proposals(12)
    assert sum(kept(trial) >= 4 for trial in found) >= 4  # by chance: none
    assert any(kept(trial) < 6 for trial in found)


def test_a_variant_of_many_hyperparameters_changes_few() -> None:
    space = {f"x{number}": IntDistribution(0, 100) for number in range(40)}
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial(dict.fromkeys(space, 50), user_attrs={"known_as": "default"})
    engine = OptunaEngine(study, sampler="near-best", pruner="none", seed=0, max_epochs=8)
    changed = []
    for number in range(13):
        trial = engine.ask()
        assert trial is not None
        values = [engine.suggest(trial, name, kind) for name, kind in space.items()]
        changed.append(sum(value != 50 for value in values))
        engine.complete(trial, 0.1 if number else 0.9)
    assert sum(1 <= count <= 6 for count in changed[1:]) >= 5  # by chance: none
    assert all(changed[1:])


def test_evidence_makes_variants_rarer() -> None:
    early, late = proposals(20), proposals(20, worse=60)
    assert sum(kept(trial) >= 5 for trial in early) > sum(kept(trial) >= 5 for trial in late)


def test_every_proposal_is_a_value_of_the_space() -> None:
    for trial in proposals(60):
        assert trial.params["whole"] in range(1, 34, 2)
        assert 16 <= trial.params["wide"] <= 512
        assert 1e-4 <= trial.params["rate"] <= 1e-1
        assert trial.params["share"] in [round(0.05 * step, 2) for step in range(11)]


def test_without_anything_known_it_samples_too() -> None:
    assert len({trial.params["wide"] for trial in proposals(12, first=None)}) > 3


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAIL])
def test_trials_that_did_not_complete_are_no_better_than_those_that_did(state: TrialState) -> None:
    study = optuna.create_study(direction="maximize")
    for params, value, ending in (
        (GOOD, 0.5, TrialState.COMPLETE),
        (GOOD | {"kind": "a", "flag": False, "whole": 31}, 0.9, state),
    ):
        study.add_trial(
            optuna.create_trial(
                params=params,
                distributions=SPACE,
                intermediate_values={2: value},
                value=value if ending == TrialState.COMPLETE else None,
                state=ending,
            )
        )
    engine = OptunaEngine(study, sampler="near-best", pruner="none", seed=1, max_epochs=8)
    near_good = 0
    for _ in range(60):
        trial = engine.ask()
        assert trial is not None
        values = {name: engine.suggest(trial, name, SPACE[name]) for name in SPACE}
        near_good += values["kind"] == "b" and values["flag"] is True
        engine.fail(trial)
    assert near_good >= 16  # by chance: 10


def test_a_variant_differs_from_its_centre_even_in_a_tiny_space() -> None:
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial({"whole": 2}, user_attrs={"known_as": "default"})
    engine = OptunaEngine(study, sampler="near-best", pruner="none", seed=0, max_epochs=8)
    duplicates = 0
    for number in range(30):
        trial = engine.ask()
        assert trial is not None
        engine.suggest(trial, "whole", IntDistribution(1, 1000))
        if engine.duplicate_of(trial) is not None:
            duplicates += 1
            engine.fail(trial)
        else:
            engine.complete(trial, 0.9 - 0.001 * number)
    assert duplicates <= 1


@pytest.mark.parametrize("cut", range(len(SPACE)))
def test_a_trial_that_is_cut_off_between_two_values_is_continued_as_it_was(cut: int) -> None:
    found = []
    for restarts in (False, True):
        study = optuna.create_study(direction="maximize")
        study.enqueue_trial(GOOD, user_attrs={"known_as": "default"})
        values: list[dict[str, Any]] = []
        for number in range(10):
            engine = OptunaEngine(study, sampler="near-best", pruner="none", seed=3, max_epochs=8)
            trial = engine.ask()
            assert trial is not None
            if restarts:
                for name in list(SPACE)[:cut]:
                    engine.suggest(trial, name, SPACE[name])
                engine.requeue(trial)
                trial = engine.ask()
                assert trial is not None
            values.append({name: engine.suggest(trial, name, SPACE[name]) for name in SPACE})
            engine.complete(trial, 0.9 if number == 0 else 0.1)
        found.append(values)
    assert found[0] == found[1]


def test_a_choice_among_equal_values_stays_as_it_is() -> None:
    study = optuna.create_study(direction="maximize")
    engine = OptunaEngine(study, sampler="near-best", pruner="none", seed=0, max_epochs=8)
    for _ in range(12):
        trial = engine.ask()
        assert trial is not None
        assert engine.suggest(trial, "kernel", CategoricalDistribution([3, 3])) == 3
        engine.suggest(trial, "rate", FloatDistribution(0.0, 1.0))
        engine.complete(trial, 0.5)

"""The Optuna engine, without workers."""

import contextlib
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from search.engines.optuna_engine import OptunaEngine
from search.engines.pruners import PRUNERS, Rungs
from search.engines.trials import StudyTrials
from search.errors import StudyError, UnusableError
from search.study.facts import check_study
from search.study.requests import ENQUEUED
from search.study.storage import open_storage
from search.study.study import GIVEN, enqueue_first, trial_params


def make(study: optuna.Study, **flags: Any) -> OptunaEngine:
    given = {"sampler": "random", "pruner": "none", "seed": 0, "max_epochs": 9} | flags
    return OptunaEngine(study, **given)


def ask(engine: OptunaEngine) -> optuna.Trial:
    trial = engine.ask()
    assert trial is not None
    return trial


def test_a_configuration_that_is_enqueued_at_the_last_moment_keeps_its_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = optuna.create_study()
    engine = make(study)
    # Another process enqueues it between the engine's look and Optuna's.
    monkeypatch.setattr(StudyTrials, "waiting", lambda trials: [])
    study.enqueue_trial({"x": 7}, user_attrs={GIVEN: {"x": 7}, ENQUEUED: {}})
    assert engine.suggest(ask(engine), "x", FloatDistribution(0, 1)) == 7


def test_a_trial_draws_the_same_whatever_runs_in_parallel() -> None:
    values = []
    for beside in (False, True):
        engine = make(optuna.create_study())
        trial = ask(engine)
        if beside:
            engine.suggest(ask(engine), "x", FloatDistribution(0, 1))
        values.append(engine.suggest(trial, "x", FloatDistribution(0, 1)))
    assert values[0] == values[1]


@pytest.mark.parametrize(
    ("first", "other", "words"),
    [
        (
            CategoricalDistribution([32, 64]),
            CategoricalDistribution([8, 16]),
            "has the choices 8, 16, but was first defined with the choices 32, 64",
        ),
        (
            FloatDistribution(0.001, 0.1, log=True),
            FloatDistribution(0.001, 0.1),
            "has the numbers 0.001 to 0.1, but was first defined with the numbers 0.001 to 0.1 on "
            "a logarithmic scale",
        ),
        (
            IntDistribution(1, 3),
            CategoricalDistribution([8, 16]),
            "has the choices 8, 16, but was first defined with the whole numbers 1 to 3",
        ),
        (
            CategoricalDistribution([1, 2]),
            IntDistribution(5, 9),
            "has the whole numbers 5 to 9, but was first defined with the choices 1, 2",
        ),
    ],
)
@pytest.mark.parametrize("continued", [False, True])
def test_the_first_of_two_definitions_counts(first, other, words, continued) -> None:
    study = optuna.create_study()
    notes: list[str] = []
    engine = make(study, note=notes.append)
    engine.suggest(ask(engine), "x", first)
    if continued:
        engine = make(study, note=notes.append)
    for _ in range(5):
        trial = ask(engine)
        assert first._contains(first.to_internal_repr(engine.suggest(trial, "x", other)))
        assert trial.distributions["x"] == first
    (note,) = notes
    assert note.startswith(f"trial 1: hyperparameter 'x' {words}; the first definition counts")
    assert "give them two names" in note
    assert "--study NAME" in note


def test_a_range_may_depend_on_another_hyperparameter() -> None:
    notes: list[str] = []
    engine = make(optuna.create_study(), note=notes.append)
    for high in (1, 2, 3):
        assert engine.suggest(ask(engine), "x", IntDistribution(high, high)) == high
    assert not notes


def test_an_enqueued_value_that_a_hyperparameter_cannot_have_is_refused_by_name() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"x": 3})
    engine = make(study)
    with pytest.raises(
        StudyError, match=r"hyperparameter 'x' has different values in study .* --study"
    ):
        engine.suggest(ask(engine), "x", CategoricalDistribution([1, 2]))


@pytest.mark.parametrize(
    ("distribution", "value"),
    [
        (CategoricalDistribution([1.0, float("inf")]), "inf"),
        (CategoricalDistribution([float("nan"), 1.0]), "nan"),
        (CategoricalDistribution([1, 2**63]), str(2**63)),
        (IntDistribution(1, 2**64), str(2**64)),
        (FloatDistribution(0.0, float("inf")), "inf"),
    ],
)
def test_a_hyperparameter_that_a_study_cannot_store_is_refused_by_name(
    distribution: BaseDistribution, value: str
) -> None:
    study = optuna.create_study(direction="maximize")
    engine = make(study)
    trial = ask(engine)
    with pytest.raises(UnusableError, match=f"^hyperparameter 'x' allows {value}, which a study"):
        engine.suggest(trial, "x", distribution)
    engine.suggest(trial, "y", CategoricalDistribution([1, 2**63 - 1, None, "inf"]))
    assert study.trials[0].params.keys() == {"y"}
    check_study(study)


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median"])
@pytest.mark.parametrize("cut_off", [1, 2, 3, 4])
def test_a_requeued_trial_is_pruned_where_it_was(pruner: str, cut_off: int) -> None:
    verdicts = []
    for interrupted in (False, True):
        study = optuna.create_study(study_name="fixed", direction="maximize")
        engine = make(study, pruner=pruner)
        ends: list[tuple[int, int]] = []
        for number in range(20):
            trial = ask(engine)
            value = 0.5 + 0.02 * ((number * 7) % 11)
            epoch = 0
            while epoch < 9:
                epoch += 1
                stop = engine.report(trial, epoch, value + 0.001 * epoch)
                if interrupted and epoch == cut_off:
                    engine.requeue(trial)
                    trial, interrupted_trial = ask(engine), trial
                    assert trial.number == interrupted_trial.number
                    again = [
                        engine.report(trial, step, value + 0.001 * step)
                        for step in range(1, epoch + 1)
                    ]
                    assert again == [False] * (epoch - 1) + [stop]
                if stop:
                    break
            ends.append((trial.number, epoch))
            engine.prune(trial) if epoch < 9 else engine.complete(trial, value)
        verdicts.append(ends)
    assert verdicts[0] == verdicts[1]
    assert any(epoch < 9 for _, epoch in verdicts[0])


def test_a_requeued_trial_keeps_the_values_of_epochs_that_it_reports_again() -> None:
    study = optuna.create_study(direction="maximize")
    engine = make(study)
    for values in ((0.1, 0.2), (0.3, 0.4, 0.5)):
        trial = ask(engine)
        for epoch, value in enumerate(values, start=1):
            engine.report(trial, epoch, value)
        engine.requeue(trial)
    assert study.trials[0].intermediate_values == {1: 0.1, 2: 0.2, 3: 0.5}


def test_a_requeued_trial_runs_although_the_space_is_exhausted(tmp_path: Path) -> None:
    study = optuna.create_study(storage=open_storage(tmp_path / "study.journal", None))
    engine = make(study, sampler="grid")
    held = ask(engine)
    engine.suggest(held, "x", IntDistribution(1, 1))
    assert engine.duplicate_of(held) is None
    while (trial := engine.ask()) is not None:
        engine.suggest(trial, "x", IntDistribution(1, 1))
        assert engine.duplicate_of(trial) == held.number
        engine.fail(trial)
    engine.requeue(held)
    assert ask(engine).number == held.number


def test_what_never_trained_may_be_tried_again_in_another_run() -> None:
    study = optuna.create_study()
    for _ in range(2):
        engine = make(study)
        trial = ask(engine)
        engine.suggest(trial, "x", IntDistribution(1, 1))
        assert engine.duplicate_of(trial) is None
        engine.fail(trial)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 2


def test_what_failed_is_tried_again_in_the_same_run_if_it_is_enqueued() -> None:
    study = optuna.create_study(direction="maximize")
    engine = make(study)

    def asked() -> optuna.Trial:
        trial = ask(engine)
        engine.suggest(trial, "x", IntDistribution(1, 1))
        return trial

    failed = asked()
    assert engine.duplicate_of(failed) is None
    engine.fail(failed)
    proposed = asked()
    assert engine.duplicate_of(proposed) == failed.number
    engine.fail(proposed)
    for earlier in (None, 2):
        study.enqueue_trial({"x": 1}, user_attrs={GIVEN: {"x": 1}, ENQUEUED: {}})
        enqueued = asked()
        assert engine.duplicate_of(enqueued) == earlier
        engine.complete(enqueued, 0.5)


def test_the_best_third_of_all_trials_that_reached_a_rung_goes_on() -> None:
    study = optuna.create_study(direction="maximize")
    engine = make(study, pruner="asha", max_epochs=9)
    # At epoch 2, one of three goes on, two of four to six, three of seven to nine, and ties. At
    # epoch 4, only those that got there compete.
    trials = [
        (0.5, 9),
        (0.4, 2),
        (0.3, 2),
        (0.45, 4),
        (0.6, 9),
        (0.5, 9),
        (0.5, 9),
        (math.nan, 2),
        (0.6, 9),
    ]
    for value, last in trials:
        trial = ask(engine)
        verdicts = [engine.report(trial, epoch, value) for epoch in range(1, last + 1)]
        assert verdicts == [False] * (last - 1) + [last < 9]
        engine.prune(trial)


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median"])
def test_a_verdict_stands_although_better_trials_have_come_since(
    pruner: str, tmp_path: Path
) -> None:
    storage = open_storage(tmp_path / "study.journal", None)
    study = optuna.create_study(study_name="fixed", storage=storage, direction="maximize")
    engine = make(study, pruner=pruner, max_epochs=9)
    for _ in range(6):  # fewer, and the median would stop none
        trial = ask(engine)
        assert not any(engine.report(trial, epoch, 0.5) for epoch in range(1, 10))
        engine.complete(trial, 0.5)
    cut_off = [ask(engine), ask(engine)]
    values = [0.5, 0.1]  # goes on, is stopped

    def trained(trial: optuna.Trial, value: float) -> int:
        return next((one for one in range(1, 5) if engine.report(trial, one, value)), 9)

    ends = [trained(trial, value) for trial, value in zip(cut_off, values, strict=True)]
    assert ends[0] == 9
    assert ends[1] in (2, 4)
    better = [ask(engine) for _ in range(8)]
    for trial in better:
        for epoch in range(1, 10):
            engine.report(trial, epoch, 0.9)
        engine.complete(trial, 0.9)
    for trial, value, end in zip(cut_off, values, ends, strict=True):
        engine.requeue(trial)
        again = ask(engine)
        assert again.number == trial.number
        assert trained(again, value) == end


@pytest.mark.parametrize("pruner", [name for name in PRUNERS if name != "none"])
@pytest.mark.parametrize("max_epochs", [1, 2, 3, 4, 5, 8, 10, 15, 20])
def test_no_trial_is_judged_in_the_first_fifth_or_the_second_half_of_its_epochs(
    pruner: str, max_epochs: int
) -> None:
    study = optuna.create_study(direction="maximize", study_name="fixed")
    engine = make(study, pruner=pruner, max_epochs=max_epochs)
    verdicts = set()
    for number in range(40):
        trial = ask(engine)
        for epoch in range(1, max_epochs + 1):
            if engine.report(trial, epoch, 0.9 - 0.01 * number):
                verdicts.add(epoch)
                engine.prune(trial)
                break
        else:
            engine.complete(trial, 0.9 - 0.01 * number)
    assert all(max(2, max_epochs / 5) <= epoch <= max_epochs / 2 for epoch in verdicts)
    assert bool(verdicts) == (max_epochs > 3)


def test_a_known_configuration_may_have_values_that_no_search_samples() -> None:
    study = optuna.create_study(direction="maximize")
    enqueue_first(study, {"published": {"x": 3, "rate": 9.0, "kept": 0.5}})
    engine = make(study)
    trial = ask(engine)
    assert engine.suggest(trial, "x", CategoricalDistribution([1, 2])) == 3
    assert engine.suggest(trial, "rate", FloatDistribution(0.0, 1.0)) == 9.0
    assert engine.suggest(trial, "kept", FloatDistribution(0.0, 1.0)) == 0.5
    engine.complete(trial, 0.9)
    assert study.trials[0].params == {"kept": 0.5}
    assert trial_params(study.trials[0]) == {"x": 3, "rate": 9.0, "kept": 0.5}
    assert engine.suggest(ask(engine), "x", CategoricalDistribution([1, 2])) in (1, 2)


@pytest.mark.parametrize("max_epochs", [1, 2, 8, 40])
@pytest.mark.parametrize("pruner", PRUNERS)
def test_the_epochs_after_which_a_pruner_stops_trials_are_known(
    pruner: str, max_epochs: int
) -> None:
    engine = make(optuna.create_study(direction="maximize"), pruner=pruner, max_epochs=max_epochs)
    stops = set()
    # Average trials, then ones that lead until they learn no more: at each epoch, in each bracket.
    for learnt in [max_epochs] * 20 + [*range(max_epochs)] * 10:
        trial = engine.ask()
        assert trial is not None
        lead = 0.0 if learnt == max_epochs else 0.001
        for epoch in range(1, max_epochs + 1):
            if engine.report(trial, epoch, 0.3 + 0.01 * min(epoch, learnt) + lead):
                stops.add(epoch)
                break
        if learnt == max_epochs:
            engine.complete(trial, 0.5)
        else:
            engine.prune(trial)
    assert sorted(stops) == PRUNERS[pruner].epochs(Rungs.of(max_epochs))


class Cut(Exception):
    """The coordinator is killed."""


def verdicts(study: optuna.Study, pruner: str, cut: int | None) -> list[list[bool]]:
    """Run 25 trials; cut off each of their reports before its write `cut`, and continue."""
    storage, left = study._storage, [-1]

    def counted(write: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any, **named: Any) -> None:
            if left[0] == 0:
                raise Cut
            left[0] -= 1
            write(*arguments, **named)

        return call

    for name in ("intermediate_value", "system_attr", "user_attr"):
        setattr(storage, f"set_trial_{name}", counted(getattr(storage, f"set_trial_{name}")))
    engine, found = make(study, pruner=pruner, max_epochs=8), []
    values = random.Random(0)
    for _ in range(25):
        trial, said = ask(engine), list[bool]()
        curve = [values.random() for _ in range(8)]
        for epoch in range(1, 9):
            if cut is not None:
                left[0] = cut
                with contextlib.suppress(Cut):
                    engine.report(trial, epoch, curve[epoch - 1])
                left[0] = -1
                engine.requeue(trial)
                engine = make(study, pruner=pruner, max_epochs=8)
                trial = ask(engine)
                again = [engine.report(trial, each, curve[each - 1]) for each in range(1, epoch)]
                assert again == said
            said.append(engine.report(trial, epoch, curve[epoch - 1]))
            if said[-1]:
                engine.prune(trial)
                break
        else:
            engine.complete(trial, curve[-1])
        found.append(said)
    return found


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_report_that_was_cut_off_anywhere_changes_no_verdict(pruner: str) -> None:
    def studied() -> optuna.Study:
        return optuna.create_study(direction="maximize", study_name="fixed")

    expected = verdicts(studied(), pruner, None)
    assert any(any(said) for said in expected) or pruner == "none"
    for cut in range(5):
        study = studied()
        assert verdicts(study, pruner, cut) == expected, cut
        check_study(study)


def begun(engine: OptunaEngine, space: dict[str, BaseDistribution]) -> optuna.Trial | None:
    """Begin a trial and ask for all that a space has."""
    trial = engine.ask()
    if trial is not None:
        for name, distribution in space.items():
            engine.suggest(trial, name, distribution)
    return trial


@pytest.mark.parametrize("sampler", ["near-best", "tpe", "random", "grid"])
def test_trials_that_lack_hyperparameters_do_not_end_the_enumeration(sampler: str) -> None:
    space: dict[str, BaseDistribution] = {name: IntDistribution(1, 3) for name in "abc"}
    study = optuna.create_study(direction="maximize")
    enqueue_first(study, {"other range": {"a": 1, "b": 5, "c": 1}})
    engine = make(study, sampler=sampler)
    first = begun(engine, space)
    assert first is not None
    assert engine.duplicate_of(first) is None
    engine.complete(first, 0.5)
    cut_off = begun(engine, {"a": space["a"]})  # it failed, say, in a dashboard
    assert cut_off is not None
    engine.fail(cut_off)
    while (trial := begun(engine, space)) is not None:
        if engine.duplicate_of(trial) is None:
            engine.complete(trial, 0.5)
        else:
            engine.fail(trial)
    tried = [trial.params for trial in study.trials[1:] if trial.state == TrialState.COMPLETE]
    assert len(tried) == len({tuple(params.values()) for params in tried}) == 27


def test_trials_that_disagree_about_the_space_are_not_enumerated() -> None:
    study = optuna.create_study(direction="maximize")
    engine = make(study, sampler="grid")
    for names in ("ab", "ba", "ab", "ba"):  # which follows which is not known from the answers
        trial = begun(engine, {name: IntDistribution(1, 9) for name in names})
        assert trial is not None
        assert trial.params.keys() == {"a", "b"}
        engine.complete(trial, 0.5)


def test_configurations_that_a_search_begins_with_are_not_its_proposals() -> None:
    study = optuna.create_study(direction="maximize")
    enqueue_first(study, {f"old trial {x}": {"x": x} for x in range(8)})
    space: dict[str, BaseDistribution] = {"x": IntDistribution(0, 9_999)}
    for _ in range(8):
        trial = begun(make(study), space)
        assert trial is not None
        make(study).complete(trial, 0.5)
    enqueue_first(study, {f"other name {x}": {"x": x} for x in range(8)})
    assert not study.get_trials(states=(TrialState.WAITING,))
    # An earlier version enqueued them again, and took them for proposals.
    for _ in range(7):
        study.enqueue_trial({"x": 1}, user_attrs={"known_as": "other name", GIVEN: {"x": 1}})
    engine = make(study)
    for _ in range(7):
        again = begun(engine, space)
        assert again is not None
        assert engine.duplicate_of(again) == 1
        again.set_user_attr("duplicate_of", 1)
        engine.fail(again)
    for continued in (engine, make(study)):
        proposed = begun(continued, space)
        assert proposed is not None
        assert continued.duplicate_of(proposed) is None

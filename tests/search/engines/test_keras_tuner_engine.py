"""KerasTuner's tuners in a search, beyond the contract of all engines."""

import shutil
from functools import partial
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from search.engines.tuners import TUNERS
from search.errors import StopReason
from search.settings import SearchSettings
from search.study.study import ENGINE_FACTS, FINISHED
from tests.search.harness import RecordingDisplay, engine_of, search
from tests.search.simulated import SPACES


def rungs(study: optuna.Study) -> dict[int, tuple[FrozenTrial, dict[str, int]]]:
    return {
        trial.number: (trial, trial.user_attrs[ENGINE_FACTS])
        for trial in study.get_trials(states=FINISHED)
    }


def test_hyperband_continues_the_best_of_a_round_from_their_checkpoints(tmp_path: Path) -> None:
    study, reason = search(
        tmp_path, space="conditional", algorithm="keras-tuner:hyperband", trials=30
    )
    assert reason is None
    found = rungs(study)
    # Source: KerasTuner's own rule for 9 epochs and factor 3.
    assert {(rung["initial_epoch"], rung["epochs"]) for _, rung in found.values()} == {
        *((0, 1), (1, 3), (3, 9)),
        *((0, 3), (0, 9)),
    }
    for trial, rung in found.values():
        epochs = range(rung["initial_epoch"] + 1, rung["epochs"] + 1)
        assert sorted(trial.intermediate_values) == list(epochs)
        # The simulated workers have checked that they got the right checkpoint.
        assert trial.user_attrs["epochs"] == len(epochs)
        assert trial.state == (TrialState.COMPLETE if epochs[-1] == 9 else TrialState.PRUNED)
        assert not any(name.startswith("tuner/") for name in trial.params)
        if rung["promoted_from"] is None:
            continue
        parent, before = found[rung["promoted_from"]]
        assert trial.params == parent.params
        assert (before["bracket"], before["round"]) == (rung["bracket"], rung["round"] - 1)
        passed_over = [
            other.intermediate_values[before["epochs"]]
            for other, one in found.values()
            if (one["bracket"], one["round"]) == (before["bracket"], before["round"])
            and other.number < trial.number
            and not any(third["promoted_from"] == other.number for _, third in found.values())
        ]
        assert parent.intermediate_values[before["epochs"]] >= max(passed_over)


def test_only_checkpoints_that_may_be_needed_are_kept(tmp_path: Path) -> None:
    flags = {"space": "conditional", "algorithm": "keras-tuner:hyperband", "workers": 1}
    kept = {}
    # 9 trials of the first bracket's first round, 3 of its second, then other brackets.
    for trials in (8, 11, 20):
        study, _ = search(tmp_path, trials=trials, **flags)
        kept[trials] = {int(file.stem) for file in (tmp_path / "checkpoints").iterdir()}
    assert kept[8] == set(range(8))
    promoted = {rung["promoted_from"] for number, (_, rung) in rungs(study).items() if number < 11}
    assert kept[11] == set(range(11)) - promoted
    assert not kept[20] & set(range(12))


def test_without_its_checkpoint_a_promoted_trial_starts_anew(tmp_path: Path) -> None:
    flags = {"space": "conditional", "algorithm": "keras-tuner:hyperband", "workers": 1}
    study, _ = search(tmp_path, trials=6, **flags)
    shutil.rmtree(tmp_path / "checkpoints")
    display = RecordingDisplay()
    study, _ = search(tmp_path, trials=20, display=display, **flags)
    lost = [line for line in display.lines if "is gone; it starts from epoch 1" in line]
    number = int(lost[0].split()[1].rstrip(":"))
    trial = study.trials[number]
    assert sorted(trial.intermediate_values) == list(range(1, trial.user_attrs["epochs"] + 1))
    assert len(study.get_trials(states=FINISHED)) == 20


@pytest.mark.parametrize(
    ("tuner", "space", "place"),
    [
        *((tuner, "sometimes failing", "") for tuner in ("hyperband", "bayesian", "grid")),
        ("hyperband", "sometimes dying", "@processes"),
    ],
)
def test_failures_neither_abort_nor_starve(
    tmp_path: Path, tuner: str, space: str, place: str
) -> None:
    study, reason = search(
        tmp_path,
        space=space,
        algorithm=f"keras-tuner:{tuner}{place}",
        trials=5 if tuner == "grid" else 16,
        max_failures=100,
    )
    assert reason is None
    failed = study.get_trials(states=(TrialState.FAIL,))
    assert failed
    assert len(study.get_trials(states=FINISHED)) == (5 if tuner == "grid" else 16)
    promoted = {trial.user_attrs[ENGINE_FACTS].get("promoted_from") for trial in study.trials}
    assert not promoted & {trial.number for trial in failed}


def test_the_gaussian_process_begins_after_a_quarter_of_the_trials(tmp_path: Path) -> None:
    params = {}
    for tuner in ("random", "bayesian"):
        (tmp_path / tuner).mkdir()
        flags = {"space": "finite", "workers": 1, "pruner": "none", "trials": 12}
        study, _ = search(tmp_path / tuner, algorithm=f"keras-tuner:{tuner}", **flags)
        params[tuner] = [trial.params for trial in study.trials]
    assert params["random"][:3] == params["bayesian"][:3]
    assert params["random"][3:] != params["bayesian"][3:]


def test_another_tuner_may_continue_a_study(tmp_path: Path) -> None:
    order = ((4, "hyperband"), (8, "bayesian"), (10, "grid"), (14, "hyperband"), (16, "grid"))
    for trials, tuner in order:
        study, reason = search(
            tmp_path, space="conditional", algorithm=f"keras-tuner:{tuner}", trials=trials
        )
        assert reason is None
    tuners = [trial.user_attrs[ENGINE_FACTS]["tuner"] for trial in study.trials]
    assert tuners == [
        *["hyperband"] * 4,
        *["bayesian"] * 4,
        *["grid"] * 2,
        *["hyperband"] * 4,
        *["grid"] * 2,
    ]


@pytest.mark.parametrize("tuner", ["random", "grid"])
def test_configurations_that_differ_in_unread_values_alone_are_not_proposed(
    tmp_path: Path, tuner: str
) -> None:
    flags = {"space": "unscoped", "workers": 1, "pruner": "none", "trials": 50}
    study, reason = search(tmp_path, algorithm=f"keras-tuner:{tuner}", **flags)
    assert reason == StopReason.EXHAUSTED
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 12


def test_first_configurations_are_known_to_the_oracle(tmp_path: Path) -> None:
    first = {"one": {"x": 1, "kind": "a"}, "two": {"x": 4, "kind": "c"}}
    study, reason = search(
        tmp_path, space="finite", algorithm="keras-tuner:random", trials=30, first=first
    )
    assert reason == StopReason.EXHAUSTED
    assert [trial.params for trial in study.trials[:2]] == list(first.values())
    assert len(study.trials) == 12


def test_the_gaussian_process_leaves_a_corner_where_trials_fail(tmp_path: Path) -> None:
    study, reason = search(
        tmp_path,
        space="failing at its best",
        algorithm="keras-tuner:bayesian",
        trials=16,
        workers=1,
        max_failures=20,  # KerasTuner's own would fail there for ever
    )
    assert reason is None
    assert len(study.get_trials(states=FINISHED)) == 16
    assert study.best_trial.params["x"] > 0.4


def test_a_grid_begins_with_the_defaults_and_keeps_all_workers_busy(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize")
    settings = SearchSettings(engine="keras-tuner", tuner="grid", trials=90)
    engine = engine_of(settings, study, "finite conditional")
    asked = [engine.ask() for _ in range(5)]
    names = ("kind", "wide", "rate")
    proposed = [study.trials[trial.number].system_attrs["fixed_params"] for trial in asked if trial]
    assert [tuple(params.get(name) for name in names) for params in proposed] == [
        ("plain", False, None),
        ("plain", True, None),
        ("dropout", False, 0.0),
        ("dropout", True, 0.0),
        ("dropout", False, 0.1),
    ]


def test_a_trial_that_somebody_ends_in_the_dashboard_holds_up_no_bracket(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize")
    settings = SearchSettings(engine="keras-tuner", tuner="hyperband", epochs=9, trials=90)
    engine = engine_of(settings, study, "conditional")
    first = engine.ask()
    assert first is not None
    study.tell(first.number, state=TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError):
        engine.fail(first)
    promoted = []
    for _ in range(14):
        trial = engine.ask()
        assert trial is not None
        SPACES["conditional"](partial(engine.suggest, trial))
        budget = engine.budget(trial, range(90))
        for epoch in range(budget.initial_epoch + 1, budget.epochs + 1):
            engine.report(trial, epoch, 0.5 + trial.number / 100)
        engine.prune(trial)
        promoted += [budget.parent] if budget.parent is not None else []
    assert promoted
    assert first.number not in promoted


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_checkpoint_of_a_running_trials_parent_is_kept(workers: int) -> None:
    study = optuna.create_study(direction="maximize")
    settings = SearchSettings(engine="keras-tuner", tuner="hyperband", trials=60, epochs=9)
    engine = engine_of(settings, study, "conditional")
    running: list[optuna.Trial] = []
    continued = 0
    for number in range(60):
        while len(running) < workers and (trial := engine.ask()) is not None:
            running.append(trial)
        parents = {
            trial.user_attrs["keras_tuner"]["promoted_from"]
            for trial in running
            if "keras_tuner" in trial.user_attrs
        } - {None}
        continued += len(parents)
        assert parents <= engine.promotable()
        if parents:  # a search that is continued now has to know them too
            assert parents <= engine_of(settings, study, "conditional").promotable()
        engine.complete(running.pop(0), number % 7 / 7)
    assert continued > 5


@pytest.mark.parametrize("seed", [0, 2**32 - 2, 2**32 - 1, 2**63 - 1])
def test_every_seed_that_a_search_may_have_is_one_for_the_oracles(seed: int) -> None:
    for tuner in TUNERS:
        study = optuna.create_study(direction="maximize")
        settings = SearchSettings(engine="keras-tuner", tuner=tuner, trials=8, epochs=2, seed=seed)
        assert engine_of(settings, study, "conditional").ask() is not None

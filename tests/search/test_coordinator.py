"""What a search survives, over real processes where they really die, hang and freeze."""

import re
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from optuna_dashboard._note import get_note_from_system_attrs

from search import attempt, coordinator
from search.dry_run import seconds_left
from search.engines.samplers import make_sampler
from search.errors import SearchError, StopReason, StorageError
from search.length import Plan, Speed, TimeLeft
from search.outcome import Outcome, outcome_of
from search.settings import SearchSettings
from search.study.database import Outages
from search.study.front import front, is_refused
from search.study.objective import Limits
from search.study.storage import storage_errors
from search.study.study import ENGINE_FACTS, FINISHED, front_of, trial_params
from spaces import DataShape
from tests.search.harness import RecordingDisplay, load, search

anywhere = pytest.mark.parametrize(
    "algorithm",
    ["random@processes", pytest.param("random@cluster", marks=pytest.mark.xdist_group("cluster"))],
)


@anywhere
def test_workers_killed_in_mid_trial_cost_no_trial(tmp_path: Path, algorithm: str) -> None:
    # A configuration that kills its worker each time fails after three attempts.
    study, _ = search(tmp_path, space="sometimes dying", trials=8, algorithm=algorithm)
    assert len(study.get_trials(states=FINISHED)) == 8
    failed = study.get_trials(states=(TrialState.FAIL,))
    assert failed
    for trial in failed:
        assert trial.params["x"] < 0.4
        assert re.fullmatch(r"worker died \(.+\), 3 times", trial.user_attrs["reason"])
        assert len(trial.user_attrs["attempts"]) == 3


def test_failed_trials_are_recorded_with_their_reason_and_replaced(tmp_path: Path) -> None:
    study, _ = search(tmp_path, space="sometimes failing", trials=8, algorithm="random")
    assert len(study.get_trials(states=FINISHED)) == 8
    for trial in study.get_trials(states=(TrialState.FAIL,)):
        assert trial.user_attrs["reason"] == "ValueError: simulated"
        assert "Traceback" in trial.user_attrs["traceback"]


def test_failures_in_a_row_end_the_search_and_show_the_traceback(tmp_path: Path) -> None:
    display = RecordingDisplay()
    with pytest.raises(SearchError, match=r"^4 trials failed in a row; last reason: ValueError: s"):
        search(tmp_path, space="failing", trials=8, max_failures=4, workers=1, display=display)
    assert "Traceback ... simulated" in display.lines
    study = load(tmp_path)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 4


def test_a_finite_space_that_always_fails_ends_in_an_error(tmp_path: Path) -> None:
    message = "every configuration of the space has failed; last reason: ValueError: simulated"
    with pytest.raises(SearchError, match=message):
        search(tmp_path, space="finite failing", trials=30, max_failures=99)


def test_a_finite_space_above_a_limit_ends_in_an_error(tmp_path: Path) -> None:
    message = (
        r"^every configuration of the space was rejected; last reason: \d+ parameters, .+ "
        r"--max-params 10\. Raise --max-params, or "
        r"search another --space\.$"
    )
    with pytest.raises(SearchError, match=message):
        search(tmp_path, space="finite", trials=30, max_params=10)


def test_what_looks_wrong_is_said_once_while_the_search_runs(tmp_path: Path) -> None:
    best = {"layers": 2, "width_0": 4, "width_1": 4, "rate": 10**-2.5, "kind": "a"}
    display = RecordingDisplay()
    search(
        tmp_path,
        space="conditional",
        trials=40,
        workers=1,
        algorithm="random",
        pruner="none",
        first={"mine": best},
        display=display,
    )
    said = [line for line in display.lines if line.startswith("check: no progress")]
    assert said == [
        "check: no progress: trial 0 is the best, and none of the last 24 trials was better. More "
        "trials like these may not help: retrain the best, or use more epochs or other ranges."
    ]


def test_a_failed_baseline_is_tried_again_in_the_next_run(tmp_path: Path) -> None:
    first = {"mine": {"x": 0.5}}
    with pytest.raises(SearchError):
        search(tmp_path, space="failing", trials=1, max_failures=1, workers=1, first=first)
    study, _ = search(tmp_path, space="slow", trials=1, workers=1, first=first)
    assert [trial.user_attrs["known_as"] for trial in study.trials] == ["mine", "mine"]


def test_a_trial_that_takes_too_long_is_stopped_and_fails(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="timeout: longer than --trial-timeout 1 s"):
        search(
            tmp_path,
            space="hanging",
            algorithm="random@processes",
            trials=2,
            trial_timeout_seconds=1,
            max_failures=2,
        )
    assert not load(tmp_path).get_trials(states=(TrialState.RUNNING,))


@anywhere
def test_a_frozen_worker_is_replaced(tmp_path: Path, algorithm: str) -> None:
    with pytest.raises(SearchError, match=r"worker silent for \d+ s, 3 times"):
        search(
            tmp_path,
            space="freezing",
            algorithm=algorithm,
            trials=1,
            workers=1,
            silence_seconds=10,  # a worker must also start within them
            max_failures=1,
        )


@anywhere
def test_a_worker_above_its_memory_is_replaced(tmp_path: Path, algorithm: str) -> None:
    with pytest.raises(SearchError, match=r"out of memory: the worker uses [\d,]+ MB, above"):
        search(
            tmp_path,
            space="hanging",
            algorithm=algorithm,
            trials=1,
            max_worker_memory_mb=10,
            max_failures=1,
        )


def test_models_above_max_params_are_rejected_before_training(tmp_path: Path) -> None:
    study, _ = search(tmp_path, space="slow", trials=3, max_params=700, sampler="random")
    for trial in study.trials:
        assert (trial.user_attrs["parameters"] > 700) == (trial.state == TrialState.FAIL)
        if trial.state == TrialState.FAIL:
            assert "above --max-params 700" in trial.user_attrs["reason"]
            assert not trial.intermediate_values


def test_a_limit_that_no_model_meets_ends_the_search(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"100 models in a row were rejected.*Raise --max-params"):
        search(tmp_path, space="slow", trials=3, max_params=1, sampler="random")


PARAMETERS = ("parameters", {"max_params": 700}, "860 parameters, above --max-params 700")


@pytest.mark.parametrize(
    ("algorithm", "name", "limit", "words"),
    [
        ("near-best", *PARAMETERS),
        ("tpe", *PARAMETERS),
        ("cmaes", *PARAMETERS),
        ("near-best", "flops", {"max_flops": 1400}, "1,720 FLOPs, above --max-flops 1,400"),
        (
            "near-best",
            "latency",
            {"max_latency_ms": 7.0},
            "8.6 ms for one image, above --max-latency-ms 7",
        ),
    ],
)
# Connections that earlier tests left open may be collected during this one.
@pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_network_above_a_limit_is_not_trained_and_the_sampler_learns_it(
    tmp_path: Path, algorithm: str, name: str, limit: dict[str, Any], words: str
) -> None:
    first = {"large": {"x": 0.9}, "small": {"x": 0.1}}
    study, _ = search(
        tmp_path, space="slow", algorithm=algorithm, trials=2, workers=1, first=first, **limit
    )
    assert len(study.get_trials(states=FINISHED)) == 2  # those that were refused do not count
    large, small = study.trials[:2]
    assert (large.state, large.user_attrs["reason"]) == (TrialState.FAIL, words)
    assert not large.intermediate_values
    assert large.constraints == {name: pytest.approx(0.86 / 0.7 - 1, abs=1e-3)}
    assert small.constraints == {name: pytest.approx(0.54 / 0.7 - 1, abs=1e-3)}
    sampler = make_sampler(algorithm, study, 0, Limits(**limit))
    sampler.before_trial(study, create_trial(state=TrialState.WAITING))
    seen = {trial.number: trial for trial in sampler._study.get_trials(states=FINISHED)}
    assert small.number in seen
    if algorithm == "cmaes":  # which learns no constraints
        assert large.number not in seen
        assert not any(trial.constraints for trial in seen.values())
    else:
        assert seen[large.number].constraints == large.constraints


@pytest.mark.parametrize("algorithm", ["near-best", "tpe"])
def test_a_sampler_learns_from_a_known_configuration_with_a_name_that_the_space_has_lost(
    tmp_path: Path, algorithm: str
) -> None:
    first = {"old trial 1": {"x": 0.5, "gone": 1}}
    study, _ = search(tmp_path, space="slow", algorithm=algorithm, trials=1, workers=1, first=first)
    sampler = make_sampler(algorithm, study, 0)
    sampler.before_trial(study, create_trial(state=TrialState.WAITING))
    assert [trial.number for trial in sampler._study.get_trials(states=FINISHED)] == [0]
    assert trial_params(study.trials[0]) == {"x": 0.5}


@pytest.mark.parametrize("algorithm", ["near-best", "tpe"])
def test_a_sampler_judges_by_the_limits_of_this_run(tmp_path: Path, algorithm: str) -> None:
    flags: dict[str, Any] = {
        "space": "conditional",
        "algorithm": algorithm,
        "pruner": "none",
        "workers": 1,
    }

    def seen(limits: Limits) -> list[FrozenTrial]:
        sampler = make_sampler(algorithm, study, 0, limits)
        sampler.before_trial(study, create_trial(state=TrialState.WAITING))
        return sampler._study.get_trials(states=FINISHED)

    # From none to a strict one: what was complete breaks it now.
    study, _ = search(tmp_path, trials=12, **flags)
    assert not any(map(is_refused, study.trials))
    limit = sorted(trial.user_attrs["parameters"] for trial in study.trials)[3]
    strict = Limits(max_params=limit)
    refused = [trial.number for trial in seen(strict) if is_refused(trial)]
    assert refused == [one.number for one in study.trials if one.user_attrs["parameters"] > limit]
    # And back: what was refused for it alone is nothing to avoid, or to learn from.
    study, _ = search(tmp_path, trials=14, max_params=limit, **flags)
    lax = seen(Limits())
    assert not any(trial.constraints for trial in lax)
    assert len(lax) == 14
    laxer = seen(Limits(max_params=10**6))
    assert all(trial.constraints["parameters"] < 0 for trial in laxer)


def test_the_limits_that_no_model_meets_are_named(tmp_path: Path) -> None:
    message = r"100 models in a row were rejected; .*\. Raise --max-params or --max-flops, or sear"
    with pytest.raises(SearchError, match=message):
        search(tmp_path, space="slow", trials=3, max_params=1, max_flops=1, sampler="random")


def test_a_lost_attempt_leaves_what_it_has_measured(tmp_path: Path) -> None:
    # The simulated latency is the same each time, as a measured one would not be.
    study, _ = search(
        tmp_path,
        space="sometimes dying",
        algorithm="tpe@processes",
        trials=3,
        workers=1,
        max_latency_ms=9,
        seed=1,
    )
    lost = [trial for trial in study.trials if "attempts" in trial.user_attrs]
    assert lost
    for trial in lost:
        assert trial.constraints["latency"] == trial.user_attrs["latency_ms"] / 9 - 1


@pytest.mark.parametrize("algorithm", ["near-best", "tpe", "random", "qmc", "grid"])
def test_a_search_with_several_objectives_ends_with_its_front(
    tmp_path: Path, algorithm: str
) -> None:
    display = RecordingDisplay()
    flags: dict[str, Any] = {
        "space": "conditional",
        "algorithm": algorithm,
        "objective": "accuracy,parameters,latency",
        "trials": 16,
        "workers": 1,
    }
    search(tmp_path, display=display, stop_after=6, **flags)
    study, reason = search(tmp_path, display=display, **flags)
    assert reason is None
    assert [direction.name for direction in study.directions] == [
        "MAXIMIZE",
        "MINIMIZE",
        "MINIMIZE",
    ]
    assert study.metric_names == ["val_accuracy", "parameters", "latency_ms"]
    assert [trial.state for trial in study.get_trials(states=FINISHED)] == [
        TrialState.COMPLETE
    ] * 16
    for trial in study.get_trials(states=FINISHED):
        attrs = trial.user_attrs
        assert trial.values == [
            trial.intermediate_values[9],
            attrs["parameters"],
            attrs["latency_ms"],
        ]
        assert [*trial.intermediate_values] == [*range(1, 10)]
    assert {trial.number for trial in front_of(study)} == {one.number for one in study.best_trials}
    assert re.search(r"val_accuracy 0\.\d{4}, \d+ parameters, [\d.]+ ms for", display.lines[0])


@pytest.mark.parametrize("algorithm", ["near-best", "tpe"])
def test_several_objectives_give_the_same_trials_after_an_interruption(
    tmp_path: Path, algorithm: str
) -> None:
    flags: dict[str, Any] = {
        "space": "conditional",
        "algorithm": algorithm,
        "objective": "accuracy,parameters",
        "trials": 14,
        "workers": 1,
        "max_params": 800,
    }
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole, _ = search(tmp_path / "whole", **flags)
    search(tmp_path / "parts", stop_after=12, **flags)
    parts, _ = search(tmp_path / "parts", **flags)
    assert [trial.params for trial in whole.trials] == [trial.params for trial in parts.trials]
    assert whole.get_trials(states=(TrialState.FAIL,))


def test_the_front_that_is_shown_is_that_of_the_study(tmp_path: Path) -> None:
    display = RecordingDisplay()
    sizes: list[tuple[int, int | None, tuple[int, float] | None]] = []
    display.update = lambda shown: sizes.append((shown.complete, shown.front, shown.best))  # type: ignore[method-assign]
    flags: dict[str, Any] = {"space": "conditional", "objective": "accuracy,parameters,latency"}
    for trials in (6, 12):
        study, _ = search(tmp_path, trials=trials, workers=1, display=display, **flags)
        complete = study.get_trials(states=(TrialState.COMPLETE,))
        for count, shown, best in sizes:
            on_front = front(complete[:count])
            assert shown == len(on_front)
            # The most accurate, and of equals one that no other dominates.
            assert best == ((on_front[0].number, on_front[0].values[0]) if on_front else None)


def test_patience_counts_from_the_latest_trial_of_the_front(tmp_path: Path) -> None:
    study, reason = search(
        tmp_path,
        space="conditional",
        objective="accuracy,parameters",
        trials=200,
        patience_trials=4,
        workers=1,
    )
    assert reason == StopReason.PATIENCE
    latest = max(trial.number for trial in front_of(study))
    assert len([one for one in study.trials if one.number > latest]) == 4


@pytest.mark.parametrize("objective", ["accuracy", "accuracy,flops"])
def test_what_breaks_a_limit_of_this_run_is_not_its_best(tmp_path: Path, objective: str) -> None:
    flags: dict[str, Any] = {
        "space": "conditional",
        "objective": objective,
        "pruner": "none",
        "workers": 1,
    }
    study, _ = search(tmp_path, trials=10, **flags)
    costs = {trial.number: trial.user_attrs["parameters"] for trial in study.trials}
    limit = sorted(costs.values())[4]
    best = max(
        (trial for trial in study.trials if costs[trial.number] <= limit),
        key=lambda trial: trial.values[0],
    )

    def ended(**limits: int) -> Outcome:
        settings = SearchSettings(study="test", objective=objective, results_dir=tmp_path, **limits)
        return outcome_of(settings, DataShape((28, 28, 1), 10), study, "", 0.0, None, 0)

    found = ended(max_params=limit).best
    assert found is not None
    assert found.number == best.number
    assert ended(max_params=1).best is None
    display = RecordingDisplay()
    shown: list[tuple[int, float] | None] = []
    display.update = lambda progress: shown.append(progress.best)  # type: ignore[method-assign]
    search(tmp_path, trials=11, max_params=limit, display=display, **flags)
    assert shown[0] == (best.number, best.values[0])


def test_patience_ends_a_search_without_progress(tmp_path: Path) -> None:
    study, reason = search(tmp_path, space="conditional", trials=200, patience_trials=6)
    assert reason == StopReason.PATIENCE
    numbers = [trial.number for trial in study.get_trials(states=FINISHED)]
    # Two workers: a trial or two may have ended after the last improvement but begun before it.
    assert numbers[-1] - study.best_trial.number <= 8
    # It has all of its trials now: there is nothing to stop.
    _, reason = search(tmp_path, space="conditional", trials=len(numbers), patience_trials=6)
    assert reason is None


def test_the_time_limit_leaves_a_clean_study_that_continues(tmp_path: Path) -> None:
    study, reason = search(
        tmp_path, space="slow", algorithm="random", trials=6, timeout_seconds=2.5, pruner="none"
    )
    assert reason == StopReason.TIMEOUT
    assert not study.get_trials(states=(TrialState.RUNNING,))
    study, reason = search(tmp_path, space="slow", algorithm="random", trials=6, pruner="none")
    assert (reason, len(study.get_trials(states=FINISHED))) == (None, 6)


def test_a_trial_failed_from_the_dashboard_is_replaced(tmp_path: Path) -> None:
    failed: list[int] = []

    def fail_one(text: str) -> None:
        study = load(tmp_path)
        running = study.get_trials(states=(TrialState.RUNNING,))
        if running and not failed:
            failed.append(running[0].number)
            study.tell(running[0].number, state=TrialState.FAIL)

    display = RecordingDisplay(on_log=fail_one)
    study, _ = search(tmp_path, space="slow", trials=4, pruner="none", display=display)
    assert len(study.get_trials(states=FINISHED)) == 4
    assert [t.number for t in study.get_trials(states=(TrialState.FAIL,))] == failed
    line = f"trial {failed[0]}: ended by another program, such as the dashboard"
    assert line in display.lines


def test_a_storage_that_cannot_be_written_ends_in_one_line(tmp_path: Path) -> None:
    display = RecordingDisplay(on_log=lambda text: (tmp_path / "study.db").write_bytes(b"gone"))
    with (
        pytest.raises(StorageError, match=r"^study.db cannot be read or written: .*Stored trials"),
        storage_errors("study.db"),
    ):
        search(tmp_path, space="conditional", storage="sqlite", trials=9, display=display)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("storage", ["journal", "sqlite"])
def test_a_study_that_is_deleted_during_its_search_ends_in_one_line(
    tmp_path: Path, storage: str, again: bool
) -> None:
    def delete(text: str) -> None:
        kept = load(tmp_path, storage)._storage
        optuna.delete_study(study_name="test", storage=kept)
        if again:  # another study of that name
            optuna.create_study(study_name="test", storage=kept)

    with pytest.raises(
        StorageError, match=r"^study 'test' was deleted during the run, .* study\.$"
    ):
        search(
            tmp_path,
            space="slow",
            storage=storage,
            trials=9,
            pruner="none",
            display=RecordingDisplay(on_log=delete),
        )
    if not again:
        study, _ = search(tmp_path, space="finite", storage=storage, trials=1, workers=1)
        assert len(study.trials) == 1


def test_only_the_first_trials_of_a_large_study_have_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "NOTED_TRIALS", 2)
    study, _ = search(tmp_path, space="conditional", trials=4)
    attrs = study._storage.get_study_system_attrs(study._study_id)
    notes = [get_note_from_system_attrs(attrs, trial._trial_id) for trial in study.trials]
    assert [bool(note["body"]) for note in notes] == [True, True, False, False]


def test_the_time_left_never_exceeds_the_time_limit(tmp_path: Path) -> None:
    shown: list[tuple[float, float | None]] = []
    display = RecordingDisplay()
    display.update = lambda progress: shown.append((progress.seconds, progress.seconds_left))  # type: ignore[method-assign]
    # A million trials would take days.
    flags = {"trials": 1_000_000, "timeout_seconds": 3600, "display": display}
    search(tmp_path, space="slow", stop_after=2, **flags)
    assert len(shown) > 2
    for seconds, left in shown:
        assert left is not None and left == pytest.approx(3600 - seconds)


def test_the_time_so_far_includes_the_start_of_the_run(tmp_path: Path) -> None:
    shown: list[float] = []
    display = RecordingDisplay()
    display.update = lambda progress: shown.append(progress.seconds)  # type: ignore[method-assign]
    search(tmp_path, space="finite", trials=2, display=display, started=time.monotonic() - 1000)
    assert min(shown) >= 1000


def test_a_promoted_trial_s_line_names_the_epochs_that_it_has_trained(tmp_path: Path) -> None:
    display = RecordingDisplay()
    flags = {"algorithm": "keras-tuner:hyperband", "display": display}
    study, _ = search(tmp_path, space="conditional", trials=20, epochs=4, **flags)
    lines = {trial.number: "" for trial in study.trials}
    for line in display.lines:
        if "val_accuracy" in line:
            lines[int(line.split()[1].rstrip(":"))] = line
    for trial in study.get_trials(states=FINISHED):
        rung = trial.user_attrs[ENGINE_FACTS]
        first, last = rung["initial_epoch"] + 1, rung["epochs"]
        words = f"{last} of 4 epochs" if first == 1 else f"epochs {first} to {last} of 4"
        assert f", {words}, " in lines[trial.number]
    assert any("epochs 3 to 4 of 4" in line for line in lines.values())


def test_trials_at_an_early_budget_do_not_use_up_the_patience_of_the_next_run(
    tmp_path: Path,
) -> None:
    flags = {"algorithm": "keras-tuner:hyperband", "patience_trials": 1, "workers": 1}
    study, _ = search(tmp_path, space="conditional", trials=12, stop_after=3, **flags)
    assert [trial.state for trial in study.get_trials(states=FINISHED)] == [TrialState.PRUNED] * 3
    study, reason = search(tmp_path, space="conditional", trials=4, **flags)
    assert (reason, len(study.get_trials(states=FINISHED))) == (None, 4)


def test_the_configurations_that_are_tried_first_are_known_by_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bool] = []
    waiting: list[tuple[int, list[bool]]] = []

    class Recording(TimeLeft):
        def take(self, seconds: float, *, is_first: bool) -> None:
            taken.append(is_first)
            super().take(seconds, is_first=is_first)

        def seconds(self, **left: Any) -> float | None:
            waiting.append((left["waiting_first"], [one.is_first for one in left["running"]]))
            return super().seconds(**left)

    monkeypatch.setattr(coordinator, "TimeLeft", Recording)
    flags = {"space": "slow", "workers": 1, "pruner": "none", "first": {"default": {"x": 0.5}}}
    search(tmp_path, trials=2, **flags)
    assert taken == [True, False]
    assert waiting[0] == (1, [])
    assert (0, [True]) in waiting
    assert (0, [False]) in waiting
    study, _ = search(tmp_path, trials=3, **flags)
    assert taken[2:] == [True, False, False]

    # What a dry run says of this study: no first trial is left.
    finished = study.get_trials(states=FINISHED)
    plan = Plan(trials=9, first=1, epochs=9, epoch_size=1, val=1, pruner="asha")
    speed = Speed(workers=1, images_per_second=1.0, startup_seconds=1.0)
    left = TimeLeft(plan, speed)
    for trial in finished:
        left.take(trial.user_attrs["seconds"], is_first=trial.number == 0)
    expected = left.seconds(waiting=6, waiting_first=0, running=[], workers=1)
    assert seconds_left(plan, speed, finished) == expected


def test_a_suspension_does_not_count_against_the_timeout_of_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    stock = Outages.clock

    def clock(outages: Outages) -> float:
        slept.append(0.0)
        return stock(outages) + (1_000.0 if len(slept) > 30 else 0.0)

    monkeypatch.setattr(Outages, "clock", clock)
    flags = {"workers": 1, "pruner": "none", "trial_timeout_seconds": 60.0}
    study, _ = search(tmp_path, space="slow", trials=2, **flags)
    assert len(slept) > 30
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2
    assert all(trial.user_attrs["seconds"] < 60 for trial in study.trials)

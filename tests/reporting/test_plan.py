"""The choice of the winner."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reporting.evidence import Evidence
from reporting.plan import Plan
from reporting.retraining import Retrained
from reporting.settings import ReportSettings
from search.data.split import SplitSizes
from search.study.provenance import module_digest
from search.workers.messages import Failed
from spaces.baselines import BASELINES
from tests.reporting.made_plan import made_plan


def results(plan: Plan, directory: Path, values: list[list[float | None]]) -> dict[str, object]:
    """Validation accuracies by candidate and seed; None: a failed training."""
    found: dict[str, object] = {}
    for candidate, row in zip(plan.candidates, values, strict=False):
        for retraining, value in zip(candidate.retrainings, row, strict=False):
            kept = Retrained(
                folder=directory,
                seed=1,
                parameters=1,
                history=[{"loss": 1.0}],
                train_seconds=1,
                cpu_seconds=1,
                val_accuracy=value,
                origin={},
            )
            found[retraining.key] = Failed(reason="x") if value is None else kept
    return found


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ([[0.90, 0.91], [0.93, 0.92], [0.91, 0.91]], 1),
        ([[0.90, 0.90], [0.90, 0.90], [0.90, 0.90]], 0),
        ([[None, None], [0.93, None], [0.92, 0.92]], 1),
        ([[0.90, 0.91], [0.93]], None),
        ([[None, None], [None, None], [None, None]], None),
    ],
)
def test_the_candidate_of_the_best_mean_is_chosen_once_all_are_trained(
    evidence: Evidence, tmp_path: Path, values: list[list[float | None]], chosen: int | None
) -> None:
    settings = replace(evidence.settings, candidate_seeds=2)
    plan = Plan(settings, evidence.record, evidence.dataset.shape, 60_000)
    # As many candidates as the case has; others would be missing.
    del plan.candidates[len(values) :]
    assert len(plan.candidates) == len(values)
    found = plan.choose(results(plan, tmp_path, values))  # type: ignore[arg-type]
    assert found is (None if chosen is None else plan.candidates[chosen])


@pytest.mark.parametrize(
    ("given", "of_a_trial", "epochs"), [(None, 8, 30), (None, 31, 31), (5, 31, 5)]
)
def test_the_winner_trains_for_at_least_the_epochs_of_a_trial(
    given: int | None, of_a_trial: int, epochs: int
) -> None:
    settings = ReportSettings(epochs=given).for_study(of_a_trial, SplitSizes(val=10_000))
    assert settings.final_epochs == epochs


def test_the_trainings_have_all_images_though_trials_had_a_part(tmp_path: Path) -> None:
    searched = {"train": 15_000, "val": 10_000}
    plan = made_plan(tmp_path, [{"filters": 16}], ["none"], facts={"split": searched})
    [again] = plan.candidates[0].retrainings
    [final, *_] = plan.winners(plan.candidates[0])[0].retrainings
    assert again.sizes == final.sizes == SplitSizes(val=10_000)
    # An epoch of a trial takes 10 s; a validation image 0.27 times as long as a training image.
    trial = 15_000 + 2_700
    assert again.epoch_seconds == pytest.approx(10 * (50_000 + 2_700) / trial)
    assert final.epoch_seconds == pytest.approx(10 * 60_000 / trial)


def test_a_baseline_is_planned_by_what_it_costs_beside_the_default(tmp_path: Path) -> None:
    trials = [{"filters": 16}, {"filters": 32}]
    searched: dict[str, Any] = {"space": "cnn", "attrs": {"known_as": "default"}}
    plan = made_plan(tmp_path, trials, ["none"], **searched)
    seconds = {entry.name: entry.retrainings[0].epoch_seconds for entry in plan.baselines}
    default = 10 * 60_000 / 52_700  # 10 s an epoch of 50,000 images and their validation
    assert seconds == pytest.approx({one.name: default * one.epoch_cost for one in BASELINES})


def test_without_a_default_a_baseline_is_planned_as_the_mean_trial(tmp_path: Path) -> None:
    plan = made_plan(tmp_path, [{"filters": 16}], ["none"])
    for entry in plan.baselines:
        assert entry.retrainings[0].epoch_seconds == pytest.approx(10 * 60_000 / 52_700)


@pytest.mark.parametrize(
    ("given", "train"),
    [
        ({}, None),
        ({"train_size": 20_000}, 20_000),
        ({"quick": True}, 15_000),
        ({"quick": True, "train_size": 5_000}, 5_000),
    ],
)
def test_train_size_is_all_images_and_of_a_preview_those_of_the_search(
    given: dict[str, Any], train: int | None
) -> None:
    searched = SplitSizes(train=15_000, val=10_000)
    settings = ReportSettings(**given).for_study(8, searched)
    assert settings.sizes(searched) == SplitSizes(train=train, val=10_000)


@pytest.mark.parametrize(("given", "train"), [({}, None), ({"quick": True}, 6_000)])
def test_a_preview_trains_on_as_many_images_as_an_epoch_of_the_search_showed(
    given: dict[str, Any], train: int | None
) -> None:
    for searched in (
        SplitSizes(val=10_000, epoch_size=6_000),
        SplitSizes(train=15_000, val=10_000, epoch_size=6_000),
    ):
        settings = ReportSettings(**given).for_study(8, searched)
        assert settings.sizes(searched) == SplitSizes(train=train, val=10_000)


def test_a_plan_knows_the_code_of_a_users_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planned_space.py").write_text("def build(hp): ...")
    monkeypatch.syspath_prepend(tmp_path)
    found = {}
    for retrain in (True, False):
        (tmp_path / str(retrain)).mkdir()
        plan = made_plan(
            tmp_path / str(retrain), [{}], ["none"], space="planned_space:build", retrain=retrain
        )
        found[retrain] = {one.code for one in plan.candidates[0].retrainings}
    assert found == {True: {module_digest("planned_space:build")}, False: {None}}


MIRRORED = ("none", "flip", "flip_shift", "flip_shift_erase")
STRAIGHT = ("none", "shift", "shift_erase")


@pytest.mark.parametrize(
    ("own", "offered", "versions"),
    [
        ("flip", MIRRORED, ["flip", "flip_shift"]),
        ("none", MIRRORED, ["none", "flip_shift"]),
        ("none", STRAIGHT, ["none", "shift"]),
        ("none", (*MIRRORED, *STRAIGHT[1:]), ["none", "shift"]),
        ("flip_shift", MIRRORED, ["flip_shift"]),
        ("flip_shift_erase", MIRRORED, ["flip_shift_erase"]),
        ("shift_erase", STRAIGHT, ["shift_erase"]),
        ("flip", ("none", "flip"), ["flip"]),  # a user's space
        ("mixup", ("none", "mixup"), ["mixup"]),
    ],
)
def test_a_trial_is_compared_with_shifts_where_it_has_none_and_the_space_offers_them(
    tmp_path: Path, own: str, offered: Sequence[str], versions: list[str]
) -> None:
    plan = made_plan(tmp_path, [{"filters": 16, "augmentation": own}], offered)
    assert [one.params["augmentation"] for one in plan.candidates] == versions
    assert [one.augmentation for one in plan.candidates] == [None, *versions[1:]]
    assert all(one.params["filters"] == 16 for one in plan.candidates)
    assert [one.name for one in plan.candidates] == [
        "trial 0",
        *(f"trial 0 with {kind}" for kind in versions[1:]),
    ]
    for candidate in plan.candidates:
        (only,) = candidate.retrainings
        assert (only.epochs, only.epoch_seconds, dict(only.params)) == (30, 10.0, candidate.params)
        (tuned,) = plan.winners(candidate)
        assert tuned.params == candidate.params
        assert {(one.epochs, dict(one.params) == tuned.params) for one in tuned.retrainings} == {
            (30, True)
        }


def test_the_time_of_an_epoch_is_without_the_measurement_of_latencies(tmp_path: Path) -> None:
    plan = made_plan(tmp_path, [{"filters": 16}], ["none"], attrs={"latency_seconds": 64.0})
    ((only,),) = (candidate.retrainings for candidate in plan.candidates)
    assert only.epoch_seconds == 2.0  # 80 s of 8 epochs


def test_the_start_of_a_short_trial_does_not_count_as_training(tmp_path: Path) -> None:
    attrs = {"images_per_second": 52_700 / 2}  # an epoch of 2 s, so 64 of its 80 s before them
    plan = made_plan(tmp_path, [{"filters": 16}], ["none"], attrs=attrs)
    ((only,),) = (candidate.retrainings for candidate in plan.candidates)
    assert (only.startup_seconds, only.epoch_seconds) == pytest.approx((64.0, 2.0))
    assert only.seconds == pytest.approx(64 + 30 * 2)
    assert [only.seconds_until(epoch) for epoch in (0, 1, 2)] == pytest.approx([0, 66, 68])


def test_a_space_without_augmentation_has_one_version(tmp_path: Path) -> None:
    plan = made_plan(tmp_path, [{"filters": 16}], ["none"], space="mine:Mine")
    assert [one.name for one in plan.candidates] == ["trial 0"]


def test_two_trials_that_become_one_with_shifts_are_one_candidate(tmp_path: Path) -> None:
    trials = [
        {"filters": 16, "augmentation": "none"},
        {"filters": 16, "augmentation": "flip"},
    ]
    plan = made_plan(tmp_path, trials, MIRRORED, top=2)
    assert [one.name for one in plan.candidates] == [
        "trial 0",
        "trial 0 with flip_shift",
        "trial 1",
    ]


def test_no_configuration_is_retrained_twice(tmp_path: Path) -> None:
    trials = [
        {"filters": 16, "augmentation": "flip"},
        {"filters": 32, "augmentation": "flip"},
        {"filters": 16, "augmentation": "flip_shift"},
        {"filters": 64, "augmentation": "flip"},
    ]
    plan = made_plan(tmp_path, trials, MIRRORED, top=3)
    assert [one.name for one in plan.candidates] == [
        "trial 0",
        "trial 1",
        "trial 1 with flip_shift",
        "trial 2",
    ]

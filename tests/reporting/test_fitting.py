"""The time of a report's trainings, and which of them fit a time."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from reporting.errors import ReportError
from reporting.fitting import Fitted, epochs_to_fit, fit, wall_seconds
from reporting.plan import Plan
from reporting.retraining import Results, Retrained
from search.errors import SettingsError
from tests.reporting.made_plan import TWICE_AS_LONG, made_plan

OFFERED = ("flip", "flip_shift")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """One trial in two versions of 30 epochs of 10 s, three final trainings of 30 of 20 s.

    Each of the six baselines would train 10 epochs of 20 s.
    """
    trials = [{"filters": 16, "augmentation": "flip"}]
    return made_plan(tmp_path, trials, OFFERED, baseline_seeds=1, **TWICE_AS_LONG)


def kept(plan: Plan, *, finals: int = 0) -> Results:
    """Results of all candidates, and of some final trainings."""
    due = [one for candidate in plan.candidates for one in candidate.retrainings]
    due += plan.winners(plan.candidates[0])[0].retrainings[:finals]
    return {
        one.key: Retrained(
            folder=Path("nowhere"),
            seed=one.seed,
            parameters=1,
            history=[{"loss": 1.0}],
            train_seconds=1,
            cpu_seconds=1,
            val_accuracy=0.9,
            origin={},
        )
        for one in due
    }


@pytest.mark.parametrize(("workers", "seconds"), [(1, 2400), (2, 1500), (3, 900), (9, 900)])
def test_final_trainings_wait_for_the_last_candidate(
    plan: Plan, workers: int, seconds: float
) -> None:
    plan.baselines.clear()
    assert wall_seconds(plan, {}, workers) == seconds


def test_free_workers_train_baselines_meanwhile(plan: Plan) -> None:
    assert wall_seconds(plan, {}, 1) == 2400 + 6 * 200
    # Two candidates for 300 s; two baselines until 400 s; then three finals, and four baselines.
    assert wall_seconds(plan, {}, 3) == 1300
    assert wall_seconds(plan, {}, 100) == 900


def test_finished_trainings_take_no_time(plan: Plan) -> None:
    plan.baselines.clear()
    assert wall_seconds(plan, kept(plan), 1) == 1800
    assert wall_seconds(plan, kept(plan, finals=2), 2) == 600
    assert wall_seconds(plan, kept(plan, finals=3), 2) == 0


def fitted(
    directory: Path,
    minutes: float,
    *,
    baselines: bool = False,
    train: bool = True,
    epochs: range = range(8, 31),
    baseline_seeds: Sequence[int] = (3,),
    distill: bool = False,
) -> Fitted:
    """Fit the plan above for two workers."""

    def plan_of(epochs: int, seeds: int) -> Plan:
        folder = directory / f"{epochs}-{len(list(directory.iterdir()))}"
        folder.mkdir()
        trials = [{"filters": 16, "augmentation": "flip"}]
        given = {"epochs": epochs, "baseline_seeds": seeds, "distill": distill}
        plan = made_plan(folder, trials, OFFERED, **given, **TWICE_AS_LONG)
        if not baselines:
            plan.baselines.clear()
        return plan

    return fit(
        plan_of,
        lambda plan: {},
        minutes=minutes,
        epochs=epochs,
        baseline_seeds=baseline_seeds,
        workers=2,
        directory=directory,
        train=train,
    )


# Two candidates at once, and two rounds of final trainings: 50 s an epoch; 18 baselines of 200 s.
@pytest.mark.parametrize(
    ("minutes", "baselines", "epochs"),
    [(7, False, 8), (20, False, 24), (19.9, False, 23), (50, True, 28), (1e6, False, 30)],
)
def test_the_most_epochs_that_fit_are_chosen(
    tmp_path: Path, minutes: float, baselines: bool, epochs: int
) -> None:
    assert fitted(tmp_path, minutes, baselines=baselines).epochs == epochs


# On two workers the baselines of one seed take 10 minutes, and 8 epochs of the others 7.
@pytest.mark.parametrize(
    ("minutes", "seeds", "epochs"),
    [(17, 1, 8), (30, 1, 28), (40, 2, 28), (59, 2, 30), (60, 3, 30)],
)
def test_baselines_have_as_many_seeds_as_half_of_the_time_allows(
    tmp_path: Path, minutes: float, seeds: int, epochs: int
) -> None:
    found = fitted(tmp_path, minutes, baselines=True, baseline_seeds=range(3, 0, -1))
    assert found == Fitted(epochs=epochs, baseline_seeds=seeds)


def test_more_are_fitted_where_a_trial_has_more(tmp_path: Path) -> None:
    assert epochs_to_fit(100, 50_000, 50_000)[-1] == 100
    assert fitted(tmp_path, 1e6, epochs=range(100, 101)).epochs == 100


@pytest.mark.parametrize(
    ("trial_epochs", "searched", "fewest"),
    [(8, 50_000, 8), (8, 16_000, 3), (8, 9_400, 2), (1, 9_400, 1), (8, 60_000, 8)],
)
def test_the_fewest_epochs_show_the_images_of_a_trial(
    trial_epochs: int, searched: int, fewest: int
) -> None:
    assert epochs_to_fit(trial_epochs, searched, 50_000) == range(fewest, 31)


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        ('{"90": {"epochs": 9, "baseline_seeds": 2}}', Fitted(epochs=9, baseline_seeds=2)),
        ('{"90": {"epochs": 9, "baseline_seeds": 5}}', Fitted(epochs=9, baseline_seeds=3)),
    ],
)
def test_numbers_that_were_fitted_before_are_kept(tmp_path: Path, kept: str, found: Fitted) -> None:
    (tmp_path / "fitted.json").write_text(kept)
    assert fitted(tmp_path, 90, baseline_seeds=range(3, 0, -1)) == found


def test_given_seeds_of_baselines_are_kept(tmp_path: Path) -> None:
    (tmp_path / "fitted.json").write_text('{"90": {"epochs": 9, "baseline_seeds": 2}}')
    assert fitted(tmp_path, 90, baseline_seeds=[4]) == Fitted(epochs=9, baseline_seeds=4)


def test_the_numbers_stay_the_same_when_the_report_is_continued(tmp_path: Path) -> None:
    assert fitted(tmp_path, 25).epochs == 30
    assert fitted(tmp_path, 10.5).epochs == 12
    # More to train, or less, as of a continued report: the finished trainings are still of use.
    assert fitted(tmp_path, 25, baselines=True).epochs == 30
    assert fitted(tmp_path, 25, train=False).epochs == 30
    assert json.loads((tmp_path / "fitted.json").read_text()) == {
        "25": {"epochs": 30, "baseline_seeds": 3},
        "10.5": {"epochs": 12, "baseline_seeds": 3},
    }


@pytest.mark.parametrize(
    "content",
    ["", "[", "[1]", '{"25": "x"}', '{"25": 0}', '{"25": {"epochs": 9}}', "[" * 100_000],
)
def test_a_damaged_number_is_fitted_again(tmp_path: Path, content: str) -> None:
    (tmp_path / "fitted.json").write_text(content)
    assert fitted(tmp_path, 25).epochs == 30


def test_a_number_in_a_file_that_is_too_large_is_fitted_again(tmp_path: Path) -> None:
    (tmp_path / "fitted.json").write_text(
        '{"25": {"epochs": 9, "baseline_seeds": 3}}' + " " * 10**7
    )
    assert fitted(tmp_path, 25).epochs == 30


def test_a_time_that_is_too_short_is_refused_with_one_that_would_do(tmp_path: Path) -> None:
    expected = (
        "--minutes is 6, but the trainings take about 7 min here with 8 epochs of "
        "23,000 images, the fewest that --minutes chooses after this search; raise it to 7, or "
        "lower --seeds."
    )
    with pytest.raises(SettingsError) as refused:
        fitted(tmp_path, 6)
    assert str(refused.value) == expected
    assert not (tmp_path / "fitted.json").exists()
    assert fitted(tmp_path, 7).epochs == 8


def test_what_is_refused_names_only_flags_that_shorten_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"lower --seeds or --baseline-epochs\.$"):
        fitted(tmp_path, 6, baselines=True, baseline_seeds=range(3, 0, -1))
    with pytest.raises(
        SettingsError, match=r"lower --seeds, --baseline-seeds or --baseline-epochs\.$"
    ):
        fitted(tmp_path, 6, baselines=True, baseline_seeds=[3])


def test_the_distilled_network_is_a_stage_that_may_be_left_out(tmp_path: Path) -> None:
    # 50 s an epoch, and 20 more.
    with pytest.raises(SettingsError) as refused:
        fitted(tmp_path, 7, distill=True)
    said = str(refused.value)
    assert "raise it to 10, or lower" in said
    assert said.endswith("--seeds, or leave --distill out.")
    assert fitted(tmp_path, 10, distill=True).epochs == 8


def test_without_retraining_nothing_is_fitted(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no report of this study was fitted to that time"):
        fitted(tmp_path, 25, train=False)
    assert not (tmp_path / "fitted.json").exists()


def test_a_number_that_cannot_be_stored_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "fitted.json").mkdir()
    with pytest.raises(ReportError, match="cannot be written"):
        fitted(tmp_path, 25)

"""The length of a search: what fits into a time, and what is left of one, on recorded trials."""

import csv
import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from shutil import copy
from statistics import mean
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial

from search.data.split import VALIDATION_COST
from search.engines.optuna_engine import OptunaEngine
from search.engines.pruners import PRUNERS, Rungs
from search.errors import SettingsError
from search.length import (
    FIRST_COST,
    SAMPLED_COST,
    Plan,
    Running,
    Speed,
    TimeLeft,
    about,
    default_epochs,
    expectation,
    fit_to,
    fitted_words,
    remaining_words,
)
from search.preparation import Inputs
from search.settings import SearchSettings
from search.sizes import fitted_line, fitted_sizes, plan_of
from search.study.facts import split_sizes
from search.study.storage import open_storage
from search.study.study import FINISHED, known_as
from tests.reporting.made_evidence import made_dataset

REPLAY = Path(__file__).parents[2] / "benchmarks" / "replay.csv"
REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "cnn" / "study.journal"
SPEED = Speed(workers=2, images_per_second=742.0, startup_seconds=3.0)

# Of an earlier space. Given, so that the numbers below do not move with those of the present one.
COSTS = {"first_cost": 0.48, "sampled_cost": 0.68}


def plan(**changes: object) -> Plan:
    given = {
        "trials": 50,
        "first": 7,
        "epochs": 8,
        "epoch_size": 50_000,
        "val": 10_000,
        "pruner": "asha",
    }
    return Plan(**(given | COSTS | changes))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Recorded:
    """The reference search.

    Args:
        plan: Its size.
        speed: The speed that it measured before its first trial.
        trials: Its finished trials, in the order in which they ended.
    """

    plan: Plan
    speed: Speed
    trials: list[FrozenTrial]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    journal = tmp_path_factory.mktemp("reference") / "study.journal"
    copy(REFERENCE, journal)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name=None, storage=open_storage(journal, None))
    finished = study.get_trials(states=FINISHED)
    facts = study.user_attrs
    sizes = split_sizes(facts["split"])
    return Recorded(
        Plan(
            trials=len(finished),
            first=sum(is_first(trial) for trial in finished),
            epochs=facts["epochs"],
            pruner=facts["settings"]["pruner"],
            epoch_size=sizes.epoch_size or sizes.train or 60_000 - sizes.val,
            val=sizes.val,
        ),
        Speed.from_fact(facts["speed"]),
        sorted(finished, key=lambda trial: trial.datetime_complete),
    )


def is_first(trial: FrozenTrial) -> bool:
    return known_as(trial) is not None


def replayed(recorded: Recorded, ended: int, speed: Speed | None) -> tuple[float, float]:
    """Return the estimated and the true time left after so many trials have ended."""
    trials = recorded.trials
    left = TimeLeft(recorded.plan, speed)
    for trial in trials[:ended]:
        left.take(trial.user_attrs["seconds"], is_first=is_first(trial))
    now = trials[ended - 1].datetime_complete
    assert now is not None
    running, waiting, waiting_first = [], 0, 0
    for trial in trials[ended:]:
        elapsed = (now - trial.datetime_start).total_seconds()
        if elapsed > 0:
            epoch_seconds = trial.user_attrs["seconds"] / trial.user_attrs["epochs"]
            done = min(int(elapsed / epoch_seconds), trial.user_attrs["epochs"])
            running.append(
                Running(
                    epochs=done,
                    seconds=elapsed,
                    is_first=is_first(trial),
                    budget=recorded.plan.epochs,
                )
            )
        else:
            waiting += 1
            waiting_first += is_first(trial)
    estimate = left.seconds(
        waiting=waiting,
        waiting_first=waiting_first,
        running=running,
        workers=recorded.speed.workers,
    )
    assert estimate is not None
    return estimate, (trials[-1].datetime_complete - now).total_seconds()


@pytest.mark.parametrize("ended", [5, 10, 25])
def test_the_time_left_of_the_recorded_search_is_right_within_a_third(
    recorded: Recorded, ended: int
) -> None:
    estimate, true = replayed(recorded, ended, recorded.speed)
    assert estimate == pytest.approx(true, rel=1 / 3)


def test_without_a_speed_the_time_left_is_right_within_a_factor_of_two(
    recorded: Recorded,
) -> None:
    for ended in (5, 10, 25):
        estimate, true = replayed(recorded, ended, None)
        assert true / 2 < estimate < 2 * true


def test_a_wrong_speed_is_corrected_by_the_trials(recorded: Recorded) -> None:
    slow = replace(recorded.speed, images_per_second=recorded.speed.images_per_second / 2)
    errors = []
    for ended in (1, 10, 30):
        estimate, _ = replayed(recorded, ended, slow)
        right, _ = replayed(recorded, ended, recorded.speed)
        errors.append(estimate / right)
    assert errors[0] > errors[1] > errors[2] > 1


def test_the_recorded_search_took_a_seventh_less_than_its_speed_let_expect(
    recorded: Recorded,
) -> None:
    began = min(trial.datetime_start for trial in recorded.trials)
    true = (recorded.trials[-1].datetime_complete - began).total_seconds()
    assert recorded.plan.seconds(recorded.speed) == pytest.approx(true * 7 / 6, rel=0.05)


def test_a_validation_image_costs_what_it_did_in_the_recorded_search(
    recorded: Recorded,
) -> None:
    val, train = (
        sum(trial.user_attrs[f"{part}_seconds"] for trial in recorded.trials) / images
        for part, images in (("val", recorded.plan.val), ("train", recorded.plan.epoch_size))
    )
    assert val / train == pytest.approx(VALIDATION_COST, abs=0.02)


def test_what_epochs_cost_is_what_was_recorded() -> None:
    with REPLAY.open(newline="") as file:
        file.readline()  # what describes the rows
        rows = list(csv.DictReader(file))
    first = {row["name"]: float(row["epoch_cpu_seconds"]) for row in rows if row["name"]}
    sampled = [float(row["epoch_cpu_seconds"]) for row in rows if not row["name"]]
    default = first["default"]
    assert mean(first.values()) / default == pytest.approx(FIRST_COST, abs=0.005)
    assert mean(sampled) / default == pytest.approx(SAMPLED_COST, abs=0.005)


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("max_epochs", [1, 2, 8, 15, 30])
def test_trials_train_the_expected_share_of_their_epochs(pruner: str, max_epochs: int) -> None:
    first, sampled = [], []
    for seed in range(12):
        study = optuna.create_study(study_name=f"search-{seed}", direction="maximize")
        given = {"sampler": "random", "pruner": pruner, "max_epochs": max_epochs}
        engine, draw = OptunaEngine(study, seed=seed, **given), Random(seed)
        for number in range(50):
            trial, quality = engine.ask(), draw.gauss(0, 1)
            assert trial is not None
            for epoch in range(1, max_epochs + 1):
                if engine.report(trial, epoch, quality + draw.gauss(0, 0.5)):
                    engine.prune(trial)
                    break
            else:
                engine.complete(trial, quality)
            (first if number < 7 else sampled).append(epoch / max_epochs)
    for trained, is_first in ((first, True), (sampled, False)):
        expected = PRUNERS[pruner].expected_epochs(max_epochs, is_first=is_first) / max_epochs
        assert expected == pytest.approx(mean(trained), rel=0.15)


def test_nothing_is_known_before_anything_has_happened() -> None:
    left = TimeLeft(plan(), None)
    assert left.seconds(waiting=50, waiting_first=7, running=[], workers=2) is None


def test_at_the_end_the_time_left_is_that_of_the_last_trial() -> None:
    left = TimeLeft(plan(pruner="none"), SPEED)
    half = Running(epochs=4, seconds=100.0, is_first=False, budget=8)
    assert left.seconds(waiting=0, waiting_first=0, running=[half], workers=2) == 100.0
    assert left.seconds(waiting=0, waiting_first=0, running=[], workers=2) == 0.0


def test_a_trial_past_the_last_rung_is_expected_to_run_to_its_end() -> None:
    left = TimeLeft(plan(), SPEED)

    def seconds(epochs: int) -> float | None:
        running = [Running(epochs=epochs, seconds=10.0 * epochs, is_first=False, budget=8)]
        return left.seconds(waiting=0, waiting_first=0, running=running, workers=1)

    assert seconds(4) == 40.0
    # It has passed the first of two rungs.
    assert seconds(2) == pytest.approx(10 * (0.62 * 2 + 0.38 * 6))


def test_a_trial_with_a_budget_of_its_own_is_expected_to_run_to_its_end() -> None:
    left = TimeLeft(plan(pruner="hyperband", has_budgets=True), SPEED)

    def seconds(epochs: int, budget: int) -> float | None:
        running = [Running(epochs=epochs, seconds=30.0, is_first=False, budget=budget)]
        return left.seconds(waiting=0, waiting_first=0, running=running, workers=1)

    assert seconds(1, budget=2) == 30.0
    assert seconds(1, budget=6) == 150.0
    short, long = seconds(0, budget=1), seconds(0, budget=3)
    assert short is not None and long is not None and short < long


def test_no_pruner_is_expected_to_stop_a_trial_of_a_tuner_with_budgets() -> None:
    left = TimeLeft(plan(pruner="hyperband", has_budgets=True), SPEED)
    full = Running(epochs=3, seconds=30.0, is_first=False, budget=8)
    assert left.seconds(waiting=0, waiting_first=0, running=[full], workers=1) == 50.0


def test_nine_epochs_have_their_last_rung_where_the_pruner_has_it() -> None:
    left = TimeLeft(plan(epochs=9), SPEED)
    past = Running(epochs=Rungs.of(9).last, seconds=40.0, is_first=False, budget=9)
    assert left.seconds(waiting=0, waiting_first=0, running=[past], workers=1) == 50.0


def test_before_its_first_trial_the_time_left_is_the_length_of_a_search() -> None:
    slow_start = Speed(workers=2, images_per_second=742.0, startup_seconds=60.0)
    left = TimeLeft(plan(), slow_start)
    seconds = left.seconds(waiting=50, waiting_first=7, running=[], workers=2)
    assert seconds == plan().seconds(slow_start)
    # Each of them builds its model, whatever it costs to train.
    none = Speed(workers=2, images_per_second=742.0, startup_seconds=0.0)
    assert seconds == pytest.approx(plan().seconds(none) + 50 * 60.0 / 2)


@pytest.mark.parametrize(
    ("minutes", "epochs", "epoch_size"),
    [
        (1_000, 30, 50_000),
        (100, 10, 50_000),
        (60, 8, 43_000),
        (20, 8, 12_000),
        (10, 4, 5_800),
        (5, 2, 2_400),
    ],
)
def test_epochs_and_images_are_fitted_by_the_rule(
    minutes: int, epochs: int, epoch_size: int
) -> None:
    fitted = fit_to(minutes, SPEED, plan(), train_size=50_000)
    assert (fitted.epochs, fitted.epoch_size) == (epochs, epoch_size)
    assert fitted.seconds(SPEED) <= 60 * minutes


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize(
    ("usual", "train_size"), [(8, 50_000), (11, 7_200), (12, 6_700), (40, 2_000)]
)
def test_as_many_epochs_are_fitted_as_fit(pruner: str, usual: int, train_size: int) -> None:
    slow = Speed(workers=2, images_per_second=310.0, startup_seconds=8.0)
    given = plan(pruner=pruner, val=1_000)
    for minutes in range(30, 500, 7):
        fitted = fit_to(minutes, slow, given, train_size=train_size, usual_epochs=usual)

        def fits(epochs: int, images: int, seconds: float = 60 * minutes) -> bool:
            return replace(given, epochs=epochs, epoch_size=images).seconds(slow) <= seconds

        assert fits(fitted.epochs, fitted.epoch_size)
        whole = [n for n in range(usual, max(30, usual) + 1) if fits(n, train_size)]
        parts = [n for n in range(2, usual + 1) if fits(n, min(5_000, train_size))]
        if whole:
            assert (fitted.epochs, fitted.epoch_size) == (max(whole), train_size)
        elif parts:
            assert fitted.epochs == max(parts)
        else:
            assert fitted.epochs == 2


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        ({}, ", too few to prune trials; --minutes 20 allows 4 epochs of 5,100"),
        ({"epochs": 3}, None),  # more minutes would not add epochs
        ({"epoch_size": 5_000, "minutes": 17.0}, "; --minutes 20 allows 4 epochs of 5,000"),
        ({"epoch_size": 50_000, "minutes": 98.0}, "; --minutes 120 allows 4 epochs of 50,000"),
        ({"pruner": "none"}, None),
        ({"engine": "keras-tuner"}, None),  # its Hyperband has epoch budgets
    ],
)
def test_the_minutes_that_are_said_to_allow_pruning_do(
    flags: dict[str, Any], hint: str | None
) -> None:
    slow = Speed(workers=2, images_per_second=742.0, startup_seconds=6.0)
    given = SearchSettings(**({"trials": 50, "minutes": 15.0, "val_size": 10_000} | flags))
    first = {str(number): {} for number in range(7)}
    inputs = Inputs(
        settings=given, first=first, earlier={}, dataset=made_dataset(), available=50_000
    )
    fitted = fitted_sizes(given, slow, inputs, 30.0)
    words = fitted_line(given, fitted, slow, inputs, 30.0)
    if hint is None:
        assert words.endswith(")")
        return
    assert Rungs.of(fitted.max_epochs).are_none
    assert words.endswith(hint)
    minutes = float(hint.split("--minutes ")[1].split()[0])
    longer = fitted_sizes(replace(given, minutes=minutes), slow, inputs, 30.0)
    assert not Rungs.of(longer.max_epochs).are_none
    assert f"{longer.max_epochs} epochs of {longer.epoch_size or 50_000:,}" in hint


def test_a_trial_that_was_not_stopped_is_expected_to_go_on() -> None:
    for pruner, max_epochs in itertools.product(PRUNERS, (8, 10, 20, 30)):
        known, expected = PRUNERS[pruner], 0.0
        for done in range(max_epochs):
            longer = known.expected_epochs(max_epochs, is_first=False, done=done)
            assert longer > done
            assert longer >= expected
            expected = longer
        assert expected == max_epochs


def test_a_given_size_is_kept_and_the_other_fitted() -> None:
    by_images = fit_to(30, SPEED, plan(), train_size=50_000, epoch_size=10_000)
    assert by_images.epoch_size == 10_000
    assert 8 < by_images.epochs < 30
    by_epochs = fit_to(30, SPEED, plan(), train_size=50_000, epochs=20)
    assert by_epochs.epochs == 20
    assert 2_000 < by_epochs.epoch_size < 8_000


def test_faster_workers_and_more_of_them_are_given_more_images() -> None:
    def epoch_size(**speed: float) -> int:
        given = {"workers": 2, "images_per_second": 300.0, "startup_seconds": 3.0}
        return fit_to(30, Speed(**(given | speed)), plan(), train_size=50_000).epoch_size  # type: ignore[arg-type]

    assert epoch_size() < epoch_size(images_per_second=600.0) < epoch_size(images_per_second=1200.0)
    assert epoch_size() < epoch_size(workers=4)


def test_small_data_is_fitted_as_a_whole() -> None:
    fitted = fit_to(60, SPEED, plan(val=100), train_size=500, usual_epochs=default_epochs(500))
    assert (fitted.epochs, fitted.epoch_size) == (100, 500)


def test_time_that_is_already_spent_is_not_planned_again() -> None:
    full = fit_to(20, SPEED, plan(), train_size=50_000)
    late = fit_to(30, SPEED, plan(), train_size=50_000, spent_seconds=600.0)
    assert late == full


@pytest.mark.parametrize(
    ("minutes", "given", "message"),
    [
        (
            2,
            {},
            "--minutes is 2, but 50 trials of 2 epochs of 2,000 images take about 5 min here; "
            r"raise it to 5, or lower --trials to \d+\.$",
        ),
        (2, {"epochs": 9}, "50 trials of 9 epochs of 2,000 images take about"),
        (2, {"epoch_size": 50_000}, "50 trials of 2 epochs of 50,000 images take about"),
        (0.01, {}, r"take about 5 min here; raise it to 5\.$"),
    ],
)
def test_too_little_time_is_refused_with_what_would_fit(
    minutes: float, given: dict[str, int], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        fit_to(minutes, SPEED, plan(), train_size=50_000, **given)


def test_what_a_refusal_names_does_fit() -> None:
    with pytest.raises(SettingsError) as refused:
        fit_to(2, SPEED, plan(), train_size=50_000)
    words = str(refused.value).replace(".", "").replace(",", "").split()
    fit_to(int(words[words.index("to") + 1]), SPEED, plan(), train_size=50_000)
    trials = int(words[-1])
    fit_to(2, SPEED, plan(trials=trials, first=7), train_size=50_000)


def test_without_pruning_a_search_takes_longer() -> None:
    assert plan(pruner="none").seconds(SPEED) > 2 * plan().seconds(SPEED)


def test_the_measurement_of_latencies_counts_in_the_length_but_not_in_the_pace() -> None:
    measured = plan(pruner="none", extra_seconds=10.0)
    assert measured.seconds(SPEED) == pytest.approx(
        plan(pruner="none").seconds(SPEED) + 10 * measured.trials / SPEED.workers
    )
    left = TimeLeft(measured, SPEED)
    half = Running(epochs=4, seconds=110.0, is_first=False, budget=8, latency_seconds=10.0)
    assert left.seconds(waiting=0, waiting_first=0, running=[half], workers=1) == 100.0


@pytest.mark.parametrize(
    ("flags", "seconds"),
    [({}, 0.0), ({"objective": "accuracy,latency"}, 8.0), ({"max_latency_ms": 2.0}, 8.0)],
)
def test_a_search_that_measures_latencies_plans_their_time(
    flags: dict[str, Any], seconds: float
) -> None:
    settings = SearchSettings(trials=5, epochs=2, train_size=100, val_size=50, **flags)
    inputs = Inputs(settings=settings, first={}, earlier={}, dataset=made_dataset(), available=100)
    assert plan_of(settings, inputs).extra_seconds == seconds


@pytest.mark.parametrize(
    ("space", "first", "sampled"),
    [("cnn", FIRST_COST, SAMPLED_COST), ("mlp", 1.0, 1.0), ("my:Net", 1.0, 1.0)],
)
def test_what_trials_of_the_cnn_space_cost_is_planned_for_that_space_only(
    space: str, first: float, sampled: float
) -> None:
    settings = SearchSettings(space=space, trials=5, epochs=2, train_size=100, val_size=50)
    inputs = Inputs(settings=settings, first={}, earlier={}, dataset=made_dataset(), available=100)
    planned = plan_of(settings, inputs)
    assert (planned.first_cost, planned.sampled_cost) == (first, sampled)


def test_workers_cannot_share_a_trial() -> None:
    many = Speed(workers=100, images_per_second=742.0, startup_seconds=3.0)
    one = Speed(workers=1, images_per_second=742.0, startup_seconds=3.0)
    single = plan(trials=1, first=1)
    assert single.seconds(many) == single.seconds(one)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3, "about 10 s"),
        (42, "about 40 s"),
        (95, "about 2 min"),
        (2_000, "about 33 min"),
        (3_600, "about 1 h"),
        (9_700, "about 2 h 40 min"),
        (7_190, "about 2 h"),
    ],
)
def test_an_expected_time_is_as_exact_as_it_can_be(seconds: float, words: str) -> None:
    assert about(seconds) == words


def test_a_search_says_what_is_coming() -> None:
    slow = Speed(workers=2, images_per_second=306.0, startup_seconds=6.0)
    assert expectation(plan(), slow, "this machine", "float32") == (
        "about 2 h 40 min for 50 trials on this machine (2 workers, float32); use --minutes 30 for "
        "a shorter search"
    )
    assert expectation(plan(epoch_size=500, val=100), slow, "this cluster", "bfloat16") == (
        "about 4 min for 50 trials on this cluster (2 workers, bfloat16)"
    )
    assert remaining_words(1, 30.0) == "about 30 s for 1 more trial"
    fitted = fit_to(60, slow, plan(), train_size=50_000)
    assert fitted_words(60, fitted, slow, train_size=50_000) == (
        "2 workers train about 310 images/s each: 50 trials in 60 min allow 8 epochs of 15,000 "
        "images (--epochs 8 --epoch-size 15000)"
    )
    unpruned = plan(pruner="none")
    fitted = fit_to(15, slow, unpruned, train_size=50_000)
    assert fitted_words(15, fitted, slow, train_size=50_000).endswith("--epoch-size 4300)")
    one = Speed(workers=1, images_per_second=50_000.0, startup_seconds=1.0)
    fitted = fit_to(60, one, plan(), train_size=50_000)
    assert fitted_words(60, fitted, one, train_size=50_000) == (
        "1 worker trains about 50,000 images/s: 50 trials in 60 min allow 30 epochs of all 50,000 "
        "images (about 7 min; --epochs 30)"
    )


@pytest.mark.parametrize(
    "change",
    [{"workers": 0}, {"images_per_second": 0.0}, {"startup_seconds": -1.0}]
    + [{name: float("nan")} for name in ("images_per_second", "startup_seconds")],
)
def test_an_impossible_speed_is_refused(change: dict[str, float]) -> None:
    given = {"workers": 2, "images_per_second": 1.0, "startup_seconds": 0.0}
    with pytest.raises(ValueError, match=next(iter(change))):
        Speed(**(given | change))  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"trials": 0}, {"epoch_size": 0}, {"first": 51}, {"epochs": 0}])
def test_an_impossible_plan_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        plan(**change)


def test_a_speed_is_read_as_it_was_stored() -> None:
    assert Speed.from_fact(SPEED.fact) == SPEED

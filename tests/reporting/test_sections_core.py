"""Verdict, facts, main table and limits: the right words and numbers, and gaps said as such."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reporting.chapters import accuracy, facts, limits, tradeoff, verdict
from reporting.drawing.style import percent, points
from reporting.evidence import Evidence
from reporting.page.document import Block, Code, Paragraph, Table
from reporting.predictions import write_predictions
from reporting.retraining.order import Retrained
from reporting.retraining.plan import Plan
from search.data.classes import CLASS_NAMES
from search.data.split import Split
from search.workers.messages import Failed
from tests.reporting.made_evidence import made_evidence


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return made_evidence(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return made_evidence(tmp_path_factory.mktemp("bare"), retrained=False)


@pytest.fixture(scope="module")
def gapped(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return made_evidence(tmp_path_factory.mktemp("gapped"), gaps=("vgg-cnn",), seeds=1)


def words(section: list[Block]) -> str:
    return " ".join(block.text for block in section if isinstance(block, Paragraph))


def table(section: list[Block], name: str) -> Table:
    return next(b for b in section if isinstance(b, Table) and b.name == name)


def test_the_verdict_names_what_tuned_beats_and_by_how_much(evidence: Evidence) -> None:
    said = words(verdict.blocks(evidence))
    tuned, rival = evidence.tuned, evidence.best_baseline
    assert tuned is not None
    assert rival is not None
    assert percent(tuned.accuracy.mean) in said
    difference = evidence.differences[rival.name]
    by = points(difference.mean).lstrip("+")
    assert f"Tuned beats {rival.name} by {by} points (95 % interval" in said
    for name in evidence.differences:
        assert name in said
    assert said.count("over images and seeds; Holm-corrected p") == len(evidence.differences)


def test_the_verdict_says_how_long_both_were_trained(evidence: Evidence) -> None:
    rows = [
        dataclasses.replace(
            row,
            runs=[dataclasses.replace(run, history=run.history[:7]) for run in row.runs],
        )
        if row.kind == "baseline"
        else row
        for row in evidence.rows
    ]
    made = dataclasses.replace(evidence, rows=rows)
    strong = [
        block.text
        for block in verdict.blocks(made)
        if isinstance(block, Paragraph) and block.strong
    ]
    rival = made.best_baseline
    assert rival is not None
    assert f"; 10 epochs against 7, {rival.name} as published, untuned)." in strong[-1]


def test_a_winner_that_is_a_first_configuration_is_said_to_be_one(evidence: Evidence) -> None:
    assert evidence.winner is not None
    trials = evidence.record.trials.copy()
    trials.loc[evidence.winner.candidate.number, "baseline"] = "bn-cnn"
    made = dataclasses.replace(evidence, record=dataclasses.replace(evidence.record, trials=trials))
    assert "It is bn-cnn itself: the search found nothing better" in words(verdict.blocks(made))
    trials.loc[evidence.winner.candidate.number, "baseline"] = None
    assert "It is bn-cnn itself" not in words(verdict.blocks(made))


def test_one_seed_shows_no_difference_and_every_chapter_says_why(gapped: Evidence) -> None:
    unknown = "over images only; variation between seeds unknown"
    said = words(verdict.blocks(gapped))
    assert "beats" not in said
    assert "is beaten by" not in said
    assert said.count(unknown) == 1
    main = table(accuracy.blocks(gapped), "accuracy")
    assert f"95 % bootstrap interval {unknown};" in main.caption
    limited = words(limits.blocks(gapped))
    assert f"{' and '.join(list(gapped.differences)[-2:])}: intervals {unknown}." in limited
    assert "One seed has no interval" in limited
    assert "1 seeds" not in limited


def test_a_single_baseline_of_one_seed_is_named(evidence: Evidence) -> None:
    few = {
        name: dataclasses.replace(difference, seeds=1 if name == "mlp" else 3)
        for name, difference in evidence.differences.items()
    }
    made = dataclasses.replace(evidence, differences=few)
    unknown = "over images only; variation between seeds unknown"
    caption = table(accuracy.blocks(made), "accuracy").caption
    assert "over images and seeds, each drawn on its own, seeds within their row" in caption
    assert f"; to mlp {unknown};" in caption
    assert f"Differences to mlp: intervals {unknown}." in words(limits.blocks(made))


def test_several_seeds_are_drawn_and_the_caption_says_how(evidence: Evidence) -> None:
    caption = table(accuracy.blocks(evidence), "accuracy").caption
    assert "over images and seeds, each drawn on its own, seeds within their row;" in caption
    assert "McNemar's exact test of the first seeds' models, Holm-corrected" in caption
    said = words(limits.blocks(evidence))
    assert "images only" not in caption + said
    assert "Intervals over 3 seeds are wide" in said


def test_a_difference_that_is_not_shown_is_said_so(tmp_path: Path) -> None:
    weak = made_evidence(tmp_path, images=60)
    name = next(name for name, difference in weak.differences.items() if not difference.shown)
    assert f"A difference to {name} is not shown" in words(verdict.blocks(weak))


def test_without_retraining_nothing_is_claimed(bare: Evidence) -> None:
    said = words(verdict.blocks(bare))
    assert "Nothing is shown yet" in said
    assert "beats" not in said
    assert "no test results" in words(accuracy.blocks(bare))


def test_the_main_table_has_every_row_with_its_claim(evidence: Evidence) -> None:
    shown = table(accuracy.blocks(evidence), "accuracy").shown.set_index("network")
    assert list(shown.index) == [row.name for row in evidence.rows]
    assert shown.loc["vgg-cnn", "published"] == "92.54 % (loss 0.276)"
    assert shown.loc["plain-cnn", "published"] == "no number"
    assert (shown.loc["bn-cnn", "n"], shown.loc["tuned, ensemble of 3", "n"]) == (3, 1)
    values = table(accuracy.blocks(evidence), "accuracy").values
    assert values is not None
    for row, mean in zip(evidence.rows, values["test_accuracy"], strict=True):
        assert mean == pytest.approx(row.correct.mean())


def test_an_ensemble_costs_what_all_its_models_cost(evidence: Evidence) -> None:
    values = table(accuracy.blocks(evidence), "costs").values
    front = table(tradeoff.blocks(evidence), "tradeoff-costs").values
    assert values is not None
    assert front is not None
    costs = values.set_index("network")
    one, flipped, three = ("tuned", "tuned, flip averaged", "tuned, ensemble of 3")
    assert [row.models for row in evidence.rows[:3]] == [1, 1, 3]
    for name, cost in (("parameters", 123_456), ("train_seconds", 200), ("train_cpu_seconds", 190)):
        assert costs.loc[[one, flipped, three], name].tolist() == [cost, cost, 3 * cost]
    same = front.set_index("row")["parameters"]
    assert same.to_dict() == costs["parameters"].to_dict()
    shown = table(accuracy.blocks(evidence), "costs").shown.set_index("network")
    assert shown.loc[three, ["parameters", "training CPU s"]].tolist() == ["370,368", "570"]


def test_predictions_are_of_the_first_seed(evidence: Evidence, tmp_path: Path) -> None:
    write_predictions(evidence, tmp_path / "predictions.csv")
    written = pd.read_csv(tmp_path / "predictions.csv")
    assert written["image"].tolist() == list(range(1000))
    names = np.array(CLASS_NAMES)
    for row in evidence.scored:
        first = row.probabilities[0]
        assert written[f"{row.name}: class"].tolist() == list(names[first.argmax(axis=1)])
        np.testing.assert_allclose(
            written[f"{row.name}: probability"], first.max(axis=1), atol=5.1e-5
        )
        assert written[f"{row.name}: seeds right"].tolist() == row.correct.sum(axis=0).tolist()


def test_a_gap_is_marked_and_explained(gapped: Evidence) -> None:
    section = accuracy.blocks(gapped)
    shown = table(section, "accuracy").shown.set_index("network")
    assert shown.loc["vgg-cnn *", "test accuracy"] == "-"
    assert pd.isna(shown.loc["vgg-cnn *", "n"])
    assert "* vgg-cnn: failed: out of memory." in words(section)
    assert "see vgg-cnn below" in words(verdict.blocks(gapped))


def test_the_candidates_show_what_the_search_flattered(evidence: Evidence) -> None:
    shown = table(accuracy.blocks(evidence), "candidates").shown
    best = evidence.record.complete.head(3)
    assert [cell.split()[0] for cell in shown["trial"]] == [str(number) for number in best.index]
    assert shown.iloc[0]["trial"].endswith("(chosen)")
    assert shown["n"].tolist() == [2, 2, 2]


def test_the_facts_say_which_images_each_number_is_measured_on(evidence: Evidence) -> None:
    section = facts.blocks(evidence)
    splits = table(section, "splits").shown
    assert splits["measured on"].tolist() == ["500 validation", "500 validation", "1,000 test"]
    commands = next(block.text for block in section if isinstance(block, Code))
    assert commands.splitlines() == ["python run_search.py --trials 30", "python report.py"]


def test_the_limits_ask_for_more_seeds_where_there_are_few(evidence: Evidence) -> None:
    assert "larger --seeds" in words(limits.blocks(evidence))


def test_the_limits_say_that_fewer_images_weaken_the_baselines_too(evidence: Evidence) -> None:
    fewer = "The baselines saw fewer images than in their publications too."
    said = words(limits.blocks(evidence))
    assert (
        f"The study has 2,500 of 60,000 training images (--train-size, or smaller data). {fewer}"
        in said
    )
    full = Split(
        train_images=np.zeros((59_500, 28, 28), np.uint8),
        train_labels=np.zeros(59_500, np.uint8),
        val_images=evidence.split.val_images,
        val_labels=evidence.split.val_labels,
    )
    assert fewer not in words(limits.blocks(dataclasses.replace(evidence, split=full)))


def results(plan: Plan, directory: Path, values: list[list[float | None]]) -> dict[str, object]:
    """Validation accuracies by candidate and seed; None: a failed training."""
    found: dict[str, object] = {}
    for candidate, row in zip(plan.candidates, values, strict=False):
        for task, value in zip(candidate.tasks, row, strict=False):
            kept = Retrained(
                folder=directory,
                seed=1,
                parameters=1,
                history=[],
                train_seconds=1,
                cpu_seconds=1,
                val_accuracy=value,
                origin={},
            )
            found[task.retraining.key] = Failed(reason="x") if value is None else kept
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
    plan = Plan(evidence.settings, evidence.record)
    found = plan.choose(results(plan, tmp_path, values))  # type: ignore[arg-type]
    assert found is (None if chosen is None else plan.candidates[chosen])

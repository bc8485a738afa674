"""Verdict, facts, main table and limits: the right words and numbers, and gaps said as such."""

import dataclasses
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from matplotlib.text import Text

from reporting.chapters import accuracy, facts, limits, tradeoff, verdict
from reporting.drawing.style import percent, points
from reporting.evidence import Evidence, Row, differences
from reporting.page.document import Block, Code, Paragraph, Picture, Table
from reporting.plan import Plan
from reporting.retraining import Retrained
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


def pictures(section: list[Block]) -> dict[str, Picture]:
    return {block.name: block for block in section if isinstance(block, Picture)}


def test_the_verdict_names_what_tuned_beats_and_by_how_much(evidence: Evidence) -> None:
    said = words(verdict.blocks(evidence))
    tuned, rival = evidence.tuned, evidence.best_baseline
    assert tuned is not None
    assert rival is not None
    assert percent(tuned.accuracy.mean) in said
    difference = evidence.differences[rival.name]
    by = points(difference.mean).lstrip("+")
    assert f"Tuned beats {rival.name}, the best baseline, by {by} points (95 % interval" in said
    for name in evidence.differences:
        assert name in said
    assert "over images and seeds; Holm-corrected p" in said


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
    assert strong[-1].endswith(
        f"Tuned was trained for 10 epochs; {rival.name}, as published and not tuned, for 7."
    )


def test_a_winner_that_is_a_first_configuration_is_said_to_be_one(evidence: Evidence) -> None:
    assert evidence.winner is not None
    trials = evidence.record.trials.copy()
    trials.loc[evidence.winner.candidate.number, "baseline"] = "bn-cnn"
    made = dataclasses.replace(evidence, record=dataclasses.replace(evidence.record, trials=trials))
    line = "is bn-cnn, a configuration that the search starts with: it found nothing better."
    assert line in words(verdict.blocks(made))
    trials.loc[evidence.winner.candidate.number, "baseline"] = None
    assert line not in words(verdict.blocks(made))


def test_one_seed_shows_no_difference_and_every_chapter_says_why(gapped: Evidence) -> None:
    unknown = "over images only; variation between seeds unknown"
    said = words(verdict.blocks(gapped))
    assert "One seed cannot show a difference from " in said
    assert "beats" not in said
    assert "is worse than" not in said
    assert said.count(unknown) == 1
    main = table(accuracy.blocks(gapped), "accuracy")
    assert f"95 % bootstrap interval {unknown}. " in main.note
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
    caption = table(accuracy.blocks(made), "accuracy").note
    assert f"95 % bootstrap interval over images and seeds (for mlp {unknown})." in caption
    assert f"Differences to mlp: intervals {unknown}." in words(limits.blocks(made))


def test_several_seeds_are_drawn_and_the_caption_says_how(evidence: Evidence) -> None:
    caption = table(accuracy.blocks(evidence), "accuracy").note
    assert "95 % bootstrap interval over images and seeds." in caption
    details = table(accuracy.blocks(evidence), "accuracy-details").note
    assert "McNemar's exact test between the models of the first seeds, Holm-corrected" in details
    said = words(limits.blocks(evidence))
    assert "images only" not in caption + said
    assert "Intervals over 3 seeds are wide" in said


def test_a_difference_that_is_not_shown_is_said_so(tmp_path: Path) -> None:
    weak = made_evidence(tmp_path, images=60)
    assert not any(difference.shown for difference in weak.differences.values())
    said = words(verdict.blocks(weak))
    rival = weak.best_baseline
    assert rival is not None
    assert f"No significant difference from {rival.name}, the best baseline (" in said
    for name in weak.differences:
        assert name in said
    assert "beats" not in said


def test_without_retraining_nothing_is_claimed(bare: Evidence) -> None:
    said = words(verdict.blocks(bare))
    assert "No test results yet" in said
    assert "beats" not in said
    assert words(accuracy.blocks(bare)) == bare.no_test_results


def test_the_main_table_has_few_columns_and_its_file_has_all(evidence: Evidence) -> None:
    main = table(accuracy.blocks(evidence), "accuracy")
    assert list(main.shown) == [
        "network",
        "parameters",
        "test accuracy (95 % interval)",
        "Δ accuracy (pp)",
        "training CPU s",
    ]
    assert list(main.shown["network"]) == [row.name for row in evidence.rows]
    for row, (_, line) in zip(evidence.rows, main.values.iterrows(), strict=True):
        assert line["test_accuracy"] == pytest.approx(row.correct.mean())
        each = line[[f"seed {seed + 1}" for seed in range(len(row.correct))]]
        assert each.tolist() == pytest.approx(row.correct.mean(axis=1).tolist())
        found = evidence.differences.get(row.name)
        expected = np.nan if found is None else found.mean
        assert line["difference"] == pytest.approx(expected, nan_ok=True)
    tuned = evidence.rows[0].accuracy
    assert tuned.low is not None
    shown = main.shown.iloc[0]["test accuracy (95 % interval)"]
    assert shown.startswith(f"{percent(tuned.mean)} ({100 * tuned.low:.2f} to ")


def test_the_details_have_what_the_main_table_leaves_out(evidence: Evidence) -> None:
    section = accuracy.blocks(evidence)
    details = table(section, "accuracy-details")
    assert details.fold
    shown = details.shown.set_index("network")
    assert (shown.loc["bn-cnn", "seeds"], shown.loc["tuned, ensemble of 3", "seeds"]) == ("3", "1")
    assert shown.loc["tuned, ensemble of 3", "SD (pp)"] == "-"
    claims = table(section, "baselines").shown.set_index("network")
    assert claims.loc["vgg-cnn", "published accuracy"] == "92.54 % (loss 0.276)"
    assert claims.loc["plain-cnn", "published accuracy"] == "no number"


def test_an_ensemble_costs_what_all_its_models_cost(evidence: Evidence) -> None:
    main = table(accuracy.blocks(evidence), "accuracy")
    costs = main.values.set_index("network")
    one, flipped, three = ("tuned", "tuned, flip averaged", "tuned, ensemble of 3")
    assert [row.models for row in evidence.rows[:3]] == [1, 1, 3]
    for name, cost in (("parameters", 123_456), ("train_seconds", 200), ("train_cpu_seconds", 190)):
        assert costs.loc[[one, flipped, three], name].tolist() == [cost, cost, 3 * cost]
    shown = main.shown.set_index("network")
    assert shown.loc[three, ["parameters", "training CPU s"]].tolist() == ["370,368", "570"]


def test_predictions_are_of_the_first_seed(evidence: Evidence) -> None:
    written = evidence.predictions()
    assert written["image"].tolist() == list(range(1000))
    names = np.array(CLASS_NAMES)
    for row in evidence.scored:
        first = row.probabilities[0]
        assert written[f"{row.name}: class"].tolist() == list(names[first.argmax(axis=1)])
        np.testing.assert_allclose(
            written[f"{row.name}: probability"], first.max(axis=1), atol=5.1e-5
        )
        assert written[f"{row.name}: seeds right"].tolist() == row.correct.sum(axis=0).tolist()


def test_a_gap_is_a_row_of_dashes_and_one_sentence(gapped: Evidence) -> None:
    section = accuracy.blocks(gapped)
    shown = table(section, "accuracy").shown.set_index("network")
    assert set(shown.loc["vgg-cnn"]) == {"-"}
    line = (
        "Not all final trainings are finished: vgg-cnn, 0 of 1 trainings (failed: out of memory)."
    )
    assert words(section).count(line) == 1
    assert "Some trainings are missing or failed: vgg-cnn." in words(verdict.blocks(gapped))


def test_the_candidates_show_what_retraining_changes(evidence: Evidence) -> None:
    shown = table(accuracy.blocks(evidence), "candidates").shown
    best = evidence.record.complete.head(3)
    assert shown["trial"].tolist() == [str(number) for number in best.index]
    assert shown["chosen"].tolist() == ["yes", "", ""]
    assert shown["seeds"].tolist() == ["2", "2", "2"]
    assert shown["change (pp)"].iloc[0].startswith("-")


def test_the_facts_say_which_images_each_number_is_measured_on(evidence: Evidence) -> None:
    section = facts.blocks(evidence)
    splits = table(section, "splits").shown
    assert splits["measured on"].tolist() == ["500 validation", "500 validation", "1,000 test"]
    commands = next(block.text for block in section if isinstance(block, Code))
    assert commands.splitlines() == ["python run_search.py --trials 30", "python report.py"]


def test_the_limits_ask_for_more_seeds_where_there_are_few(evidence: Evidence) -> None:
    assert "larger --seeds" in words(limits.blocks(evidence))


def test_the_limits_say_that_fewer_images_weaken_the_baselines_too(evidence: Evidence) -> None:
    fewer = "The baselines too saw fewer images than in their publications."
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
        for retraining, value in zip(candidate.retrainings, row, strict=False):
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
    plan = Plan(evidence.settings, evidence.record)
    found = plan.choose(results(plan, tmp_path, values))  # type: ignore[arg-type]
    assert found is (None if chosen is None else plan.candidates[chosen])


# Accuracy against cost


def with_costs(row: Row, parameters: int, milliseconds: float | None) -> Row:
    runs = [dataclasses.replace(run, parameters=parameters) for run in row.runs]
    return dataclasses.replace(row, runs=runs, milliseconds_per_image=milliseconds)


def test_the_front_has_what_nothing_beats_at_its_cost(evidence: Evidence) -> None:
    costs = {"tuned": (1000, 0.5), "mlp": (10, 0.1), "vgg-cnn": (100, None)}
    rows = [with_costs(row, *costs.get(row.name, (2000, 0.6))) for row in evidence.rows]
    found = pictures(tradeoff.blocks(dataclasses.replace(evidence, rows=rows)))
    means = {row.name: row.accuracy.mean for row in rows if row.kind != "variant"}
    front = ["mlp", *(["vgg-cnn"] if means["vgg-cnn"] > means["mlp"] else []), "tuned"]
    finding = found["tradeoff-parameters"].finding
    named = finding.removeprefix("Pareto front, from fewest parameters to highest accuracy: ")
    assert named.replace(" and ", ", ").split(", ")[: len(front)] == front
    caption = found["tradeoff-milliseconds"].caption
    assert "Not measured for vgg-cnn." in caption
    assert "in batches of 500" in caption


def test_labels_do_not_overlap(evidence: Evidence) -> None:
    rows = [
        dataclasses.replace(row, name=f"{row.name}, a rather long name", probabilities=p)
        for row, p in ((row, evidence.rows[0].probabilities) for row in evidence.rows)
    ]
    for picture in pictures(tradeoff.blocks(dataclasses.replace(evidence, rows=rows))).values():
        picture.figure.draw_without_rendering()
        # Of the words alone: an annotation's own extent has its line, too.
        boxes = [Text.get_window_extent(text) for text in picture.figure.axes[0].texts]
        heights = sorted((box.y0, box.y1) for box in boxes)
        assert len(heights) == len(rows)
        for (_, upper), (lower, _) in pairwise(heights):
            assert upper <= lower
        assert min(box.y0 for box in boxes) >= 0
        assert max(box.x1 for box in boxes) <= picture.figure.bbox.x1


# Every seed


def test_every_seed_is_a_point(evidence: Evidence) -> None:
    figure = pictures(accuracy.blocks(evidence))["seeds-points"].figure
    drawn = np.concatenate([line.get_xdata() for line in figure.axes[0].lines])
    for row in evidence.scored:
        for value in row.correct.mean(axis=1):
            assert np.isclose(drawn, 100 * value).any()
    assert np.isclose(drawn, 92.54).any()


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("vgg-cnn", 0.9254),
        ("mlp", 0.85),
        ("lenet-bn", 0.90),
        ("bn-cnn", None),
        ("plain-cnn", None),
        ("default", None),
    ],
)
def test_published_numbers(name: str, number: float | None, evidence: Evidence) -> None:
    row = dataclasses.replace(evidence.rows[-1], name=name)
    assert accuracy.published(row) == (None if number is None else pytest.approx(number))
    assert accuracy.published(dataclasses.replace(row, kind="tuned")) is None


@pytest.mark.parametrize("chapter", [accuracy, tradeoff, verdict])
@pytest.mark.parametrize("kept", ["tuned", "baseline", ""])
def test_chapters_are_written_from_some_rows_only(
    chapter: ModuleType, kept: str, evidence: Evidence
) -> None:
    empty = np.empty((0, 1000, 10))
    rows = [
        row
        if row.kind == kept
        else dataclasses.replace(row, runs=[], probabilities=empty, gap="killed")
        for row in evidence.rows
    ]
    section = chapter.blocks(
        dataclasses.replace(evidence, rows=rows, differences=differences(rows))
    )
    assert section
    for picture in pictures(section).values():
        picture.figure.draw_without_rendering()

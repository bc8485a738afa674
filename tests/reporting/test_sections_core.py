"""Verdict, facts, main table and limits: the right words and numbers, and gaps said as such."""

from pathlib import Path

import pandas as pd
import pytest

from reporting.document import Code, Paragraph, Section, Table
from reporting.drawing.style import percent, points
from reporting.evidence import Evidence
from reporting.retraining.order import Retrained
from reporting.retraining.plan import Plan
from reporting.sections import accuracy, facts, limits, verdict
from search.messages import Failed
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


def words(section: Section) -> str:
    return " ".join(block.text for block in section.blocks if isinstance(block, Paragraph))


def table(section: Section, name: str) -> Table:
    return next(b for b in section.blocks if isinstance(b, Table) and b.name == name)


def test_the_verdict_names_what_tuned_beats_and_by_how_much(evidence: Evidence) -> None:
    said = words(verdict.section(evidence))
    tuned, rival = evidence.tuned, evidence.best_baseline
    assert tuned is not None
    assert rival is not None
    assert percent(tuned.accuracy.mean) in said
    difference = evidence.differences[rival.name]
    by = points(difference.mean).lstrip("+")
    assert f"Tuned beats {rival.name} by {by} points (95 % interval" in said
    for name in evidence.differences:
        assert name in said


def test_a_difference_that_is_not_shown_is_said_so(tmp_path: Path) -> None:
    weak = made_evidence(tmp_path, images=60)
    name = next(name for name, difference in weak.differences.items() if not difference.shown)
    assert f"A difference to {name} is not shown" in words(verdict.section(weak))


def test_without_retraining_nothing_is_claimed(bare: Evidence) -> None:
    said = words(verdict.section(bare))
    assert "Nothing is shown yet" in said
    assert "beats" not in said
    assert "no test results" in words(accuracy.section(bare))


def test_the_main_table_has_every_row_with_its_claim(evidence: Evidence) -> None:
    shown = table(accuracy.section(evidence), "accuracy").shown.set_index("network")
    assert list(shown.index) == [row.name for row in evidence.rows]
    assert shown.loc["vgg-cnn", "published"] == "92.54 % (loss 0.276)"
    assert shown.loc["plain-cnn", "published"] == "no number"
    assert (shown.loc["bn-cnn", "n"], shown.loc["tuned, ensemble of 3", "n"]) == (3, 1)
    values = table(accuracy.section(evidence), "accuracy").values
    assert values is not None
    for row, mean in zip(evidence.rows, values["test_accuracy"], strict=True):
        assert mean == pytest.approx(row.correct.mean())


def test_a_gap_is_marked_and_explained(gapped: Evidence) -> None:
    section = accuracy.section(gapped)
    shown = table(section, "accuracy").shown.set_index("network")
    assert shown.loc["vgg-cnn *", "test accuracy"] == "-"
    assert pd.isna(shown.loc["vgg-cnn *", "n"])
    assert "* vgg-cnn: failed: out of memory." in words(section)
    assert "see vgg-cnn below" in words(verdict.section(gapped))


def test_the_candidates_show_what_the_search_flattered(evidence: Evidence) -> None:
    shown = table(accuracy.section(evidence), "candidates").shown
    best = evidence.record.complete.head(3)
    assert [cell.split()[0] for cell in shown["trial"]] == [str(number) for number in best.index]
    assert shown.iloc[0]["trial"].endswith("(chosen)")
    assert shown["n"].tolist() == [2, 2, 2]


def test_the_facts_say_which_images_each_number_is_measured_on(evidence: Evidence) -> None:
    section = facts.section(evidence)
    splits = table(section, "splits").shown
    assert splits["measured on"].tolist() == ["500 validation", "500 validation", "1,000 test"]
    commands = next(block.text for block in section.blocks if isinstance(block, Code))
    assert commands.splitlines() == ["python run_search.py --trials 30", "python report.py"]


def test_the_limits_ask_for_more_seeds_where_there_are_few(evidence: Evidence) -> None:
    assert "larger --seeds" in words(limits.section(evidence))


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

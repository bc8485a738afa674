"""A report says what the search has maximized."""

import dataclasses

from reporting.chapters import accuracy, progress, verdict, winner
from reporting.evidence import Evidence
from tests.reporting.written import pictures, tables, words


def test_a_search_for_balanced_accuracy_is_not_reported_as_one_for_accuracy(
    evidence: Evidence,
) -> None:
    facts = dict(evidence.record.facts) | {"objective": "balanced_accuracy"}
    balanced = dataclasses.replace(
        evidence, record=dataclasses.replace(evidence.record, facts=facts)
    )
    for made, measure, best in (
        (evidence, "validation accuracy", "The best accuracy rose from "),
        (balanced, "validation balanced accuracy", "The best balanced accuracy rose from "),
    ):
        assert f"The highest {measure} in the search was " in words(verdict.blocks(made))
        course = progress.blocks(made)
        assert f" {measure}. " in words(course)
        assert f"Line: best {measure} of a complete trial" in words(course)
        assert pictures(course)["progress"].finding.startswith(best)
        assert measure in tables(course)["progress"].shown
        candidates = tables(accuracy.blocks(made))["candidates"]
        assert candidates.caption.startswith(f"{measure.capitalize()} of the chosen trials")
        assert measure in candidates.note
        assert f"it has the highest mean {measure}, " in words(winner.blocks(made))
    note = tables(accuracy.blocks(balanced))["accuracy"].note
    assert "Balanced accuracy: mean recall of the classes, mean over seeds. " in note
    assert "differ in size" not in note

"""The chapter of checks."""

import dataclasses
from typing import Any

from reporting.chapters import checks
from reporting.evidence import Evidence
from search.study.health import CHECKS
from tests.reporting.made_studies import trial
from tests.reporting.written import tables, words


def test_findings_are_named_above_the_table_of_all_checks(searched: Any) -> None:
    made = [trial([0.9], train_accuracy=0.99), *(trial([0.8]) for _ in range(3))]
    section = checks.blocks(searched(made))
    assert f"{len(CHECKS) + 1} checks, 1 finding. Findings are hints" in words(section)
    assert "over-fitting: the best trial, 0, has 99.00%" in words(section)
    table = tables(section)["checks"].shown.set_index("check")
    assert len(table) == len(CHECKS) + 1
    assert (table["found"] != "-").sum() == 1


def test_candidates_that_differ_less_than_their_seeds(evidence: Evidence) -> None:
    def with_accuracies(*accuracies: tuple[float, float]) -> str:
        remeasured = [
            dataclasses.replace(
                part,
                runs=[dataclasses.replace(part.runs[0], val_accuracy=value) for value in values],
            )
            for part, values in zip(evidence.remeasured, accuracies, strict=False)
        ]
        changed = dataclasses.replace(evidence, remeasured=remeasured, winner=remeasured[0])
        return words(checks.blocks(changed))

    assert "seeds differ more than candidates: trial" in with_accuracies(
        (0.940, 0.950), (0.939, 0.949), (0.930, 0.940)
    )
    assert "seeds differ more than candidates: trial" not in with_accuracies(
        (0.950, 0.951), (0.930, 0.931), (0.930, 0.931)
    )


def test_the_lead_is_over_candidates_of_two_seeds_and_names_the_winner(evidence: Evidence) -> None:
    names = [part.candidate.name for part in evidence.remeasured]
    changed = next(name for name in names if " with " in name)
    assert len(names) > 2

    def said(single: int, alone: float) -> str:
        """With equal candidates of two seeds, and one of one seed."""
        remeasured = [
            dataclasses.replace(
                part,
                runs=[
                    dataclasses.replace(part.runs[0], val_accuracy=value)
                    for value in ((0.90, 0.92) if index != single else (alone,))
                ],
            )
            for index, part in enumerate(evidence.remeasured)
        ]
        made = dataclasses.replace(
            evidence, remeasured=remeasured, winner=remeasured[names.index(changed)]
        )
        return words(checks.blocks(made))

    assert f"seeds differ more than candidates: {changed} leads by +0.00 points" in said(0, 0.95)
    assert "seeds differ more than candidates: " not in said(names.index(changed), 0.91)

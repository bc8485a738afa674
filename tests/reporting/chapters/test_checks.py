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
    assert "1 of them found something" in words(section)
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

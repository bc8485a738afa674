"""The choice of the winner."""

from pathlib import Path

import pytest

from reporting.evidence import Evidence
from reporting.plan import Plan
from reporting.retraining import Retrained
from reporting.settings import ReportSettings
from search.workers.messages import Failed


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
    plan = Plan(evidence.settings, evidence.record, evidence.dataset.shape)
    found = plan.choose(results(plan, tmp_path, values))  # type: ignore[arg-type]
    assert found is (None if chosen is None else plan.candidates[chosen])


@pytest.mark.parametrize(
    ("given", "of_a_trial", "epochs"), [(None, 8, 30), (None, 31, 31), (5, 31, 5)]
)
def test_the_winner_trains_for_at_least_the_epochs_of_a_trial(
    given: int | None, of_a_trial: int, epochs: int
) -> None:
    assert ReportSettings(epochs=given).for_trials_of(of_a_trial).final_epochs == epochs

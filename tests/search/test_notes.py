"""Notes, as the dashboard reads them."""

import optuna
import pytest
from optuna_dashboard import get_note

from search.notes import save_trial_note


@pytest.mark.parametrize("lengths", [(10, 20), (9_000, 10), (10, 9_000), (5_000, 5_000), (10, 0)])
def test_the_dashboard_shows_the_latest_note(lengths: tuple[int, int]) -> None:
    study = optuna.create_study()
    trial, other = study.ask(), study.ask()
    before, after = "b" * lengths[0], "a" * lengths[1]
    save_trial_note(study, trial._trial_id, before)
    assert get_note(trial) == before
    save_trial_note(study, trial._trial_id, after, before)
    assert get_note(trial) == after
    assert get_note(other) == ""

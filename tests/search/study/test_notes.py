"""Notes, as the dashboard reads them."""

import optuna
import pytest
from optuna_dashboard import get_note, save_note

from search.study.notes import save_trial_note


@pytest.mark.parametrize("lengths", [(10, 20), (9_000, 10), (10, 9_000), (5_000, 5_000), (10, 0)])
def test_the_dashboard_shows_the_latest_note(lengths: tuple[int, int]) -> None:
    study = optuna.create_study()
    trial, other = study.ask(), study.ask()
    before, after = "b" * lengths[0], "a" * lengths[1]
    save_trial_note(study, trial._trial_id, before, before="")
    assert get_note(trial) == before
    save_trial_note(study, trial._trial_id, after, before=before)
    assert get_note(trial) == after
    assert get_note(other) == ""


def test_a_note_that_an_earlier_run_left_is_replaced_whole() -> None:
    study = optuna.create_study()
    trial = study.ask()
    save_note(trial, "b" * 9_000)
    save_trial_note(study, trial._trial_id, "a", before=None)
    assert get_note(trial) == "a"


def test_no_other_notes_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study()
    trial = study.ask()
    with monkeypatch.context() as unread:
        unread.setattr(study._storage, "get_study_system_attrs", None)
        save_trial_note(study, trial._trial_id, "first", before="")
        save_trial_note(study, trial._trial_id, "second", before="first")
    assert get_note(trial) == "second"

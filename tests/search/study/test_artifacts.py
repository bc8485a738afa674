"""What the dashboard shows beside a trial, and checkpoints."""

from pathlib import Path

import optuna
import pytest
from optuna_dashboard import get_note, save_note

from search.study.artifacts import Checkpoints


@pytest.mark.parametrize("lengths", [(10, 9_000), (9_000, 10)])
def test_a_later_note_replaces_an_earlier_one_whole(lengths: tuple[int, int]) -> None:
    trial = optuna.create_study().ask()
    for length in lengths:
        save_note(trial, "a" * length)
    assert get_note(trial) == "a" * lengths[1]


def test_checkpoints_of_other_trials_are_removed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for number in range(3):
        checkpoints.save(number, b"%d" % number)
    checkpoints.keep_only({1})
    assert [checkpoints.load(number) for number in range(3)] == [None, b"1", None]

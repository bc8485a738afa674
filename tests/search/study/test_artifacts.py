"""What the dashboard shows beside a trial, and checkpoints."""

from pathlib import Path

import optuna
import pytest
from optuna_dashboard import get_note, save_note

from search.study.artifacts import Checkpoints, history_csv, trial_note


@pytest.mark.parametrize("lengths", [(10, 9_000), (9_000, 10)])
def test_a_later_note_replaces_an_earlier_one_whole(lengths: tuple[int, int]) -> None:
    trial = optuna.create_study().ask()
    for length in lengths:
        save_note(trial, "a" * length)
    assert get_note(trial) == "a" * lengths[1]


def test_the_history_is_a_table_with_a_row_for_each_epoch() -> None:
    history = [{"loss": 1.23456789, "val_accuracy": 0.5}, {"val_accuracy": 0.75, "a,b": 1e-9}]
    assert history_csv(history, 3).decode().splitlines() == [
        'epoch,loss,val_accuracy,"a,b"',
        "4,1.23457,0.5,",
        "5,,0.75,1e-09",
    ]


def test_checkpoints_of_other_trials_are_removed_and_foreign_files_are_not(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for number in range(3):
        checkpoints.save(number, b"%d" % number)
    foreign = {tmp_path / "checkpoints" / name for name in ("x.npz", "._1.npz", "-1.npz")}
    for file in foreign:
        file.touch()
    checkpoints.keep_only({1})
    assert [checkpoints.load(number) for number in range(3)] == [None, b"1", None]
    assert foreign < set((tmp_path / "checkpoints").iterdir())


def test_a_note_shows_odd_names_as_they_are() -> None:
    note = trial_note(
        description="my$lr$ 0.1; <b>act</b> `x|y`",
        name="_odd_ *name*",
        ended="failed: [link](http://x) ```",
        attrs={"traceback": "```\nboom"},
    )
    assert "- my\\$lr\\$ 0.1\n" in note
    assert "- &lt;b>act&lt;/b> \\`x\\|y\\`\n" in note
    assert "| Known as | \\_odd\\_ \\*name\\* |" in note
    assert "| Ended | failed: \\[link\\](http://x) \\`\\`\\` |" in note
    assert note.endswith("````\n```\nboom\n````\n")

"""The configuration file that a search leaves, which repeats it."""

import json
from pathlib import Path

from tests.command_line import run, study


def test_a_search_leaves_the_file_that_repeats_it(tmp_path: Path, small_data: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'space = "mlp"\nepochs = 2\ntrials = 9\nworkers = 1\nprecision = "float32"\nseed = 5\n'
    )
    given = ("--config", "mine.toml", "--trials", "2", "--no-portfolio", "--baselines", "--quiet")
    first = run(tmp_path, small_data, *given)
    assert first.returncode == 0, first.stderr
    kept = tmp_path / "results" / "mlp" / "search.toml"
    assert 'study = "mlp"' in kept.read_text()
    assert "val-size = 100" in kept.read_text()  # that of the data
    again = run(tmp_path, small_data, "--config", str(kept), "--study", "again", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout.splitlines()[-1])["finished"] == 2
    # A run that finds all trials finished leaves what repeats those before it.
    before = kept.read_text()
    nothing = run(tmp_path, small_data, *given, "--seed", "6", "--pruner", "none")
    assert "already has its 2 finished trials" in nothing.stdout, nothing.stderr
    assert kept.read_text() == before
    *_, trained, last = study(tmp_path, "mlp").user_attrs["runs"]
    assert "trains" not in trained
    assert (last["trains"], last["seed"]) == (False, 6)
    # What ran, also when the file has changed since.
    assert "--config" not in study(tmp_path, "mlp").user_attrs["command"]
    assert "--trials 2 --epochs 2 " in study(tmp_path, "mlp").user_attrs["command"]
    one, other = study(tmp_path, "mlp"), study(tmp_path, "again")
    assert [(trial.params, trial.value, trial.intermediate_values) for trial in one.trials] == [
        (trial.params, trial.value, trial.intermediate_values) for trial in other.trials
    ]
    # Where its numbers come from.
    attrs = one.user_attrs
    assert (attrs["seed"], attrs["space"]) == (5, "mlp")
    assert attrs["versions"]["optuna"]
    assert attrs["split"] == {"train": None, "val": 100, "epoch_size": None}
    assert one.trials[0].user_attrs["known_as"] == "mlp"
    assert one.trials[0].user_attrs["parameters"] == 101_770
    assert list(one.trials[0].intermediate_values) == [1, 2]

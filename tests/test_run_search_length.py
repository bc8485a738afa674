"""A search whose length is known, as a person runs it: --minutes, --dry-run and the first line."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from search.training.hardware import machine
from tests import LONGEST_SECONDS
from tests.command_line import count, run, start, study, wait_until
from tests.search_here import run_here

MEASURING = r"measuring the speed of \d+ workers? \.\.\.\n"
SMALL = ("--space", "mlp", "--val-size", "100")


def test_a_fitted_search_has_the_trials_of_the_same_sizes_given_by_hand(
    tmp_path: Path, small_data: Path
) -> None:
    common = (*SMALL, "--epochs", "2", "--workers", "1", "--trials", "1", "--pruner", "none")
    ran = run(tmp_path, small_data, *common, "--minutes", "20")
    assert ran.returncode == 0, ran.stderr
    assert re.match(
        MEASURING
        + r"1 worker trains about [\d,]+ images/s: 1 trial in 20 min allow 2 epochs of all 500 ",
        ran.stderr,
    )
    fitted = study(tmp_path, "mlp")
    assert fitted.user_attrs["speed"]["workers"] == 1
    by_hand = run(tmp_path, small_data, *common, "--study", "by-hand")
    assert by_hand.returncode == 0, by_hand.stderr
    assert "measuring" not in by_hand.stderr  # so short a search
    given = study(tmp_path, "by-hand")
    assert "speed" not in given.user_attrs
    assert [trial.params for trial in given.trials] == [trial.params for trial in fitted.trials]
    assert [trial.intermediate_values for trial in given.trials] == [
        trial.intermediate_values for trial in fitted.trials
    ]


def test_a_search_is_fitted_to_its_minutes_once(tmp_path: Path, small_data: Path) -> None:
    flags = (*SMALL, "--minutes", "20", "--workers", "1", "--pruner", "none")
    ran = run_here(tmp_path, small_data, *flags, "--trials", "1")
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.startswith(
        "measuring the speed of 1 worker ...\n"
        "1 worker trains about 100 images/s: 1 trial in 20 min allow 100 epochs of all 500 images "
        "(about 9 min; --epochs 100)\n"
    )
    begun = study(tmp_path, "mlp").user_attrs
    assert begun["minutes"] == 20
    assert begun["epochs"] == 100
    assert begun["split"] == {"train": None, "val": 100, "epoch_size": None}
    assert begun["speed"]["workers"] == 1

    again = run_here(tmp_path, small_data, *flags, "--trials", "2")
    assert again.returncode == 0, again.stderr
    assert "for 1 more trial" in again.stderr.splitlines()[0]
    continued = study(tmp_path, "mlp")
    assert continued.user_attrs["speed"] == begun["speed"]
    assert [trial.user_attrs["epochs"] for trial in continued.trials] == [100] * 2

    other = run_here(tmp_path, small_data, *SMALL, "--minutes", "10", "--workers", "1")
    assert other.returncode == 2
    assert "study 'mlp' was begun with --minutes 20 and has trials of 100 epochs" in other.stderr
    changed = run_here(tmp_path, small_data, *flags, "--epochs", "7", "--trials", "3")
    assert changed.returncode == 2
    assert "has trials with epochs 100; this run asks for 7" in changed.stderr
    assert "Continue it with its own --minutes 20, or" in changed.stderr


def test_fitted_epochs_and_given_images_are_what_trials_train_on(
    tmp_path: Path, small_data: Path
) -> None:
    flags = (*SMALL, "--minutes", "20", "--train-size", "300", "--workers", "1", "--trials", "1")
    orders: list[Any] = []
    ran = run_here(tmp_path, small_data, *flags, "--pruner", "none", orders=orders)
    assert ran.returncode == 0, ran.stderr
    fitted = study(tmp_path, "mlp").user_attrs
    assert [one.max_epochs for one in orders] == [fitted["epochs"]]
    assert fitted["split"] == {"train": 300, "val": 100, "epoch_size": None}


def test_epochs_show_as_many_images_as_fit(
    tmp_path: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.length.FEWEST_IMAGES", 100)  # of 500
    orders: list[Any] = []
    flags = (*SMALL, "--minutes", "1", "--epochs", "7", "--workers", "1", "--pruner", "none")
    ran = run_here(tmp_path, small_data, *flags, "--trials", "2", orders=orders)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.splitlines()[1] == (
        "1 worker trains about 100 images/s: 2 trials in 1 min allow 7 epochs of 300 images "
        "(about 50 s; --epochs 7 --epoch-size 300)"
    )
    begun = study(tmp_path, "mlp").user_attrs
    assert begun["split"] == {"train": None, "val": 100, "epoch_size": 300}
    assert [(one.max_epochs, one.epoch_size) for one in orders] == [(7, 300)] * 2
    config = (tmp_path / "results" / "mlp" / "search.toml").read_text()
    assert config.startswith("# The sizes below were given, or fitted to --minutes 1.\n")
    assert "epoch-size = 300\n" in config
    again = run_here(tmp_path, small_data, *flags, "--trials", "3", orders=orders)
    assert again.returncode == 0, again.stderr
    assert orders[-1].epoch_size == 300
    dry = run_here(tmp_path, small_data, *flags, "--trials", "4", "--dry-run", "--json")
    said = json.loads(dry.stdout)
    assert (said["train_size"], said["epoch_size"]) == (500, 300)
    other = ("--minutes", "1", "--epoch-size", "200", "--trials", "4")
    changed = run_here(tmp_path, small_data, *SMALL, *other)
    assert changed.returncode == 2
    of_each = "100 validation images, all other for training, {} of them in each epoch"
    assert (
        f"has trials with split '{of_each.format(300)}'; this run asks for "
        f"'{of_each.format(200)}', and the two cannot be compared. Continue it with its own "
        "--minutes 1, or"
    ) in changed.stderr


def test_an_epoch_of_a_part_of_the_images_shows_as_many_as_fit_of_them(
    tmp_path: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.length.FEWEST_IMAGES", 100)
    flags = ("--minutes", "1", "--epochs", "7", "--train-size", "400", "--workers", "1")
    ran = run_here(tmp_path, small_data, *SMALL, *flags, "--trials", "2", "--pruner", "none")
    assert ran.returncode == 0, ran.stderr
    split = study(tmp_path, "mlp").user_attrs["split"]
    assert split == {"train": 400, "val": 100, "epoch_size": 300}


def test_epochs_of_all_images_can_be_asked_for_and_continued(
    tmp_path: Path, small_data: Path
) -> None:
    orders: list[Any] = []
    flags = (*SMALL, "--minutes", "1", "--epoch-size", "500", "--workers", "1", "--pruner", "none")
    for trials in ("1", "2"):
        ran = run_here(tmp_path, small_data, *flags, "--trials", trials, orders=orders)
        assert ran.returncode == 0, ran.stderr
    epochs = study(tmp_path, "mlp").user_attrs["epochs"]
    assert [(one.max_epochs, one.epoch_size) for one in orders] == [(epochs, 500)] * 2
    many = run_here(tmp_path, small_data, *flags, "--epoch-size", "501", "--study", "many")
    assert many.returncode == 2
    assert many.stderr == (
        "run_search: --epoch-size is 501; with this data set it must be in [10, 500].\n"
    )


def test_a_search_of_an_earlier_version_continues_with_its_fitted_training_images(
    tmp_path: Path, small_data: Path
) -> None:
    flags = (*SMALL, "--minutes", "20", "--workers", "1", "--pruner", "none", "--trials")
    by_hand = (*SMALL, "--epochs", "3", "--train-size", "300", "--workers", "1", "--quiet")
    ran = run_here(tmp_path, small_data, *by_hand, "--pruner", "none", "--trials", "1")
    assert ran.returncode == 0, ran.stderr
    begun = study(tmp_path, "mlp")
    begun.set_user_attr("minutes", 20.0)
    begun.set_user_attr("split", {"train": 300, "val": 100})
    orders: list[Any] = []
    again = run_here(tmp_path, small_data, *flags, "2", orders=orders)
    assert again.returncode == 0, again.stderr
    assert [(one.max_epochs, one.epoch_size) for one in orders] == [(3, None)]
    config = (tmp_path / "results" / "mlp" / "search.toml").read_text()
    assert "train-size = 300\n" in config
    # Another program wrote an epoch that cannot be.
    begun.set_user_attr("split", {"train": None, "val": 100, "epoch_size": 10**15})
    damaged = run(tmp_path, small_data, *flags, "3")
    assert damaged.returncode == 2
    assert "--epoch-size is 1000000000000000; with this data set it must be" in damaged.stderr


def test_a_search_begins_with_its_length_measured_for_this_machine_and_number_of_workers(
    tmp_path: Path, small_data: Path
) -> None:
    flags = (*SMALL, "--epochs", "40", "--precision", "float32", "--trials")
    silent = ("--study", "quiet", "--quiet")
    quiet = run_here(tmp_path, small_data, *flags, "1", "--workers", "1", *silent)
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert "speed" not in study(tmp_path, "quiet").user_attrs  # nobody would see its length
    first = run_here(tmp_path, small_data, *flags, "1", "--workers", "1")
    assert first.returncode == 0, first.stderr
    assert first.stderr.startswith(
        "measuring the speed of 1 worker ...\n"
        "about 4 min for 1 trial on this machine (1 worker, float32)\n"
    )

    more = run_here(
        tmp_path, small_data, *flags, "3", "--workers", "2"
    )  # another number of workers
    assert re.match(MEASURING, more.stderr), more.stderr
    begun = study(tmp_path, "mlp")
    assert begun.user_attrs["speed"]["workers"] == 2
    begun.set_user_attr("speed", begun.user_attrs["speed"] | {"machine": "another"})
    dry = run_here(tmp_path, small_data, *flags, "5", "--workers", "2", "--dry-run")
    assert re.fullmatch(MEASURING, dry.stderr)
    moved = run_here(tmp_path, small_data, *flags, "5", "--workers", "2")
    assert re.match(MEASURING, moved.stderr), moved.stderr
    measured = study(tmp_path, "mlp").user_attrs["speed"]
    assert measured["machine"] == machine()
    for trials, other in (("6", ("--workers", "2")), ("6", ("--workers", "1", "--dry-run"))):
        # Neither where its speed is known nor where nothing is left to measure for.
        done = run_here(tmp_path, small_data, *flags, trials, *other)
        assert done.returncode == 0, done.stderr
        assert "measuring" not in done.stderr
    assert study(tmp_path, "mlp").user_attrs["speed"] == measured


def test_too_few_minutes_are_one_line_and_leave_nothing(tmp_path: Path, small_data: Path) -> None:
    ran = run_here(tmp_path, small_data, *SMALL, "--workers", "2", "--minutes", "0.001")
    assert ran.returncode == 2
    assert re.fullmatch(
        MEASURING
        + r"run_search: --minutes is 0.001, but 50 trials of 2 epochs of 500 images take about \d+ "
        r"min here; raise it to \d+\.\n",
        ran.stderr,
    )
    assert not (tmp_path / "results").exists()


def test_minutes_for_a_space_that_fails_leave_nothing(tmp_path: Path, small_data: Path) -> None:
    (tmp_path / "broken.py").write_text("def build(hp):\n    return hp.Int('x', 1, 99) + missing\n")
    flags = ("--space", "broken:build", "--val-size", "100", "--workers", "1")
    ran = run(tmp_path, small_data, *flags, "--minutes", "20")
    assert ran.returncode == 2
    assert "the speed was not measured: NameError" in ran.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--minutes", "20"), "stopped (Ctrl-C) before the first trial; repeat the command to"),
        (("--epochs", "40"), "stopped: Ctrl-C"),
    ],
)
def test_a_measurement_can_be_stopped(
    tmp_path: Path, small_data: Path, flags: tuple[str, str], words: str
) -> None:
    flags = (*flags, "--trials", "1", "--workers", "1")
    search = start(tmp_path, small_data, *SMALL, *flags)
    # Its worker is measured next; a trial cannot start before that.
    wait_until((tmp_path / "results" / "mlp" / "logs" / "worker-0.log").exists)
    search.send_signal(signal.SIGINT)
    output, errors = search.communicate(timeout=LONGEST_SECONDS)
    assert search.returncode == 130
    assert words in output + errors
    assert re.match(MEASURING, errors)
    assert "Traceback" not in errors
    # A study that was fitted to nothing has not begun.
    assert (tmp_path / "results").exists() == ("--minutes" not in flags)
    assert count(tmp_path, "mlp", *TrialState) - count(tmp_path, "mlp", TrialState.WAITING) == 0


def test_a_dry_run_says_the_plan_and_creates_nothing(tmp_path: Path, small_data: Path) -> None:
    flags = ("--val-size", "100", "--workers", "1", "--epochs", "8", "--dry-run")
    ran = run_here(tmp_path, small_data, "--space", "mlp", *flags, "--trials", "5")
    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(MEASURING, ran.stderr)
    first, size, space, configurations, pruning, disk = ran.stdout.splitlines()
    assert re.match(r"about .+ for 5 trials on this machine \(1 worker, ", first)
    assert size == "each trial: up to 8 epochs of 500 images, validated on 100"
    assert space == "space: mlp, 1 hyperparameters"
    assert configurations == "first: default"
    assert pruning.startswith("pruning: after epoch ")
    assert disk.startswith("disk: about ")
    assert os.listdir(tmp_path) == []

    (tmp_path / "finite.py").write_text(
        "import keras\n\n\n"
        "def build(hp):\n"
        "    layers = [keras.layers.Flatten()]\n"
        "    count = hp.Int('layers', 0, 1)\n"
        "    with hp.conditional_scope('layers', [1]):\n"
        "        units = hp.Int('units', 8, 32, step=8)\n"
        "    if count:\n"
        "        layers.append(keras.layers.Dense(units))\n"
        "    return keras.Sequential([*layers, keras.layers.Dense(10)])\n"
    )
    found = run(tmp_path, small_data, "--space", "finite:build", *flags, "--json")
    assert found.returncode == 0, found.stderr
    said = json.loads(found.stdout)
    assert said["hyperparameters"] == 2
    assert (said["epochs"], said["train_size"], said["finished"]) == (8, 500, 0)
    assert said["seconds"] > 0
    assert said["first"] == []
    assert sorted(os.listdir(tmp_path)) in (["finite.py"], ["__pycache__", "finite.py"])

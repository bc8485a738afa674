"""`report.py --distill`, run as a user runs it."""

import json
from pathlib import Path

import pandas as pd
import psutil
import pytest

from tests.command_line import children, run, start, wait_until
from tests.test_report import SMALL, copy_study, records, report

pytestmark = pytest.mark.xdist_group("report")

FLAGS = (*SMALL, "--top", "1", "--distill")
SEED = 1_700_003  # of the distilled network, in a search with --seed 1


def distilled(retrainings: Path) -> list[Path]:
    files = retrainings.glob("*/record.json")
    return [file.parent for file in files if json.loads(file.read_text())["seed"] == SEED]


def accuracy(retrainings: Path) -> pd.DataFrame:
    file = retrainings.parent / "report" / "tables" / "accuracy.csv"
    return pd.read_csv(file).set_index("network")


def test_it_is_trained_once_whatever_dies_and_again_with_other_teachers(
    searched: Path, small_data_with_test: Path, tmp_path: Path
) -> None:
    retrainings = copy_study(searched, tmp_path)
    two = (*FLAGS, "--seeds", "2", "--baseline-seeds", "1", "--ensemble")
    process = start(tmp_path, small_data_with_test, *two, program="report.py")
    # All but the distilled network and the baseline: it is being ordered, or trained.
    wait_until(lambda: len(list(retrainings.glob("[!.]*/record.json"))) == 4)
    workers = children(process.pid)
    process.kill()
    process.communicate()
    wait_until(lambda: not any(map(psutil.pid_exists, workers)))
    before = records(retrainings)
    assert not distilled(retrainings)

    ended = report(tmp_path, small_data_with_test, *two)
    assert ended.returncode == 0, ended.stderr
    first, _, scoring = ended.stderr.splitlines()[:3]
    assert first.startswith("study 'mlp': 2 of 6 trainings to do, about ")
    assert scoring == (
        "  to score on the test split: 2 seeds of the winner, 2 epochs; then one network distilled "
        "from them; 1 seed each of 1 baseline, 1 epoch"
    )
    assert ended.stderr.count("retrained in") == 2
    assert ended.stderr.count(f"distilled, seed {SEED}: retrained in") == 1
    after = records(retrainings)
    assert {file: after[file] for file in before} == before
    [folder] = distilled(retrainings)

    table = accuracy(retrainings)
    assert {"tuned", "tuned, ensemble of 2", "distilled"} <= set(table.index)
    assert (table.loc["distilled", "n"], table.loc["distilled", "epochs"]) == (1, 2)
    own = json.loads((folder / "record.json").read_text())["cpu_seconds"]
    teachers = table.loc["tuned, ensemble of 2", "train_cpu_seconds"]
    assert table.loc["distilled", "train_cpu_seconds"] == pytest.approx(teachers + own)
    assert table.loc["distilled", "parameters"] == table.loc["tuned", "parameters"]
    written = retrainings.parent / "report"
    config = json.loads((written / "best_config.json").read_text())
    assert config["model"]["row"] == "tuned" and SEED not in config["seeds"]
    assert "tuned" in ended.stdout.splitlines()[0]
    page = (written / "report.html").read_text()
    assert "; distilled from these: 1 seed; each baseline" in page
    predictions = pd.read_csv(written / "predictions.csv")
    right = predictions["distilled: seeds right"].mean()
    assert table.loc["distilled", "test_accuracy"] == pytest.approx(right)

    again = report(tmp_path, small_data_with_test, *two)
    assert again.stderr.startswith("study 'mlp': 0 of 6 trainings to do, about 0 s")
    assert records(retrainings) == after

    # With a third teacher it is another network; until that is trained, there is that of the two.
    three = (*FLAGS, "--seeds", "3", "--baseline-seeds", "1")
    gap = report(tmp_path, small_data_with_test, *three, "--no-retrain")
    assert gap.returncode == 0, gap.stderr
    assert "\ndistilled                  test accuracy " in gap.stdout
    assert "of 2 final trainings, which have trained on that label too" in (
        written / "report.html"
    ).read_text().replace("\n", " ")
    more = report(tmp_path, small_data_with_test, *three)
    assert more.returncode == 0, more.stderr
    assert more.stderr.count("retrained in") == 2
    assert len(distilled(retrainings)) == 2
    assert "of 3 final trainings, which have trained on that label too" in (
        written / "report.html"
    ).read_text().replace("\n", " ")


def test_a_space_that_trains_itself_is_a_marked_gap(
    small_data_with_test: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        """
import keras


class Mine:
    def build(self, hp):
        model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(),
                                  keras.layers.Dense(hp.Int("units", 8, 32), "relu"),
                                  keras.layers.Dense(10, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model
"""
    )
    search = ("--space", "mine:Mine", "--epochs", "1", "--val-size", "100", "--trials", "1")
    search += ("--workers", "1")
    assert run(tmp_path, small_data_with_test, *search, "--quiet").returncode == 0
    flags = (*FLAGS, "--seeds", "1", "--space", "mine:Mine")
    ended = report(tmp_path, small_data_with_test, *flags)
    assert ended.returncode == 1, ended.stderr
    why = "failed, the space compiles its model with a loss for integer labels, so it cannot be "
    assert f"seed 700000 {why}" in ended.stdout
    assert "failed trainings: 1; see the report for the reasons\n" in ended.stdout
    page = (tmp_path / "results" / "mine.Mine" / "report" / "report.html").read_text()
    assert "distilled, 0 of 1 trainings" in page

"""The search command, as a person runs it: real training of small nets."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState

from run_search import _report
from search.data.idx import find_data
from search.errors import DataError, StopReason
from search.outcome import Outcome
from search.settings import SearchSettings
from tests import LONGEST_SECONDS, free_port
from tests.command_line import (
    QUICK,
    ROOT,
    assert_no_tensorflow,
    count,
    run,
    start,
    study,
    wait_until,
)
from tests.conftest import small_images, write_idx_data
from tests.search_here import run_here


def real_data() -> Path | None:
    try:
        return find_data(None)
    except DataError:
        return None


def test_a_search_ends_with_its_trials_and_says_so_in_json(
    tmp_path: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    flags = (*QUICK, "--trials", "3", "--workers", "1", "--seed", "0", "--json")
    first = run(tmp_path, small_data, *flags)
    assert first.returncode == 0, first.stderr
    said = json.loads(first.stdout.splitlines()[-1])
    assert said["study"] == "mlp"
    assert said["finished"] == said["complete"] + said["pruned"] == 3
    assert said["failed"] == 0
    assert set(said["best"]) >= {"number", "value", "params"}
    assert "optimizer" in said["best"]["description"]
    assert said["best"]["value"] > 0.2
    assert said["seconds"] > 0
    assert said["next"] == f"python {ROOT}/report.py --study mlp"
    assert Path(said["storage"]) == tmp_path / "results" / "mlp" / "study.journal"
    assert "dashboard: " in first.stderr
    assert "--dashboard-only --study mlp" in first.stderr
    assert "3/3 trials" in first.stderr
    before = study(tmp_path, "mlp").trials
    assert not list(temporary.iterdir())  # what its workers leave there, nobody removes

    again = run_here(tmp_path, small_data, *flags)
    assert again.returncode == 0
    assert json.loads(again.stdout.splitlines()[-1])["finished"] == 3
    assert study(tmp_path, "mlp").trials == before


def test_the_objective_is_the_value_of_every_trial(tmp_path: Path) -> None:
    images, labels = small_images(120, seed=0)
    kept = (labels < 3) | (np.arange(len(labels)) % 4 == 0)  # three classes are four times as large
    (tmp_path / "data").mkdir()
    write_idx_data(tmp_path / "data", images[kept], labels[kept])
    flags = (*QUICK, "--trials", "2", "--data", "data", "--study", "mlp", "--pruner", "none")
    flags += ("--workers", "1", "--objective", "balanced_accuracy")
    ran = run(tmp_path, tmp_path, *flags)
    assert ran.returncode == 0, ran.stderr
    assert "validation balanced accuracy" in ran.stdout
    assert "complete, val_balanced_accuracy" in ran.stderr
    for trial in study(tmp_path, "mlp").trials:
        tables = [
            table
            for table in (tmp_path / "results" / "mlp" / "artifacts").iterdir()
            if table.read_bytes().startswith(b"epoch")
        ]
        last = [pd.read_csv(table).iloc[-1] for table in tables]
        assert trial.value in [row["val_balanced_accuracy"] for row in last]
        assert trial.value not in [row["val_accuracy"] for row in last]
        ended = f"complete, validation balanced accuracy {trial.value:.2%}"
        assert trial.user_attrs["ended"] == ended


def test_the_report_is_next_with_all_that_it_needs_to_find_the_study(
    tmp_path: Path, small_data: Path
) -> None:
    where = ("--study", "a-b", "--results-dir", "my results", "--data", str(small_data))
    flags = (*QUICK, "--trials", "1", "--quiet", *where)
    following = f"python {ROOT}/report.py --study a-b --results-dir 'my results'"
    ran = run_here(tmp_path, small_data, *flags)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == f"retrain the best and report: {following}"
    again = run_here(tmp_path, small_data, *flags, "--json")
    assert json.loads(again.stdout.splitlines()[-1])["next"] == following
    # A database is where the study is, wherever the results are.
    storage = ("--storage", "sqlite:///trials.db", "--quiet")
    stored = run_here(tmp_path, small_data, *QUICK, "--trials", "1", *storage, "--json")
    said = json.loads(stored.stdout.splitlines()[-1])
    assert said["next"] == f"python {ROOT}/report.py --study mlp --storage sqlite:///trials.db"


@pytest.mark.skipif(real_data() is None, reason="the real images are not on this machine")
def test_the_published_cnn_learns_from_real_images_without_the_test_files(tmp_path: Path) -> None:
    data = tmp_path / "train-only"
    data.mkdir()
    source = real_data()
    assert source is not None
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"):
        (data / name).symlink_to(source / name)
    flags = ("--trials", "1", "--epochs", "2", "--train-size", "4000", "--val-size", "1000")
    ran = run(tmp_path, data, *flags, "--no-portfolio", "--baselines", "--json", "--quiet")
    assert ran.returncode == 0, ran.stderr
    best = json.loads(ran.stdout.splitlines()[-1])["best"]
    assert best["name"] == "bn-cnn"
    assert best["parameters"] == 954_752
    assert best["value"] > 0.7


def test_a_hypermodel_of_keras_tuner_runs_with_its_own_compile_in_the_precision_asked_for(
    tmp_path: Path, small_data: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        """
import keras
import keras_tuner


class Mine(keras_tuner.HyperModel):
    training = True  # a name that our own spaces use, and another below

    def describe(self, params):
        return params

    def build(self, hp):
        hp.Fixed("policy", keras.config.dtype_policy().name)
        model = keras.Sequential([keras.layers.Flatten()])
        for i in range(hp.Int("layers", 1, 2)):
            model.add(keras.layers.Dense(hp.Int(f"units_{i}", 8, 32, step=8), "relu"))
        model.add(keras.layers.Dense(10, "softmax"))
        model.compile(
            keras.optimizers.RMSprop(hp.Float("rate", 1e-3, 1e-1, step=10, sampling="log")),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        return model
"""
    )
    flags = ("--space", "mine:Mine", "--trials", "3", "--epochs", "2", "--val-size", "100")
    flags += ("--precision", "bfloat16", "--workers", "1", "--quiet")
    ran = run(tmp_path, small_data, *flags)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith("report.py --study mine.Mine --space mine:Mine\n")
    for trial in study(tmp_path, "mine.Mine").trials:
        assert trial.user_attrs["fixed"]["policy"] == "mixed_bfloat16"
        assert trial.params["rate"] in (1e-3, 1e-2, 1e-1)
        units = {name for name in trial.params if name.startswith("units_")}
        assert units == {f"units_{i}" for i in range(trial.params["layers"])}


def test_a_search_that_ran_out_of_time_is_next_itself(tmp_path: Path, small_data: Path) -> None:
    flags = (*QUICK, "--trials", "50", "--timeout", "0.1", "--json")
    ran = run_here(tmp_path, small_data, *flags)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout.splitlines()[-1])
    assert said["stopped_by"] == "time limit reached (--timeout 0.1 s)"
    assert said["next"] == f"python {ROOT}/run_search.py {' '.join(flags)}"


def test_help_is_complete_and_loads_nothing_heavy() -> None:
    script = (
        "import sys, runpy\n"
        "sys.argv = ['run_search.py', '--help']\n"
        "try: runpy.run_path('run_search.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'keras_tuner', 'sklearn', 'pandas', 'rich'}\n"
        "heavy &= set(sys.modules)\n"
        "print('heavy:', sorted(heavy))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "heavy: []" in ran.stdout
    page = (ROOT / "docs" / "cli.md").read_text()
    flags = {word.strip(",.]") for word in ran.stdout.split() if word.startswith("--")}
    assert len(flags) > 25
    assert not [flag for flag in flags if f"`{flag}" not in page and f" {flag}" not in page]


def test_the_dashboard_shows_trials_while_they_run_and_changes_nothing(
    tmp_path: Path, small_data: Path
) -> None:
    flags = (*QUICK, "--trials", "50", "--epochs", "50", "--workers", "1", "--pruner", "none")
    port = free_port()
    search = start(tmp_path, small_data, *flags, "--dashboard-port", str(port), "--quiet")
    address = f"http://127.0.0.1:{port}"

    def trials() -> list[dict[str, object]]:
        try:
            with urllib.request.urlopen(f"{address}/api/studies/0?after=0", timeout=10) as answer:
                return json.load(answer)["trials"]
        except OSError:
            return []

    wait_until(
        lambda: any(
            trial["state"] == "Running" and trial["intermediate_values"] for trial in trials()
        )
    )
    assert_no_tensorflow(search.pid)
    request = urllib.request.Request(f"{address}/api/studies/0", method="DELETE")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    assert refused.value.code == 405
    assert b"--dashboard-writable" in refused.value.read()
    search.send_signal(signal.SIGINT)
    search.communicate(timeout=LONGEST_SECONDS)
    assert count(tmp_path, "mlp", TrialState.RUNNING) == 0


@pytest.mark.parametrize(
    ("trials", "advice", "more"),
    [
        (5, "yet; raise --trials", ["with a larger --trials (2 enqueued trials waiting)"]),
        (6, "yet", []),
    ],
)
def test_more_trials_are_advised_only_where_all_are_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], trials: int, advice: str, more: list[str]
) -> None:
    ended = Outcome(
        name="mine",
        storage="",
        directory=tmp_path,
        best=None,
        front=None,
        complete=0,
        pruned=5,
        failed=0,
        ran=5,
        max_epochs=8,
        seconds=1.0,
        stopped_by=None if trials == 5 else StopReason.CTRL_C,
        findings=[],
        used_up=False,
        enqueued=2,
    )
    _report(ended, SearchSettings(study="mine", trials=trials), ["--study", "mine"])
    said = capsys.readouterr().out.splitlines()
    assert f"no trial has completed its 8 epochs {advice}" in said
    assert [line for line in said if "a larger --trials" in line] == [
        f"more trials: repeat the command {words}" for words in more
    ]

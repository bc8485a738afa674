"""Searches for accuracy against cost and their reports, as a person runs them."""

import json
import signal
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest
from optuna.trial import TrialState

from tests import LONGEST_SECONDS
from tests.command_line import FINISHED, QUICK, count, run, start, study, wait_until
from tests.search_here import run_here

pytestmark = pytest.mark.xdist_group("objectives")  # share a search

FLAGS = (
    *QUICK,
    *("--trials", "3", "--workers", "1", "--no-portfolio", "--train-size", "400"),
    *("--objective", "accuracy,latency,parameters", "--study", "mlp", "--precision", "float32"),
)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, small_data_with_test: Path) -> Path:
    """A folder with a finished study, which was interrupted while it measured a latency."""
    directory = tmp_path_factory.mktemp("searched")
    first = start(directory, small_data_with_test, *FLAGS, "--quiet")

    def stopwatches() -> list[psutil.Process]:
        found = []
        for one in psutil.Process(first.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # ended while we looked, or is a zombie
                if "search.training.stopwatch" in one.cmdline():
                    found.append(one)
        return found

    wait_until(lambda: count(directory, "mlp", *FINISHED) >= 1 and stopwatches())
    measuring = stopwatches()
    first.send_signal(signal.SIGKILL)
    first.communicate()
    _, left = psutil.wait_procs(measuring, timeout=LONGEST_SECONDS)
    assert not left  # it ends with its worker
    return directory


def test_a_killed_search_is_continued_and_prints_its_front(
    searched: Path, small_data_with_test: Path
) -> None:
    ended = run(searched, small_data_with_test, *FLAGS, "--json")
    assert ended.returncode == 0, ended.stderr
    assert "the result is a Pareto front, and no trial is pruned" in ended.stderr
    said = json.loads(ended.stdout.splitlines()[-1])
    assert (said["finished"], said["pruned"]) == (3, 0)
    found = study(searched, "mlp")
    assert found.metric_names == ["val_accuracy", "parameters", "latency_ms"]
    assert said["front"]["rule"] == "the knee of the front"
    numbers = [one["number"] for one in said["front"]["trials"]]
    assert sorted(numbers) == sorted(trial.number for trial in found.best_trials)
    assert said["best"]["number"] in numbers
    assert list(said["best"]["values"]) == ["val_accuracy", "parameters", "latency_ms"]
    for trial in found.get_trials(states=(TrialState.COMPLETE,)):
        low, high = trial.user_attrs["latency_quartiles_ms"]
        assert 0 < low <= trial.values[2] <= high
        assert trial.user_attrs["batch_latency_ms"] > 0
        assert 0 < trial.user_attrs["latency_seconds"] < trial.user_attrs["seconds"]
    none = run_here(searched, small_data_with_test, *FLAGS, "--max-params", "1")
    assert none.returncode == 0
    assert "best: none; no complete trial is within --max-params 1. Run more" in none.stdout
    again = run_here(searched, small_data_with_test, *FLAGS)
    assert again.returncode == 0
    assert f"Pareto front: {len(numbers)} of 3 complete trials" in again.stdout
    other = run_here(searched, small_data_with_test, *FLAGS, "--objective", "accuracy")
    assert other.returncode == 2
    assert "trials with objective 'accuracy,parameters,latency'; this run asks for" in other.stderr


def test_the_report_has_the_front_and_keeps_the_rule(
    searched: Path, small_data_with_test: Path
) -> None:
    flags = ("--quick", "--workers", "1", "--study", "mlp")
    ended = run(searched, small_data_with_test, *flags, program="report.py")
    assert ended.returncode == 0, ended.stderr
    assert "to choose the winner (the knee of the front): trial " in ended.stderr
    folder = searched / "results" / "mlp" / "report-preview"
    table = pd.read_csv(folder / "tables" / "front.csv").set_index("trial")
    assert table["winner"].sum() == 1
    assert (table["latency_ms_again"] > 0).all()
    config = json.loads((folder / "best_config.json").read_text())
    assert table["winner"].idxmax() == config["trial"]
    assert config["rule"] == "the knee of the front"
    assert config["objective"] == "accuracy,parameters,latency"
    assert config["costs"]["parameters"] == table.loc[config["trial"], "parameters"]
    assert config["costs"]["latency_ms"] == table.loc[config["trial"], "latency_ms_again"]
    assert "## Pareto front" in (folder / "report.md").read_text()

    # The same front has another winner within a limit; the times are kept.
    limit = str(table["parameters"].min())
    cheap = run(searched, small_data_with_test, *flags, "--max-params", limit, program="report.py")
    assert cheap.returncode == 0, cheap.stderr
    assert "measuring the latency" not in cheap.stderr
    config = json.loads((folder / "best_config.json").read_text())
    # Two trials of the front may have the same number of parameters.
    assert table.loc[config["trial"], "parameters"] == table["parameters"].min()
    none = run(searched, small_data_with_test, *flags, "--max-params", "1", program="report.py")
    assert none.returncode == 2
    assert "no complete trial of study 'mlp' is within --max-params 1 (lowest: " in none.stderr

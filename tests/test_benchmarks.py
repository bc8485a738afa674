"""The benchmarks start, measure and print; what they measure is not tested."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.engines import Search, _table
from tests import LONGEST_SECONDS
from tests.command_line import ROOT, environment


def run(data: Path, name: str, *flags: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *flags],
        cwd=ROOT,
        env=environment(data) | {"COLUMNS": "140"},
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "GEMM peak float32"),
        (["--isa", "avx2"], "ours / stock"),
        (["--workers-benchmark"], "ratio"),
    ],
)
def test_throughput_compares_the_sides(small_data: Path, flags: list[str], expected: str) -> None:
    quick = ("--models", "mlp", "--images", "300", "--epochs", "2", "--repeats", "1")
    assert expected in run(small_data, "throughput", *quick, *flags)


def test_overhead_measures_asking_and_memory(small_data: Path) -> None:
    output = run(small_data, "overhead", "--sizes", "5", "--repeats", "2")
    assert "MB resident" in output
    assert "CPU s to ask" in output


def test_search_prints_the_tables_of_a_search(tmp_path: Path, small_data: Path) -> None:
    flags = ("--space", "mlp", "--epochs", "1", "--val-size", "100", "--trials", "2", "--quiet")
    flags += ("--no-portfolio", "--baselines")
    output = run(small_data, "search", "--results-dir", str(tmp_path), "--", *flags)
    assert "best validation accuracy" in output
    assert "101,770" in output


def test_report_times_a_large_study(small_data: Path) -> None:
    assert "report.html MB" in run(small_data, "report", "--trials", "40", "--val-size", "100")


def test_engines_compares_both(small_data: Path) -> None:
    flags = ("--seeds", "1", "--trials", "2", "--epochs", "1", "--only", "random")
    output = run(small_data, "engines", *flags, "--train-size", "300", "--val-size", "100")
    assert "n = 1 seed;" in output
    assert "Optuna, random" in output
    assert "KerasTuner, random" in output


def test_engines_pairs_searches_by_their_seeds() -> None:
    found = {
        "Optuna, random": [Search(best, 10, 3) for best in (0.50, 0.60)],
        "Optuna, tpe": [Search(best, 12, 3) for best in (0.60, 0.72)],
    }
    table = _table(found, "Optuna, random")
    assert list(table.columns[2].cells) == ["11.00 (-1.71 to 23.71)", "-"]


def test_scaling_measures_the_coordinator(small_data: Path) -> None:
    flags = ("--workers", "1", "2", "--seconds", "2", "--epoch-seconds", "0.1")
    assert "workers at load 1" in run(small_data, "scaling", *flags)


def test_large_study_measures_coordinator_and_dashboard(small_data: Path) -> None:
    assert "dashboard page" in run(small_data, "large_study", "--trials", "30")


def test_recipe_compares_a_change_with_the_default(tmp_path: Path, small_data: Path) -> None:
    flags = ("--seeds", "1", "--epochs", "1", "--train-size", "300", "--val-size", "100")
    file = tmp_path / "results.jsonl"
    output = run(
        small_data, "recipe", *flags, "--only", "whitened", "--file", str(file), "--workers", "1"
    )
    assert "minus default, points" in output
    assert "whitened" in output
    lines = file.read_text()
    assert run(small_data, "recipe", *flags, "--summary", "--file", str(file)) == output
    assert file.read_text() == lines
    file.write_text(lines.replace('"precision": "', '"precision": "another, not '))
    other = run(small_data, "recipe", *flags, "--summary", "--file", str(file))
    assert other.replace("another, not ", "").split() == output.split()

"""The report command, whose terminal or reader goes away."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.command_line import Terminal, start, wait_until
from tests.test_report import copy_study

pytestmark = pytest.mark.xdist_group("report")

REPORT = ("--top", "1", "--candidate-seeds", "1", "--seeds", "1", "--workers", "1")
SHORT = ("--epochs", "1", "--baseline-epochs", "1")


def kept(directory: Path) -> list[Path]:
    return list((directory / "results/mlp/retrainings").glob("*/record.json"))


def test_a_report_that_ignores_hangups_outlives_its_terminal(
    searched: Path, small_data_with_test: Path, tmp_path: Path
) -> None:
    copy_study(searched, tmp_path)
    options = {"program": "report.py", "ignored": (signal.SIGHUP,)}
    terminal = Terminal(tmp_path, small_data_with_test, *REPORT, *SHORT, **options)
    wait_until(lambda: kept(tmp_path))
    terminal.hang_up()
    assert terminal.process.wait(240) == 0
    assert (tmp_path / "results/mlp/report/report.html").exists()


def test_a_lost_terminal_stops_a_report_as_sighup_does(
    searched: Path, small_data_with_test: Path, tmp_path: Path
) -> None:
    copy_study(searched, tmp_path)
    flags = (*REPORT, "--epochs", "1", "--baseline-epochs", "9999")
    terminal = Terminal(tmp_path, small_data_with_test, *flags, program="report.py")
    # A training is kept a moment before its line is printed.
    wait_until(lambda: kept(tmp_path) and b"retrained in" in terminal.shown)
    terminal.hang_up()
    assert terminal.process.wait(240) == 129
    assert not (tmp_path / "results/mlp/report").exists()


def test_a_report_without_retraining_finds_a_reader_that_has_left(
    searched: Path, small_data_with_test: Path, tmp_path: Path
) -> None:
    copy_study(searched, tmp_path)
    reading, writing = os.pipe()
    os.close(reading)
    streams = (subprocess.DEVNULL, writing, writing)
    options = {"program": "report.py", "streams": streams}
    report = start(tmp_path, small_data_with_test, "--no-retrain", **options)
    os.close(writing)
    assert report.wait(240) == 0

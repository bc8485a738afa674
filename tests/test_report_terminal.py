"""The report command, whose terminal or reader goes away."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests import LONGEST_SECONDS
from tests.command_line import Terminal, start, wait_until
from tests.test_report import copy_study, records

pytestmark = pytest.mark.xdist_group("report")

# The baseline, which is trained last, does not end by itself.
REPORT = ("--top", "1", "--candidate-seeds", "1", "--seeds", "1", "--workers", "1")
REPORT += ("--epochs", "1", "--baseline-epochs", "9999")


def test_a_report_that_ignores_hangups_outlives_its_terminal(
    searched: Path, small_data_with_test: Path, tmp_path: Path
) -> None:
    retrainings = copy_study(searched, tmp_path)
    options = {"program": "report.py", "ignored": (signal.SIGHUP,)}
    terminal = Terminal(tmp_path, small_data_with_test, *REPORT, **options)
    wait_until(lambda: records(retrainings))
    terminal.hang_up()
    wait_until(lambda: len(records(retrainings)) >= 2)  # it trains on
    terminal.process.terminate()
    assert terminal.process.wait(LONGEST_SECONDS) == 143


def test_a_lost_terminal_stops_a_report_as_sighup_does(
    searched: Path, small_data_with_test: Path, tmp_path: Path
) -> None:
    retrainings = copy_study(searched, tmp_path)
    terminal = Terminal(tmp_path, small_data_with_test, *REPORT, program="report.py")
    # A training is kept a moment before its line is printed.
    wait_until(lambda: records(retrainings) and b"retrained in" in terminal.shown)
    terminal.hang_up()
    assert terminal.process.wait(LONGEST_SECONDS) == 129
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
    assert report.wait(LONGEST_SECONDS) == 0

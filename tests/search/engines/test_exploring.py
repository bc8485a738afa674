"""Exploring a space for KerasTuner's engine, where its `build` fails or never ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from search.engines.exploring import UnexploredError, explore
from search.errors import SearchError
from spaces import DataShape
from tests import LONGEST_SECONDS
from tests.command_line import ROOT, start, wait_until

DATA = DataShape((28, 28, 1), 10)


class Raises:
    def build(self, hp: Any) -> Any:
        raise ValueError("no\nmodel")


def test_a_build_that_raises_is_one_line_with_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "exploring.log"
    with pytest.raises(
        UnexploredError, match=r"build.hp. failed .* ValueError: no model .more in .*log"
    ) as caught:
        explore(f"{__name__}:Raises", DATA, log)
    assert caught.value.reason == "ValueError: no model"
    assert log.exists()


class Killed:
    def build(self, hp: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


class Endless:
    def build(self, hp: Any) -> Any:
        Path("exploring.pid").write_text(str(os.getpid()))
        time.sleep(600)


def test_a_process_that_is_killed_does_not_blame_the_space_and_says_how_it_ended(
    tmp_path: Path,
) -> None:
    said = (
        r"its process ended with signal 9 SIGKILL, as when memory runs out.*\. Repeat the command; "
        r".*exploring\.log"
    )
    with pytest.raises(SearchError, match=said) as caught:
        explore(f"{__name__}:Killed", DATA, tmp_path / "exploring.log")
    assert "build(hp)" not in str(caught.value)


def test_exploring_ends_with_a_killed_coordinator(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from search.engines.exploring import explore\n"
        "from spaces import DataShape\n"
        f"if __name__ == '__main__': explore('{__name__}:Endless', {DATA}, Path('exploring.log'))"
    )
    file = tmp_path / "program.py"
    file.write_text(program)
    path = os.environ | {"PYTHONPATH": str(ROOT)}
    coordinator = subprocess.Popen([sys.executable, str(file)], cwd=tmp_path, env=path)
    started = _exploring(tmp_path)
    below = psutil.Process(coordinator.pid).children(recursive=True)
    assert started in [process.pid for process in below]
    coordinator.kill()
    coordinator.wait()
    _, left = psutil.wait_procs(below, timeout=LONGEST_SECONDS)
    for process in left:
        process.kill()
    assert not left


def test_a_signal_while_exploring_ends_with_one_line_and_leaves_no_process(
    tmp_path: Path, small_data: Path
) -> None:
    # Quiet: without the measurement of a worker, which would build a model first.
    flags = ("--engine", "keras-tuner", "--val-size", "100", "--quiet")
    flags = (*flags, "--space", f"{__name__}:Endless")
    search = start(tmp_path, small_data, *flags, PYTHONPATH=str(ROOT))
    _exploring(tmp_path)
    below = psutil.Process(search.pid).children(recursive=True)
    os.killpg(search.pid, signal.SIGTERM)
    _, errors = search.communicate(timeout=LONGEST_SECONDS)
    assert search.returncode == 143, errors
    assert errors.splitlines()[-1] == (
        "run_search: stopped before the search started; nothing is lost."
    )
    assert "Traceback" not in errors
    assert not psutil.wait_procs(below, timeout=LONGEST_SECONDS)[1]


def _exploring(directory: Path) -> int:
    file = directory / "exploring.pid"
    wait_until(lambda: file.exists() and file.read_text())
    return int(file.read_text())

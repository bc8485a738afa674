"""The search command, whose terminal, reader or streams go away, or that a script has started."""

import os
import signal
import subprocess
from pathlib import Path

from optuna.trial import TrialState

from tests import LONGEST_SECONDS
from tests.command_line import (
    FINISHED,
    QUICK,
    ROOT,
    Terminal,
    command,
    count,
    environment,
    start,
    wait_until,
)

ONE = (*QUICK, "--epochs", "1", "--workers", "1")


def test_a_search_that_ignores_hangups_outlives_its_terminal(
    tmp_path: Path, small_data: Path
) -> None:
    flags = (*ONE, "--trials", "2")
    terminal = Terminal(tmp_path, small_data, *flags, ignored=(signal.SIGHUP,))
    wait_until(lambda: count(tmp_path, "mlp", *FINISHED) >= 1)
    terminal.hang_up()
    os.killpg(terminal.process.pid, signal.SIGHUP)  # to the workers as well
    assert terminal.process.wait(LONGEST_SECONDS) == 0
    assert count(tmp_path, "mlp", *FINISHED) == 2


def test_a_lost_terminal_stops_a_search_as_sighup_does(tmp_path: Path, small_data: Path) -> None:
    terminal = Terminal(tmp_path, small_data, *ONE, "--trials", "30")
    wait_until(
        lambda: count(tmp_path, "mlp", TrialState.RUNNING) and b"/30 trials" in terminal.shown
    )
    terminal.hang_up()
    assert terminal.process.wait(LONGEST_SECONDS) == 129
    assert count(tmp_path, "mlp", TrialState.RUNNING, TrialState.FAIL) == 0


def test_a_search_runs_with_closed_streams(tmp_path: Path, small_data: Path) -> None:
    words = command(*ONE, "--trials", "1")
    ended = subprocess.run(
        ["sh", "-c", 'exec "$0" "$@" >&- 2>&- <&-', *words],
        cwd=tmp_path,
        env=environment(small_data),
        timeout=LONGEST_SECONDS,
    )
    assert ended.returncode == 0
    assert count(tmp_path, "mlp", *FINISHED) == 1


def test_a_reader_that_leaves_costs_neither_trials_nor_the_exit_code(
    tmp_path: Path, small_data: Path
) -> None:
    reading, writing = os.pipe()
    streams = (subprocess.DEVNULL, writing, writing)
    search = start(tmp_path, small_data, *ONE, "--trials", "1", streams=streams)
    os.close(writing)
    assert os.read(reading, 1)
    os.close(reading)
    assert search.wait(LONGEST_SECONDS) == 0
    assert count(tmp_path, "mlp", *FINISHED) == 1


def test_ctrl_c_s_signal_stops_what_a_script_has_started_in_the_background(
    tmp_path: Path, small_data: Path
) -> None:
    # A shell without job control lets what it starts with `&` ignore SIGINT.
    flags = (*ONE, "--trials", "30")
    search = start(tmp_path, small_data, *flags, ignored=(signal.SIGINT,))
    wait_until((tmp_path / "results" / "mlp" / "logs" / "worker-0.log").exists)
    search.send_signal(signal.SIGINT)
    output, errors = search.communicate(timeout=LONGEST_SECONDS)
    assert search.returncode == 130, errors
    assert "stopped: Ctrl-C" in output


def test_an_encoding_without_its_letters_and_another_folder_cost_no_outcome(
    tmp_path: Path, small_data: Path
) -> None:
    flags = (*ONE, "--trials", "1", "--study", "größe")
    search = start(tmp_path, small_data, *flags, PYTHONIOENCODING="ascii")
    output, errors = search.communicate(timeout=LONGEST_SECONDS)
    assert search.returncode == 0, errors
    assert "results: results/gr\\xf6\\xdfe\n" in output
    last = output.splitlines()[-1]
    assert last.startswith(f"retrain the best and report: python {ROOT}/report.py --study ")

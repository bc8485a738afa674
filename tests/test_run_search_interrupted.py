"""The search command, killed and stopped: real kills, nothing lost, nothing doubled."""

import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from optuna.trial import TrialState

from tests import LONGEST_SECONDS
from tests.command_line import (
    FINISHED,
    QUICK,
    ROOT,
    assert_no_tensorflow,
    children,
    count,
    run,
    start,
    study,
    wait_until,
)
from tests.conftest import small_images, write_idx_data
from tests.search_here import run_here


def test_kills_leave_no_process_and_lose_no_trial(tmp_path: Path, small_data: Path) -> None:
    # Trials that are long enough to be seen running.
    flags = (*QUICK, "--trials", "4", "--workers", "1", "--epochs", "8", "--quiet")
    search = start(tmp_path, small_data, *flags)

    def is_midway(finished: int) -> bool:
        return (
            count(tmp_path, "mlp", *FINISHED) >= finished
            and count(tmp_path, "mlp", TrialState.RUNNING) > 0
        )

    wait_until(lambda: is_midway(1))
    os.kill(children(search.pid)[0], signal.SIGKILL)
    wait_until(lambda: is_midway(2))  # in another worker
    workers = children(search.pid)
    assert workers
    search.kill()
    search.communicate()
    wait_until(lambda: not any(map(psutil.pid_exists, workers)))
    ended = run(tmp_path, small_data, *flags, "--json")
    assert ended.returncode == 0, ended.stderr
    recorded = study(tmp_path, "mlp")
    assert len(recorded.get_trials(states=FINISHED)) == len(recorded.trials) == 4


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path: Path, small_data: Path) -> None:
    flags = (*QUICK, "--trials", "19", "--workers", "1")
    search = start(tmp_path, small_data, *flags)
    wait_until(lambda: count(tmp_path, "mlp", *FINISHED) >= 1)
    assert_no_tensorflow(search.pid)
    for _ in range(3):  # as an impatient person does; to the workers as well, as a terminal does
        os.killpg(search.pid, signal.SIGINT)
        time.sleep(0.02)
    output, errors = search.communicate(timeout=LONGEST_SECONDS)
    assert search.returncode == 130, errors
    assert f"continue: python {ROOT}/run_search.py {' '.join(flags)}" in output
    assert "Traceback" not in errors
    assert count(tmp_path, "mlp", TrialState.RUNNING) == 0
    assert not count(tmp_path, "mlp", TrialState.FAIL)
    assert not any("attempts" in trial.user_attrs for trial in study(tmp_path, "mlp").trials)


def test_data_that_is_replaced_during_a_search_ends_it_and_no_trial_uses_it(
    tmp_path: Path, small_data: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(small_data, data)
    flags = (*QUICK, "--trials", "500", "--workers", "1", "--quiet")
    search = start(tmp_path, data, *flags)
    wait_until(lambda: count(tmp_path, "mlp", *FINISHED) >= 1)
    shutil.rmtree(data)
    data.mkdir()
    images, labels = small_images(60, seed=0)
    write_idx_data(data, images, np.random.default_rng(1).permutation(labels))
    ran_on_the_right_data = children(search.pid)
    os.kill(ran_on_the_right_data[0], signal.SIGKILL)
    _, errors = search.communicate(timeout=LONGEST_SECONDS)
    assert search.returncode == 2
    (line,) = [line for line in errors.splitlines() if line.startswith("run_search: ")]
    assert re.search(r"data has changed since the study began \(MD5 \w+, was \w+\)", line)
    assert "Traceback" not in errors
    assert count(tmp_path, "mlp", *FINISHED) >= 1
    assert count(tmp_path, "mlp", TrialState.RUNNING, TrialState.FAIL) == 0


@pytest.mark.parametrize("storage", [(), ("--storage", "sqlite:///study.db")])
def test_a_second_coordinator_is_refused_even_if_every_lock_file_was_removed(
    tmp_path: Path, small_data: Path, storage: tuple[str, ...]
) -> None:
    flags = (*QUICK, "--trials", "500", "--workers", "1", "--quiet", *storage)
    search = start(tmp_path, small_data, *flags)
    wait_until((tmp_path / "results" / "mlp" / "logs" / "worker-0.log").exists)
    for file in tmp_path.rglob("*.lock"):
        file.unlink(missing_ok=True)
    second = run_here(tmp_path, small_data, *flags)
    assert second.returncode == 2
    assert f"study 'mlp' is being searched by process {search.pid}. Wait" in second.stderr
    assert ".lock" not in second.stderr
    search.send_signal(signal.SIGINT)
    search.communicate(timeout=LONGEST_SECONDS)
    assert search.returncode == 130

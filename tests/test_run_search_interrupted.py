"""The search command, killed and stopped: real kills, nothing lost, nothing doubled."""

import json
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

from tests.command_line import (
    FINISHED,
    QUICK,
    ROOT,
    children,
    count,
    run,
    start,
    study,
    wait_until,
)
from tests.conftest import small_images, write_idx_data


def test_a_killed_coordinator_leaves_no_process_and_loses_no_trial(
    tmp_path: Path, small_data: Path
) -> None:
    flags = (*QUICK, "--trials", "6", "--workers", "2", "--epochs", "3", "--quiet")
    for finished in (1, 3):
        search = start(tmp_path, small_data, *flags)
        wait_until(
            lambda n=finished: (
                count(tmp_path, "mlp", *FINISHED) >= n
                and count(tmp_path, "mlp", TrialState.RUNNING) > 0
            )
        )
        workers = children(search.pid)
        assert workers
        search.kill()
        search.communicate()
        wait_until(lambda pids=workers: not any(map(psutil.pid_exists, pids)))
    ended = run(tmp_path, small_data, *flags, "--json")
    assert ended.returncode == 0, ended.stderr
    recorded = study(tmp_path, "mlp")
    assert len(recorded.get_trials(states=FINISHED)) == len(recorded.trials) == 6


def test_killed_workers_cost_no_trial(tmp_path: Path, small_data: Path) -> None:
    # Trials that are long enough to be seen running.
    flags = (*QUICK, "--trials", "6", "--workers", "2", "--epochs", "20", "--quiet")
    search = start(tmp_path, small_data, *flags)
    for finished in (1, 2):
        wait_until(
            lambda n=finished: (
                count(tmp_path, "mlp", *FINISHED) >= n
                and count(tmp_path, "mlp", TrialState.RUNNING) > 0
            )
        )
        os.kill(children(search.pid)[0], signal.SIGKILL)
    _, errors = search.communicate(timeout=240)
    assert search.returncode == 0, errors
    recorded = study(tmp_path, "mlp")
    assert len(recorded.get_trials(states=FINISHED)) == len(recorded.trials) == 6


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path: Path, small_data: Path) -> None:
    flags = (*QUICK, "--trials", "50", "--workers", "2")
    search = start(tmp_path, small_data, *flags)
    wait_until(lambda: count(tmp_path, "mlp", *FINISHED) >= 1)
    for _ in range(3):  # as an impatient person does; to the workers as well, as a terminal does
        os.killpg(search.pid, signal.SIGINT)
        time.sleep(0.02)
    output, errors = search.communicate(timeout=240)
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
    wait_until(lambda: count(tmp_path, "mlp", *FINISHED) >= 2)
    shutil.rmtree(data)
    data.mkdir()
    images, labels = small_images(60, seed=0)
    write_idx_data(data, images, np.random.default_rng(1).permutation(labels))
    ran_on_the_right_data = children(search.pid)
    os.kill(ran_on_the_right_data[0], signal.SIGKILL)
    _, errors = search.communicate(timeout=240)
    assert search.returncode == 2
    (line,) = [line for line in errors.splitlines() if line.startswith("run_search: ")]
    assert re.search(r"data has changed since the study began \(MD5 \w+, was \w+\)", line)
    assert "Traceback" not in errors
    finished = count(tmp_path, "mlp", *FINISHED)
    assert finished >= 2
    assert count(tmp_path, "mlp", TrialState.RUNNING, TrialState.FAIL) == 0
    more = (*flags, "--trials", str(finished + 1), "--json")
    ended = run(tmp_path, small_data, *more)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1])["finished"] == finished + 1


def test_under_nohup_a_hangup_stops_nothing(tmp_path: Path, small_data: Path) -> None:
    flags = (*QUICK, "--trials", "50", "--workers", "1", "--json", "--quiet")
    search = start(tmp_path, small_data, *flags, ignored=(signal.SIGHUP,))
    wait_until(lambda: count(tmp_path, "mlp", *FINISHED) >= 1)
    os.killpg(search.pid, signal.SIGHUP)
    hung_up = count(tmp_path, "mlp", *FINISHED)
    wait_until(lambda: search.poll() or count(tmp_path, "mlp", *FINISHED) > hung_up + 1)
    os.killpg(search.pid, signal.SIGINT)
    output, errors = search.communicate(timeout=240)
    assert search.returncode == 130, errors
    said = json.loads(output.splitlines()[-1])
    assert said["stopped_by"] == "Ctrl-C"
    assert said["next"] == f"python {ROOT}/run_search.py {' '.join(flags)}"


@pytest.mark.parametrize("storage", [(), ("--storage", "sqlite:///study.db")])
def test_a_second_coordinator_is_refused_even_if_every_lock_file_was_removed(
    tmp_path: Path, small_data: Path, storage: tuple[str, ...]
) -> None:
    flags = (*QUICK, "--trials", "500", "--quiet", *storage)
    search = start(tmp_path, small_data, *flags)
    wait_until((tmp_path / "results" / "mlp" / "logs" / "worker-0.log").exists)
    for file in tmp_path.rglob("*.lock"):
        file.unlink(missing_ok=True)
    second = run(tmp_path, small_data, *flags)
    assert second.returncode == 2
    assert f"study 'mlp' is being searched by process {search.pid}. Wait" in second.stderr
    assert ".lock" not in second.stderr
    search.send_signal(signal.SIGINT)
    search.communicate(timeout=240)
    assert search.returncode == 130

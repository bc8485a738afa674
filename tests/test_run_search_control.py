"""A running search that other processes stop, pause, resume and give configurations."""

import json
import os
import signal
import subprocess
from pathlib import Path

from optuna.trial import TrialState

from search.study.requests import ENQUEUED, REQUEST, STOP
from tests import LONGEST_SECONDS
from tests.command_line import FINISHED, QUICK, count, run, start, study, wait_until
from tests.search_here import run_here


def test_other_processes_pause_resume_and_stop_a_search_and_enqueue_a_trial(
    tmp_path: Path, small_data: Path
) -> None:
    flags = (*QUICK, "--trials", "19", "--workers", "1")
    said_file = tmp_path / "said"
    with said_file.open("w") as errors_to:
        streams = (subprocess.DEVNULL, subprocess.PIPE, errors_to.fileno())
        search = start(tmp_path, small_data, *flags, streams=streams)

    def ask(*request: str) -> str:
        said = run_here(tmp_path, small_data, "--study", "mlp", *request)
        assert said.returncode == 0, said.stderr
        return said.stdout

    wait_until(lambda: count(tmp_path, "mlp", *FINISHED) >= 1)
    ask("--pause")
    # The running trial finishes, and then nothing runs; between two trials, nothing runs either.
    wait_until(lambda: "paused by a request:" in said_file.read_text())
    wait_until(lambda: not count(tmp_path, "mlp", TrialState.RUNNING))
    paused = count(tmp_path, "mlp", *FINISHED)
    said = ask("--enqueue", '{"dense_layers": 1, "dense_1": 33}')
    assert said == (
        f"trial {paused} of study 'mlp' has this configuration and runs next, if --trials of that "
        "search allows another trial\n"
    )
    assert count(tmp_path, "mlp", TrialState.WAITING) == 1
    assert count(tmp_path, "mlp", *FINISHED) == paused
    ask("--resume")
    wait_until(lambda: count(tmp_path, "mlp", *FINISHED) >= paused + 2)
    assert json.loads(ask("--stop", "--json"))["answer"].startswith(
        "the search of study 'mlp' will"
    )
    output, _ = search.communicate(timeout=LONGEST_SECONDS)
    errors = said_file.read_text()
    assert search.returncode == 130, errors
    assert "stopped: a request (--stop)" in output
    assert f"run_search.py {' '.join(flags)}" in output.split("continue: ")[1]
    for line in ("paused by a request:", "resumed by a request", f"trial {paused} (enqueued): "):
        assert line in errors
    recorded = study(tmp_path, "mlp")
    assert recorded.trials[paused].params["dense_1"] == 33
    assert recorded.trials[paused].user_attrs[ENQUEUED]["flag"] == "--enqueue"
    assert not recorded.get_trials(states=(TrialState.RUNNING, TrialState.FAIL))
    again = run_here(tmp_path, small_data, "--study", "mlp", "--stop")
    assert again.returncode == 2
    assert again.stderr == (
        "run_search: no search of study 'mlp' is running, so there is nothing to stop, pause or "
        "resume; nothing was changed.\n"
    )


def test_a_request_to_a_killed_search_does_not_stop_the_next_one(
    tmp_path: Path, small_data: Path
) -> None:
    flags = (*QUICK, "--workers", "1", "--json", "--quiet")
    search = start(tmp_path, small_data, *flags, "--trials", "500")
    wait_until(lambda: count(tmp_path, "mlp", *FINISHED) >= 1)
    os.kill(search.pid, signal.SIGSTOP)  # it cannot take the request
    assert run(tmp_path, small_data, "--study", "mlp", "--stop").returncode == 0
    search.kill()
    search.communicate()
    assert study(tmp_path, "mlp").user_attrs[REQUEST]["ask"] == STOP
    wanted = count(tmp_path, "mlp", *FINISHED) + 1
    ended = run_here(tmp_path, small_data, *flags, "--trials", str(wanted))
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1])["finished"] == wanted

"""The search command with a space that builds no model: what it says, and what it stores."""

import json
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tests.command_line import run, study
from tests.test_run_search_on_end import ON_END, SCRIPT

pytestmark = pytest.mark.xdist_group("failing")  # share a search

SPACE = """
class Broken:
    def build(self, hp):
        hp.Boolean("x")
        raise ValueError("\\x1b[1mshape\\x1b[0m is wrong")
"""
REASON = "ValueError: shape is wrong"
FLAGS = ("--space", "broken:Broken", "--val-size", "100", "--workers", "1", "--max-failures", "3")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("failing")
    (directory / "broken.py").write_text(SPACE)
    (directory / "on_end.py").write_text(SCRIPT)
    return directory


@pytest.fixture(scope="module")
def errors(directory: Path, small_data: Path) -> str:
    """Standard error of a search for more trials than the space has configurations."""
    ran = run(directory, small_data, *FLAGS, "--trials", "9", *ON_END)
    assert ran.returncode == 2
    return ran.stderr


def test_failures_in_a_row_end_the_search_in_an_error(errors: str) -> None:
    expected = f"run_search: 3 trials failed in a row; last reason: {REASON}. Fix the cause, "
    assert errors.splitlines()[-1].startswith(expected)


def test_a_traceback_is_shown_once_plainly_and_from_the_users_code_on(
    directory: Path, errors: str
) -> None:
    assert errors.count("Traceback") == errors.count('File "') == 1
    assert f"\n{REASON}\n" in errors
    assert "\x1b" not in errors
    assert f"{directory}/broken.py" in errors
    log = (directory / "results" / "broken.Broken" / "logs" / "worker-0.log").read_text()
    assert log.count("Traceback") >= 3  # and that of the measurement
    assert "\x1b" not in log


def test_every_trial_is_stored_with_its_traceback(directory: Path, errors: str) -> None:
    trials = study(directory, "broken.Broken").trials
    assert len(trials) == 3
    for trial in trials:
        assert trial.state == TrialState.FAIL
        assert 'raise ValueError("' in trial.user_attrs["traceback"]


def test_a_model_that_fails_in_the_measurement_fails_in_its_trials_as_ever(errors: str) -> None:
    assert errors.splitlines()[1] == f"the duration of the search is unknown: {REASON}"


def test_the_command_of_on_end_gets_the_line_of_the_error(directory: Path, errors: str) -> None:
    facts = json.loads((directory / "told.json").read_text())
    assert facts["status"] == "failed"
    assert errors.splitlines()[-1] == f"run_search: {facts['error']}"
    assert (facts["finished"], facts["failed"], facts["best"]) == (0, 3, None)

"""The command at the end of a search: what it is told, and that it can spoil nothing."""

import json
import re
import shlex
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from search import on_end
from search.errors import SearchError, SettingsError, StoppedEarly, StoppedError, StopReason
from search.on_end import command_at_end
from search.outcome import Best, Outcome
from search.settings import SearchSettings
from search.study.health import CHECKS, Finding
from tests.command_line import ROOT

BEST = Best(
    number=3,
    value=0.9,
    values={"val_accuracy": 0.9},
    params={"units": 8},
    description=None,
    parameters=7,
    name="enqueued",
)
FINDING = Finding(check=CHECKS[0], words="one")


def outcome_of(directory: Path, stopped_by: StopReason | None = None) -> Outcome:
    return Outcome(
        name="mine",
        storage="",
        directory=directory,
        complete=3,
        pruned=1,
        failed=2,
        best=BEST,
        front=None,
        seconds=1.0,
        stopped_by=stopped_by,
        ran=4,
        used_up=False,
        enqueued=0,
        max_epochs=5,
        findings=[FINDING],
    )


def end(
    directory: Path,
    script: str,
    *,
    stopped_by: StopReason | None = None,
    error: BaseException | None = None,
    has_study: bool = True,
    readable: bool = True,
    **flags: Any,
) -> list[str]:
    """End a search whose command is a Python script; return what is said."""
    (directory / "script.py").write_text(f"import json, os, sys, time\n{script}\n")
    settings = SearchSettings(
        study="mine",
        results_dir=directory,
        on_end=shlex.join([sys.executable, str(directory / "script.py")]),
        **flags,
    )
    said: list[str] = []

    def read_outcome() -> Outcome | None:
        return outcome_of(directory) if readable else None

    with command_at_end(settings, time.monotonic(), read_outcome, said.append) as ending:
        ending.has_study = has_study
        if error is not None:
            raise error
        ending.outcome = outcome_of(directory, stopped_by)
    assert re.fullmatch(r"--on-end: running the command \(up to .* s; Ctrl-C stops it\)", said[0])
    return said[1:]


SAVE = "json.dump(json.load(sys.stdin), open('told.json', 'w'))"


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told_facts(directory: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((directory / "told.json").read_text())
    return facts


@pytest.mark.parametrize(
    ("stopped_by", "status", "reason"),
    [
        (None, "finished", None),
        (StopReason.PATIENCE, "finished", "--patience-trials"),
        (StopReason.TIMEOUT, "stopped", "--timeout"),
        (StopReason.REQUESTED, "stopped", "a request (--stop)"),
        (StopReason.CTRL_C, "stopped", "Ctrl-C"),
    ],
)
def test_the_command_gets_the_outcome(
    tmp_path: Path, stopped_by: StopReason | None, status: str, reason: str | None
) -> None:
    assert end(tmp_path, SAVE, stopped_by=stopped_by, trials=9) == []
    facts = told_facts(tmp_path)
    assert facts.pop("seconds") >= 0
    assert facts == {
        "status": status,
        "study": "mine",
        "directory": str(tmp_path / "mine"),
        "storage": None,
        "trials": 9,
        "finished": 4,
        "complete": 3,
        "pruned": 1,
        "failed": 2,
        "enqueued": 0,
        "objective": "val_accuracy",
        "best": asdict(BEST),
        "front": None,
        "findings": [
            {"check": CHECKS[0].name, "found": "one", "advice": CHECKS[0].advice},
        ],
        "stopped_by": reason,
        "error": None,
    }


@pytest.mark.parametrize(
    ("error", "status", "reason", "line"),
    [
        (SearchError("no postgresql://me:secret@host"), "failed", None, "no postgresql://me:***@h"),
        (StoppedError(StopReason.SIGTERM), "stopped", "SIGTERM", None),
        (StoppedEarly(StopReason.SIGHUP), "stopped", "SIGHUP", None),
        (KeyboardInterrupt(), "stopped", "Ctrl-C", None),
    ],
)
def test_an_error_is_told_with_what_the_study_holds_and_goes_on(
    tmp_path: Path, error: BaseException, status: str, reason: str | None, line: str | None
) -> None:
    with pytest.raises(type(error)):
        end(tmp_path, SAVE, error=error)
    facts = told_facts(tmp_path)
    assert (facts["status"], facts["stopped_by"]) == (status, reason)
    assert (facts["finished"], facts["best"]) == (4, asdict(BEST))
    assert facts["error"] is None if line is None else facts["error"].startswith(line)


def test_of_a_study_that_cannot_be_read_all_that_it_holds_is_null(tmp_path: Path) -> None:
    assert end(tmp_path, SAVE) == []
    names = told_facts(tmp_path).keys()
    with pytest.raises(SearchError):
        end(tmp_path, SAVE, error=SearchError("gone"), readable=False)
    facts = told_facts(tmp_path)
    assert facts.keys() == names
    for name in ("finished", "best", "front", "findings"):
        assert facts[name] is None


def test_no_secret_of_the_storage_reaches_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "postgresql://me:secret@host/db"
    monkeypatch.setenv("SEARCH_STORAGE", url)
    script = "print(sys.stdin.read(), dict(os.environ))"
    (said,) = end(tmp_path, script, storage=url)
    assert "postgresql://me:***@host/db" in said
    assert "me:secret" not in said


def test_before_there_is_a_study_nothing_is_run(tmp_path: Path) -> None:
    with pytest.raises(SearchError):
        end(tmp_path, SAVE, error=SearchError("wrong"), has_study=False)
    assert not (tmp_path / "told.json").exists()


def test_a_failing_command_is_one_line_after_its_output(tmp_path: Path) -> None:
    said = end(tmp_path, "print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert sorted(said[:2]) == ["err", "out"]
    assert said[2:] == ["--on-end: it ended with exit code 3; the search is not affected"]


def test_a_command_that_hangs_is_killed_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_end, "LIMIT_SECONDS", 2.0)
    started = time.monotonic()
    script = "import subprocess; print('begun', flush=True); subprocess.run(['sleep', '600'])"
    said = end(tmp_path, script)
    assert (
        said[-1] == "--on-end: it did not end within 2 s and was killed; the search is not affected"
    )
    assert time.monotonic() - started < 300


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command(tmp_path: Path, number: int) -> None:
    script = f"os.kill(os.getppid(), {int(number)}); time.sleep(600)"
    # A shell lets what it starts in the background ignore Ctrl-C; `prepare_process` undoes that.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        (line,) = end(tmp_path, script)
    finally:
        signal.signal(number, before)
    reason = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert line == f"--on-end: it was killed by {reason}; the search is not affected"


def test_a_command_that_is_gone_is_one_line(tmp_path: Path) -> None:
    program = tmp_path / "notify"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    settings = SearchSettings(study="mine", results_dir=tmp_path, on_end=str(program))
    said: list[str] = []
    with command_at_end(settings, 0.0, lambda: None, said.append) as ending:
        ending.has_study = True
        program.unlink()
    assert said == [
        "--on-end: it could not be run (No such file or directory); the search is not affected"
    ]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("echo 'x", r"^--on-end cannot be parsed: no closing quotation; check its quotes and"),
        (" ", r"^--on-end is empty; name a program, or leave it out\.$"),
        ("nowhere.sh x", r"^--on-end names 'nowhere.sh', but there is no such program; give the"),
    ],
)
def test_a_command_that_cannot_run_is_refused_before_the_search(command: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SearchSettings(on_end=command)


def test_the_documented_script_logs_to_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its calls alone: MLflow itself is not installed here.
    (tmp_path / "mlflow.py").write_text(
        "import contextlib\n"
        "def __getattr__(name):\n"
        "    def called(*values):\n"
        "        print(name, *values)\n"
        "        return contextlib.nullcontext()\n"
        "    return called\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    page = (ROOT / "docs" / "control.md").read_text()
    match = re.search(r"```python\n(# log_to_mlflow.py\n.*?)```", page, re.DOTALL)
    assert match is not None
    said = end(tmp_path, match[1])
    assert said == [
        "set_experiment mine",
        "start_run",
        f"set_tags {{'status': 'finished', 'directory': '{tmp_path}/mine'}}",
        "log_params {'units': 8}",
        "log_metric val_accuracy 0.9",
    ]

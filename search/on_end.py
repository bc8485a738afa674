"""The command that a search runs when it has ended, such as one that sends a mail."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from search.command_line.flags import STORAGE_VARIABLE
from search.command_line.process import stop_by_signal
from search.errors import SettingsError, StoppedError, StopReason
from search.secrets import hide_secrets, masked_url
from search.workers.limits import exit_words

if TYPE_CHECKING:  # the settings import this module
    from search.outcome import Outcome
    from search.settings import SearchSettings

LIMIT_SECONDS: Final = 60.0
_OUTCOME: Final = (
    "finished",
    "complete",
    "pruned",
    "failed",
    "enqueued",
    "best",
    "front",
    "findings",
)
_MOST_OUTPUT: Final = 100_000  # bytes that are shown


def check_on_end(command: str) -> None:
    """Check that a command can be started.

    Raises:
        SettingsError: Its quotes do not match, it is empty, or there is no such program.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise SettingsError(
            f"--on-end cannot be parsed: {str(error).lower()}; check its quotes and backslashes."
        ) from None
    if not words:
        raise SettingsError("--on-end is empty; name a program, or leave it out.")
    if shutil.which(words[0]) is None:
        raise SettingsError(
            f"--on-end names {words[0]!r}, but there is no such program; give the path of an "
            'executable file, or write --on-end "python FILE". No shell reads it.'
        )


@dataclass(slots=True)
class Ending:
    """How far a run of a search has come.

    Attributes:
        has_study: Whether its study was created or continued.
        outcome: None before the end, and after an error.
    """

    has_study: bool = False
    outcome: "Outcome | None" = None


@contextmanager
def command_at_end(
    settings: "SearchSettings",
    started: float,
    read_outcome: Callable[[], "Outcome | None"],
    say: Callable[[str], None],
) -> Iterator[Ending]:
    """Run the command of `--on-end` when a search ends, if it got as far as its study.

    Args:
        settings: Settings of the search.
        started: `time.monotonic()` at its start.
        read_outcome: Returns what the study holds after an error; None if it cannot be read.
        say: Called with a line for the user.
    """
    ending = Ending()
    error: BaseException | None = None
    try:
        yield ending
    except BaseException as raised:
        error = raised
        raise
    finally:
        if settings.on_end is not None and ending.has_study:
            outcome = ending.outcome or read_outcome()
            try:
                _run(settings.on_end, _facts(settings, outcome, error, started), say)
            except OSError as trouble:
                _warn(f"it could not be run ({trouble.strerror})", say)


def _facts(
    settings: "SearchSettings",
    outcome: "Outcome | None",
    error: BaseException | None,
    started: float,
) -> dict[str, Any]:
    reason = outcome.stopped_by if outcome is not None else None
    if error is None:
        status = "stopped" if outcome is not None and outcome.interrupted else "finished"
    else:
        is_stop = isinstance(error, KeyboardInterrupt | StoppedError)
        status = "stopped" if is_stop else "failed"
        reason = getattr(error, "reason", StopReason.CTRL_C) if is_stop else None
    return {
        "status": status,
        "study": settings.study_name,
        "directory": str(settings.study_dir),
        "storage": None if settings.storage is None else masked_url(settings.storage),
        "trials": settings.trials,
        "objective": settings.objectives.names[0],
        **(dict.fromkeys(_OUTCOME) if outcome is None else outcome.as_json()),
        "seconds": round(time.monotonic() - started, 3),
        "stopped_by": None if reason is None else reason.value,
        "error": hide_secrets(str(error)) if status == "failed" else None,
    }


def _run(command: str, outcome: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Run a command with the outcome of a search on its standard input, and show its output.

    The command cannot affect the search. It gets no storage URL, which may hold a password,
    neither in the outcome nor in its environment.

    Args:
        command: Words as a shell splits them; no shell reads them.
        outcome: Passed as one JSON object.
        say: Called with a line for the user.

    Raises:
        OSError: It cannot be started.
    """
    content = json.dumps(outcome).encode()
    environment = {name: value for name, value in os.environ.items() if name != STORAGE_VARIABLE}
    process: subprocess.Popen[bytes] | None = None
    killed_by: StopReason | None = None

    def stop(reason: StopReason) -> None:
        nonlocal killed_by
        killed_by = reason
        if process is not None:
            _kill(process)

    trouble = ""
    # A file, not a pipe: a process left behind by the command could keep a pipe open.
    with tempfile.TemporaryFile() as output:
        with stop_by_signal(stop):  # before the start: the command itself may send the signal
            process = subprocess.Popen(
                shlex.split(command),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the search
            )
            try:
                say(f"--on-end: running the command (up to {LIMIT_SECONDS:g} s; Ctrl-C stops it)")
                if killed_by is not None:  # while there was no process to kill
                    _kill(process)
                process.communicate(content, timeout=LIMIT_SECONDS)
                if process.returncode:
                    trouble = f"it ended with {exit_words(process.returncode)}"
            except subprocess.TimeoutExpired:
                trouble = f"it did not end within {LIMIT_SECONDS:g} s and was killed"
            finally:
                _kill(process)
                process.wait()
        output.seek(0)
        for line in output.read(_MOST_OUTPUT).decode(errors="replace").splitlines():
            say(line)
    if killed_by is not None:
        trouble = f"it was killed by {killed_by.value}"
    if trouble:
        _warn(trouble, say)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all that it started, unless it has ended."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _warn(trouble: str, say: Callable[[str], None]) -> None:
    say(f"--on-end: {trouble}; the search is not affected")

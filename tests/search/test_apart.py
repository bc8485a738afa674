"""A function in a separate process."""

import os
import signal

import pytest

from search.apart import ProcessEndedError, run_apart
from search.command_line.process import STOP_SIGNALS
from search.engines.exploring import UnexploredError
from spaces import SpaceError


def blocked(seen: str) -> tuple[str, bool]:
    """Return the argument with the process, and whether it blocks the stop signals."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return f"{seen} {os.getpid()}", set(STOP_SIGNALS) <= mask


def fail(how: str) -> None:
    if how == "raise":
        raise ValueError("wrong")
    if how == "search":
        raise UnexploredError("not this space", "its reason")
    if how == "space":
        raise type("Own", (SpaceError,), {})("no space")  # which only that process knows
    os.kill(os.getpid(), signal.SIGKILL)


def test_it_runs_elsewhere_where_stop_signals_are_blocked():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    process, are_blocked = run_apart(blocked, "process", name="test")
    assert process.startswith("process ")
    assert process != f"process {os.getpid()}"
    assert are_blocked
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


@pytest.mark.parametrize(("how", "code"), [("raise", 1), ("kill", -9)])
def test_a_process_that_ends_says_how(how, code):
    with pytest.raises(ProcessEndedError) as caught:
        run_apart(fail, how, name="test")
    assert caught.value.code == code


def test_an_error_for_the_user_is_raised_here():
    with pytest.raises(UnexploredError, match=r"^not this space$") as caught:
        run_apart(fail, "search", name="test")
    assert caught.value.reason == "its reason"
    with pytest.raises(SpaceError, match=r"^no space$"):
        run_apart(fail, "space", name="test")

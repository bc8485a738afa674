"""Run a function in a separate process: its crash and its libraries stay out of this one."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from search.command_line.process import STOP_SIGNALS
from search.errors import SearchError
from spaces.errors import SpaceError

Result = TypeVar("Result")


class ProcessEndedError(Exception):
    """The process ended before its function returned.

    Args:
        code: Its exit code; negative: the signal.
    """

    def __init__(self, code: int | None) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class _Raised:
    """What a function has raised in its process."""

    error: SearchError | SpaceError


def run_apart(function: Callable[..., Result], *args: object, name: str) -> Result:
    """Call a function in a spawned process and wait; the process does not outlive the call.

    The process blocks the signals that stop a search, and exits when this process is killed.

    Args:
        function: Function of a module, since it is pickled, as is its result.
        args: Arguments that can be pickled.
        name: Name of the process.

    Raises:
        SearchError: The function raised it, likewise `SpaceError`.
        ProcessEndedError: The process ended before the function returned; other exceptions end it.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_call_and_send, args=(theirs, function, args), name=name, daemon=True
    )
    # Start the tracker here: started by the new process, it would unblock the signals.
    resource_tracker.ensure_running()
    with signals_blocked():
        process.start()
    theirs.close()
    try:
        result: Result | _Raised = ours.recv()
    except EOFError as error:
        process.join()
        raise ProcessEndedError(process.exitcode) from error
    finally:
        process.kill()
        process.join()
        ours.close()
    if isinstance(result, _Raised):
        raise result.error
    return result


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Block the signals that stop a search in processes started inside this context.

    They inherit the mask, so only the coordinator reacts to a signal to the process group.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _call_and_send(
    connection: Connection, function: Callable[..., Any], args: tuple[object, ...]
) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    end_after(parent.join)
    try:
        result = function(*args)
    except SpaceError as error:  # a subclass of a user could not be read by the other process
        result = _Raised(SpaceError(str(error)))
    except SearchError as error:
        result = _Raised(error)
    connection.send(result)


def end_after(wait: Callable[[], object]) -> None:
    """End this process with exit code 1 once `wait` returns or fails, whatever it does then.

    A killed parent cannot end the processes that it started, which may be busy for ever.

    Args:
        wait: Called in another thread; blocks while the parent lives, and holds no lock that the
            end of the main thread needs.
    """

    def end() -> None:
        with suppress(Exception):
            wait()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def require_main_program(function: str) -> None:
    """Refuse a call made while a worker imports the script: it would start workers again.

    Args:
        function: Name of the called function, for the message.

    Raises:
        SearchError: The call is not under `if __name__ == "__main__":`.
    """
    # `multiprocessing` imports the script under this name, and then makes it the main module.
    imported = sys.modules.get("__mp_main__")
    if imported is not None and imported is not sys.modules["__main__"]:
        raise SearchError(
            f"{function} was called while a worker imports the script. Put the call under "
            '`if __name__ == "__main__":`, so that only the script itself makes it.'
        )

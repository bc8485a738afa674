"""A worker process: run the trials that the coordinator sends, one after another."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Protocol

import psutil

from search.errors import SearchError
from search.workers.link import Channel, CoordinatorGoneError, Link
from search.workers.messages import (
    Beat,
    Failed,
    Measure,
    Measured,
    Ready,
    Train,
    Trained,
    Unusable,
)
from spaces.errors import SpaceError, one_line

BEAT_SECONDS: Final = 2.0


class Trainer(Protocol):
    """Runs the trials of one worker; tests and benchmarks replace `KerasTrainer` by their own."""

    def __init__(self, link: Link, settings: Any) -> None: ...

    def run(self, order: Train) -> Trained | Failed:
        """Run one trial to its end."""

    def measure(self, order: Measure) -> Measured | Failed:
        """Measure how fast this worker trains."""


def run_worker(
    connection: Connection, settings: Any, log: Path, trainer_class: type[Trainer]
) -> None:
    """Run a worker as the main function of a process.

    Args:
        connection: Pipe to the coordinator.
        settings: Argument of `trainer_class`.
        log: File for everything that this process prints.
        trainer_class: Class that runs the trials.
    """
    _let_trainings_start_processes()
    # A process that a training forks would keep the pipe open: the coordinator would not see that
    # this one has died.
    os.register_at_fork(after_in_child=connection.close)
    redirect_output(log)
    serve(connection, settings, trainer_class)


def serve(
    channel: Channel,
    settings: Any,
    trainer_class: type[Trainer],
    *,
    beat_seconds: float = BEAT_SECONDS,
) -> None:
    """Load data and space, then run trials until the coordinator is gone.

    Args:
        channel: To the coordinator.
        settings: Argument of `trainer_class`.
        trainer_class: Class that runs the trials.
        beat_seconds: Interval of heartbeats.
    """
    link = Link(channel)
    threading.Thread(target=_beat, args=(link, beat_seconds), daemon=True).start()
    try:
        trainer = trainer_class(link, settings)
    except (SearchError, SpaceError) as error:
        link.send(Unusable(str(error)))
        return
    except Exception as error:
        traceback.print_exc()
        link.send(Unusable(one_line(error, typed=True)))
        return
    link.send(Ready())
    with contextlib.suppress(CoordinatorGoneError):
        while True:
            try:
                order = link.receive()
                work = trainer.measure if isinstance(order, Measure) else trainer.run
                ended = work(order)
            except SpaceError as error:
                link.send(Unusable(str(error)))
                return
            if isinstance(ended, Failed) and ended.traceback:
                print(ended.traceback, flush=True)  # noqa: T201 - into the worker's log
            link.send(ended)


def redirect_output(log: Path) -> None:
    """Append everything that this process prints to a file."""
    # At the level of file descriptors, since TensorFlow's C++ part prints past sys.stderr.
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    # UTF-8, whatever the terminal's encoding: a space must not fail because it prints a name.
    sys.stdout, sys.stderr = (
        os.fdopen(number, "w", 1, "utf-8", "backslashreplace", closefd=False) for number in (1, 2)
    )


def _let_trainings_start_processes() -> None:
    """Let a user's training start processes, and end them as `multiprocessing` does: by SIGTERM.

    Python forbids daemons to start any. SIGTERM is blocked here, since the coordinator alone heeds
    it; what is started here would inherit that, and never end.
    """
    multiprocessing.current_process().daemon = False
    # Not SIG_IGN, which is inherited too. A handler ends with exec, or here after a fork.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def kill_children(process: psutil.Process) -> None:
    """Kill what a training has started: it would not end with its worker."""
    children: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        children = process.children(recursive=True)
    for child in children:
        with contextlib.suppress(psutil.Error):  # it is gone
            child.kill()


def _beat(link: Link, seconds: float) -> None:
    process = psutil.Process()
    memory_mb = 0.0
    while True:
        with contextlib.suppress(OSError):  # the trial may have opened too many files
            memory_mb = process.memory_info().rss / 1e6
        try:
            link.send(Beat(memory_mb))
        except CoordinatorGoneError:
            kill_children(process)
            os._exit(0)  # end the trial in the main thread too
        time.sleep(seconds)

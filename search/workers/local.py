"""Worker processes on this machine."""

import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

import joblib
import psutil

from search.apart import signals_blocked
from search.errors import SearchError, StorageError
from search.training.hardware import training_variables, visible_gpus
from search.workers.keras_trainer import WorkerSettings
from search.workers.limits import exit_words, require_descriptors
from search.workers.messages import Died, Message
from search.workers.process import Trainer, kill_children, run_worker
from spaces.errors import one_line

_SHOWN_LINES: Final = 3
_STARTING: Final = threading.Lock()  # the environment is that of the whole process
_AT_ONCE_BYTES: Final = 1 << 12  # below the buffer of a pipe on every system
_BROKEN_SECONDS: Final = 5.0


def workers_here(asked: int | None) -> int:
    """Return the number of workers to run on this machine.

    Args:
        asked: Number that was asked for; None: one for each GPU, else for each core.
    """
    return asked or len(visible_gpus()) or int(joblib.cpu_count())


class LocalProcess:
    """A spawned process; see `search.workers.pool.WorkerProcess`.

    A process may be frozen at any moment: by its debugger, its container or a disk that hangs. It
    then reads nothing, and what it sends stays incomplete. So threads do what may take for ever,
    since the silence of the process must be noticed meanwhile.

    Args:
        process: The process.
        connection: Its pipe.
        log: File of its output.
        arrived: Notified of each message, and of the end of the process.
    """

    def __init__(
        self, process: BaseProcess, connection: Connection, log: Path, arrived: threading.Condition
    ) -> None:
        self.heard: float | None = time.monotonic()
        self.log = str(log)
        self._process = process
        self._connection = connection
        self._arrived = arrived
        self._messages: list[Message] = []
        self._ended = False
        self._reader = threading.Thread(target=self._receive, daemon=True)
        self._writer: threading.Thread | None = None
        with signals_blocked():  # for the main thread
            self._reader.start()

    def send(self, message: object) -> None:
        """See `WorkerProcess`."""
        content = pickle.dumps(message)
        if len(content) <= _AT_ONCE_BYTES:
            self._write(content)
            return
        self._writer = threading.Thread(target=self._write, args=(content,), daemon=True)
        with signals_blocked():
            self._writer.start()

    def _write(self, content: bytes) -> None:
        with suppress(OSError):
            self._connection.send_bytes(content)

    def _receive(self) -> None:
        while not self._ended:
            received: list[Message] = []
            with suppress(EOFError, OSError):
                received = [self._connection.recv()]
            with self._arrived:
                self._messages += received
                self._ended = not received
                self.heard = time.monotonic()
                self._arrived.notify_all()

    @property
    def readable(self) -> bool:
        """Whether `read` returns something."""
        return self._ended or bool(self._messages)

    def read(self) -> Sequence[Message]:
        """See `WorkerProcess`."""
        with self._arrived:
            messages, self._messages = self._messages, []
        if messages or not self._ended:
            return messages
        self._process.join(5)
        return [Died(exit_words(self._process.exitcode))]

    def last_lines(self) -> str:
        """See `WorkerProcess`."""
        log = Path(self.log)
        lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
        shown = [line.strip() for line in lines if line.strip()][-_SHOWN_LINES:]
        return f"{' | '.join(shown) or 'nothing logged'} (whole log: {log})"

    def kill(self, *, wait: bool = True) -> None:
        """See `WorkerProcess`."""
        if self._process.is_alive():
            with suppress(psutil.Error):
                alive = psutil.Process(self._process.pid)
                alive.suspend()  # it must not start another one meanwhile
                kill_children(alive)
        self._process.kill()
        if wait:
            self._process.join()
            for thread in (self._reader, self._writer):
                if thread is not None:
                    thread.join(_BROKEN_SECONDS)  # the pipe is broken
                    if thread.is_alive():
                        return  # a child of the process holds the other end
            self._connection.close()


class LocalBackend:
    """Spawned processes; on a CPU they share its cores, on GPUs each gets one.

    Args:
        settings: Settings that all trials share.
        trainer_class: Runs the trials.
        count: Number of workers; None: one for each GPU, else one for each core.
        log_dir: Folder for one log file for each worker.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        trainer_class: type[Trainer],
        *,
        count: int | None,
        log_dir: Path,
    ) -> None:
        self._settings = settings
        self._trainer_class = trainer_class
        self._log_dir = log_dir
        self._gpus = visible_gpus()
        self._arrived = threading.Condition()
        self.count = workers_here(count)

    def spawn(self, slot: int) -> LocalProcess:
        """See `search.workers.pool.Backend`."""
        # Spawned, not forked: a fork of a process that has used TensorFlow or threads can hang.
        require_descriptors(slot, self.count)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        log = self._make_log(slot)
        process = context.Process(
            target=run_worker,
            args=(theirs, self._settings, log, self._trainer_class),
            name=f"worker-{slot}",
            daemon=True,
        )
        try:
            # Start the tracker here: started by the first process, it would unblock the signals.
            resource_tracker.ensure_running()
            with _environment(self._variables(slot)), signals_blocked():
                process.start()
            theirs.close()
            return LocalProcess(process, ours, log, self._arrived)
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
            if process.pid is not None:
                process.kill()
            raise SearchError(
                f"worker {slot + 1} of {self.count} cannot be started ({one_line(error)}). Raise "
                "the system's limit (`ulimit -u`, or that of the container), or use fewer "
                "--workers."
            ) from error

    def wait(
        self, processes: Sequence[LocalProcess], timeout_seconds: float
    ) -> Sequence[LocalProcess]:
        """See `search.workers.pool.Backend`."""

        def readable() -> list[LocalProcess]:
            return [process for process in processes if process.readable]

        with self._arrived:
            return self._arrived.wait_for(readable, timeout_seconds)

    def _make_log(self, slot: int) -> Path:
        log = self._log_dir / f"worker-{slot}.log"
        try:
            self._log_dir.mkdir(parents=True, exist_ok=True)
            log.open("ab").close()  # here, since a worker without a log cannot say why
        except OSError as error:
            raise StorageError(
                f"{log} cannot be written ({error.strerror}). Finished trials and trainings are "
                "kept: free disk space, then run the same command again."
            ) from error
        return log

    def _variables(self, slot: int) -> dict[str, str]:
        if self._gpus:
            gpu = self._gpus[slot % len(self._gpus)]
            return training_variables() | {"CUDA_VISIBLE_DEVICES": gpu}
        return training_variables(threads=max(1, joblib.cpu_count() // self.count))


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a process that starts; searches in other threads wait."""
    with _STARTING:
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

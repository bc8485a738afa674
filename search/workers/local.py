"""Workers on this machine: spawned processes."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import joblib

from search.command_line import STOP_SIGNALS
from search.training.hardware import gpu_count, training_variables
from search.workers.pool import SILENCE_SECONDS, Died, Worker, Workers
from search.workers.process import KerasTrainer, MakeTrainer, run_worker

_LOG_LINES = 3


class LocalWorker(Worker):
    """One process."""

    def __init__(self, slot: int, process: BaseProcess, connection: Connection, log: Path) -> None:
        super().__init__(slot, heard=time.monotonic())
        self.log = log
        self.process = process
        self.connection = connection

    def _send(self, message: object) -> None:
        try:
            self.connection.send(message)
        except OSError:
            return

    def last_words(self) -> str:
        """See `Worker`."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        said = [line.strip() for line in lines if line.strip()][-_LOG_LINES:]
        return f"{' | '.join(said) or 'nothing logged'} (whole log: {self.log})"

    def kill(self) -> None:
        """See `Worker`."""
        self.process.kill()
        self.process.join()
        self.connection.close()


class LocalWorkers(Workers[LocalWorker]):
    """A fixed number of spawned processes, one thread each on a CPU, one GPU each on GPUs.

    Args:
        settings: What the workers need before their first trial; handed to `make_trainer`.
        count: How many; None: one for each GPU, else one for each core.
        log_dir: Takes one log file for each worker.
        max_memory_mb: A worker above it is not given another trial; None: no limit.
        silence_seconds: A worker that says nothing for so long is replaced.
        make_trainer: Makes what runs the trials of each process.
    """

    def __init__(
        self,
        settings: Any,
        *,
        count: int | None,
        log_dir: Path,
        max_memory_mb: float | None = None,
        silence_seconds: float = SILENCE_SECONDS,
        make_trainer: MakeTrainer = KerasTrainer,
    ) -> None:
        super().__init__(max_memory_mb=max_memory_mb, silence_seconds=silence_seconds)
        self._make_trainer = make_trainer
        self._settings = settings
        self._gpus = gpu_count()
        self._count = count or self._gpus or joblib.cpu_count()
        self._log_dir = log_dir

    @property
    def count(self) -> int:
        """How many shall run."""
        return self._count

    def _wait(self, timeout_seconds: float) -> list[LocalWorker]:
        by_connection = {worker.connection: worker for worker in self._workers.values()}
        speaking = wait(list(by_connection), timeout_seconds)
        return [by_connection[connection] for connection in speaking]  # type: ignore[index]

    def _read(self, worker: LocalWorker) -> list[Any]:
        try:
            return [worker.connection.recv()]
        except (EOFError, OSError):
            worker.process.join(5)
            return [Died(_exit_words(worker.process.exitcode))]

    def _spawn(self, slot: int) -> LocalWorker:
        # Spawned, not forked: a fork of a process that has used TensorFlow or threads can hang.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._log_dir.mkdir(parents=True, exist_ok=True)
        log = self._log_dir / f"worker-{slot}.log"
        process = context.Process(
            target=run_worker,
            args=(theirs, self._settings, log, self._make_trainer),
            name=f"worker-{slot}",
            daemon=True,
        )
        # Started by the first process otherwise, and it would unblock the signals for it.
        resource_tracker.ensure_running()
        with _environment(self._variables(slot)), _signals_blocked():
            process.start()
        theirs.close()
        return LocalWorker(slot, process, ours, log)

    def _variables(self, slot: int) -> dict[str, str]:
        if self._gpus:
            devices = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
            if len(devices) != self._gpus:
                devices = [str(index) for index in range(self._gpus)]
            return training_variables() | {"CUDA_VISIBLE_DEVICES": devices[slot % self._gpus]}
        return training_variables(threads=max(1, joblib.cpu_count() // self.count))


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    # The child inherits the mask: a signal to the whole group is the coordinator's to answer.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit_words(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {-code} {signal.Signals(-code).name}"
    return f"exit code {code}"

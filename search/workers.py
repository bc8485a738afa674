"""Local worker processes: start, listen to, and replace them, whatever happens to them."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from search.command_line import STOP_SIGNALS
from search.errors import SearchError
from search.messages import Answer, Beat, Ready, Unusable
from search.precision import gpu_count
from search.worker import run_worker

SILENCE_SECONDS = 60.0  # a worker that says nothing for so long is frozen: it beats every 2 s
TRIALS_PER_WORKER = 25  # TensorFlow keeps about 9 MB of each trial
_STARTS_IN_A_ROW = 3
_LOG_LINES = 3
RunWorker = Callable[[Connection, Any, Path], None]


@dataclass(frozen=True, slots=True)
class Died:
    """In place of a message: the worker is gone, and why."""

    reason: str


class Worker:
    """One process, and what the coordinator knows of it."""

    def __init__(self, slot: int, process: BaseProcess, connection: Connection, log: Path) -> None:
        self.slot = slot
        self.process = process
        self.connection = connection
        self.log = log
        self.ready = False
        self.trials = 0
        self.memory_mb = 0.0
        self.heard = time.monotonic()

    def send(self, message: object) -> None:
        """Send a message; a worker that is gone shows up in the next `poll`."""
        if not isinstance(message, Answer):
            self.trials += 1
        try:
            self.connection.send(message)
        except OSError:
            return

    def kill(self) -> None:
        """End the process at once, whatever it does."""
        self.process.kill()
        self.process.join()
        self.connection.close()


class LocalWorkers:
    """A fixed number of spawned processes, one thread each on a CPU, one GPU each on GPUs.

    Args:
        settings: What the workers need before their first trial; handed to `run`.
        count: How many; None: one for each GPU, else one for each core.
        log_dir: Takes one log file for each worker.
        max_memory_mb: A worker above it is not given another trial; None: no limit.
        silence_seconds: A worker that says nothing for so long is replaced.
        run: What each process runs.

    Raises:
        SearchError: (from `poll`) The space or the data cannot be used, or no worker starts.
    """

    def __init__(
        self,
        settings: Any,
        *,
        count: int | None,
        log_dir: Path,
        max_memory_mb: float | None = None,
        silence_seconds: float = SILENCE_SECONDS,
        run: RunWorker = run_worker,
    ) -> None:
        self._silence_seconds = silence_seconds
        self._run = run
        self._settings = settings
        self._gpus = gpu_count()
        self.count = count or self._gpus or available_cores()
        self._log_dir = log_dir
        self._max_memory_mb = max_memory_mb
        self._workers: dict[int, Worker] = {}
        self._failed_starts = 0
        self._polled = time.monotonic()

    def start(self, most: int) -> None:
        """Start the workers that are missing; no more than `most` shall run."""
        for slot in range(min(self.count, most)):
            if slot not in self._workers:
                self._workers[slot] = self._spawn(slot)

    def idle(self, busy: Mapping[Worker, object]) -> list[Worker]:
        """Workers that can take a trial; those that are used up are replaced on the way."""
        free = [worker for worker in self._workers.values() if worker not in busy and worker.ready]
        for worker in list(free):
            full = self._max_memory_mb is not None and worker.memory_mb > self._max_memory_mb
            if worker.trials >= TRIALS_PER_WORKER or (full and worker.trials):
                free.remove(worker)
                self.replace(worker)
        return free

    def poll(self, timeout_seconds: float) -> Iterator[tuple[Worker, Any]]:
        """What the workers say within the time, as `run` says it; dead and silent ones `Died`."""
        now = time.monotonic()
        if now - self._polled > self._silence_seconds / 4:
            # This process stood still (a suspended laptop, Ctrl-Z): the silence was its own.
            for worker in self._workers.values():
                worker.heard = now
        by_connection = {worker.connection: worker for worker in self._workers.values()}
        speaking = wait(list(by_connection), timeout_seconds)
        self._polled = time.monotonic()  # what the caller does with a message is no silence
        for connection in speaking:
            worker = by_connection[connection]  # type: ignore[index]
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                yield from self._bury(worker)
                continue
            worker.heard = time.monotonic()
            if isinstance(message, Beat):
                worker.memory_mb = message.memory_mb
            elif isinstance(message, Ready):
                worker.ready, self._failed_starts = True, 0
            elif isinstance(message, Unusable):
                raise SearchError(message.reason)
            yield worker, message
        for worker in list(self._workers.values()):
            silent = self._polled - worker.heard
            if silent > self._silence_seconds:
                self.replace(worker)
                yield worker, Died(f"worker silent for {silent:.0f} s")

    def replace(self, worker: Worker) -> None:
        """Kill a worker; `start` puts another in its place."""
        worker.kill()
        self._workers.pop(worker.slot, None)

    def close(self) -> None:
        """End all processes."""
        for worker in list(self._workers.values()):
            self.replace(worker)

    def _bury(self, worker: Worker) -> Iterator[tuple[Worker, Died]]:
        worker.process.join(5)
        code = worker.process.exitcode
        self.replace(worker)
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= _STARTS_IN_A_ROW:
                raise SearchError(
                    f"workers die before their first trial ({_exit_words(code)}): "
                    f"{_tail(worker.log)} (whole log: {worker.log})"
                )
        yield worker, Died(f"worker died ({_exit_words(code)})")

    def _spawn(self, slot: int) -> Worker:
        # Spawned, not forked: a fork of a process that has used TensorFlow or threads can hang.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._log_dir.mkdir(parents=True, exist_ok=True)
        log = self._log_dir / f"worker-{slot}.log"
        process = context.Process(
            target=self._run,
            args=(theirs, self._settings, log),
            name=f"worker-{slot}",
            daemon=True,
        )
        # Started by the first process otherwise, and it would unblock the signals for it.
        resource_tracker.ensure_running()
        with _environment(self._variables(slot)), _signals_blocked():
            process.start()
        theirs.close()
        return Worker(slot, process, ours, log)

    def _variables(self, slot: int) -> dict[str, str]:
        variables = {
            "KERAS_BACKEND": "tensorflow",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "MPLBACKEND": "agg",
        }
        if self._gpus:
            devices = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
            if len(devices) != self._gpus:
                devices = [str(index) for index in range(self._gpus)]
            return variables | {"CUDA_VISIBLE_DEVICES": devices[slot % self._gpus]}
        threads = str(max(1, available_cores() // self.count))
        # OMP_NUM_THREADS alone does not limit TensorFlow.
        names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
        return variables | dict.fromkeys((*names, "OPENBLAS_NUM_THREADS"), threads)


def available_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may use, its affinity and its container's quota counted; 1 or more.

    Args:
        quota: Linux' file of microseconds of processor time granted in each period.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    try:
        granted, period = quota.read_text().split()
        return max(1, min(cores, int(granted) // int(period)))
    except (OSError, ValueError):  # no such limit: no file, or the word "max"
        return cores


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


def _tail(log: Path) -> str:
    if not log.exists():
        return "no log"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-_LOG_LINES:]) or "nothing logged"

"""Worker pool: start workers, read their messages, replace those that are used up or dead."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from search.errors import SearchError, UnusableError
from search.workers.keras_trainer import KerasTrainer, WorkerSettings
from search.workers.local import LocalBackend
from search.workers.messages import Answer, Beat, Died, Measure, Message, Ready, Train, Unusable
from search.workers.process import Trainer

if TYPE_CHECKING:
    from search.workers.ray.cluster import Cluster

# Far above the interval of heartbeats: a worker that is silent for so long is frozen.
SILENCE_SECONDS: Final = 60.0
ATTEMPTS: Final = 3  # a trial or a retraining that loses this many workers is the cause itself
POLL_SECONDS: Final = 0.25
TRIALS_PER_WORKER: Final = 25  # TensorFlow keeps about 9 MB of each trial
_MAX_FAILED_STARTS: Final = 2  # in a row, beyond one for each worker


class WorkerProcess(Protocol):
    """A process that trains, on this machine or on a node of a cluster.

    Attributes:
        heard: `time.monotonic()` of its last message; None while it may still wait for a node.
        log: Where its output is, in words.
    """

    heard: float | None
    log: str

    def send(self, message: object) -> None:
        """Send a message; if the process is gone, its next `read` says so."""

    def read(self) -> Sequence[Message]:
        """Return the messages that have arrived, `Died` among them if it is gone."""

    def last_lines(self) -> str:
        """Return the end of its output, and where the rest is."""

    def kill(self, *, wait: bool = True) -> None:
        """Kill it at once, and wait for its end; a second call may do the waiting."""


class Backend(Protocol):
    """A place that runs worker processes."""

    @property
    def count(self) -> int:
        """Number of workers to run; it may change with the nodes of a cluster."""

    def spawn(self, slot: int) -> Any:
        """Start a `WorkerProcess`; `slot` is the lowest number that is free."""

    def wait(self, processes: Sequence[Any], timeout_seconds: float) -> Sequence[Any]:
        """Return the processes that can be read, waiting for the first of them."""


@dataclass(slots=True, eq=False)
class Worker:
    """A worker process and its state.

    Attributes:
        trials: Trials that it has been given.
        memory_mb: Resident memory at its last heartbeat.
    """

    slot: int
    process: WorkerProcess
    ready: bool = False
    trials: int = 0
    memory_mb: float = 0.0

    def send(self, message: Train | Measure | Answer) -> None:
        """Send a message; if the worker is gone, the next `WorkerPool.poll` says so."""
        self.trials += isinstance(message, Train)
        self.process.send(message)


class WorkerPool:
    """A fixed number of workers; those that end, for whatever reason, are replaced.

    Args:
        backend: Runs them.
        max_memory_mb: A worker above it gets no further trial; None: no limit.
        silence_seconds: A worker without a heartbeat for so long is killed.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        max_memory_mb: float | None = None,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self._backend = backend
        self._max_memory_mb = max_memory_mb
        self._silence_seconds = silence_seconds
        self._workers: dict[int, Worker] = {}
        self._failed_starts = 0
        self._polled = time.monotonic()

    @property
    def count(self) -> int:
        """Number of workers to run."""
        return self._backend.count

    def start(self, most: int) -> None:
        """Start missing workers, up to `most` in total."""
        wanted = min(self.count, most)
        free = (slot for slot in itertools.count() if slot not in self._workers)
        while len(self._workers) < wanted:
            slot = next(free)
            self._workers[slot] = Worker(slot, self._backend.spawn(slot))

    @property
    def started(self) -> list[Worker]:
        """The workers that run, those included that are not ready yet."""
        return list(self._workers.values())

    def idle(self, busy: Mapping[Worker, object]) -> list[Worker]:
        """Return the workers that can take a trial; replace those that are used up."""
        free = [worker for worker in self._workers.values() if worker not in busy and worker.ready]
        for worker in list(free):
            full = self._max_memory_mb is not None and worker.memory_mb > self._max_memory_mb
            if worker.trials >= TRIALS_PER_WORKER or (full and worker.trials):
                free.remove(worker)
                self.replace(worker)
        return free

    def poll(self, timeout_seconds: float) -> Iterator[tuple[Worker, Message]]:
        """Yield the messages of the workers, and `Died` for dead and silent ones.

        Raises:
            UnusableError: The space or the data cannot be used.
            SearchError: No worker starts.
        """
        now = time.monotonic()
        by_process = {worker.process: worker for worker in self._workers.values()}
        if now - self._polled > self._silence_seconds / 4:
            # This process was suspended (laptop, Ctrl-Z), so silence says nothing about workers.
            for process in by_process:
                process.heard = None if process.heard is None else now
        readable = self._backend.wait(list(by_process), timeout_seconds)
        self._polled = time.monotonic()  # the caller's time with a message is not silence
        for process in readable:
            worker = by_process[process]
            if self._workers.get(worker.slot) is not worker:
                continue  # replaced by the caller
            for message in process.read():
                yield worker, self._noted(worker, message)
        for worker in list(self._workers.values()):
            heard = worker.process.heard
            silent = 0.0 if heard is None else self._polled - heard
            if silent > self._silence_seconds:
                self.replace(worker)
                reason = f"silent for {silent:.0f} s"
                if not worker.ready:
                    self._count_failed_start(worker, reason)
                yield worker, Died(f"worker {reason}")

    def replace(self, worker: Worker) -> None:
        """Kill a worker; `start` starts another in its slot."""
        worker.process.kill()
        self._workers.pop(worker.slot, None)

    def close(self) -> None:
        """Kill all workers."""
        # Kill all before waiting for one: each takes long to end while the others use the cores.
        for worker in self._workers.values():
            worker.process.kill(wait=False)
        for worker in list(self._workers.values()):
            self.replace(worker)

    def _noted(self, worker: Worker, message: Message) -> Message:
        if worker.ready:
            self._failed_starts = 0
        match message:
            case Beat(memory_mb):
                worker.memory_mb = memory_mb
            case Ready():
                worker.ready = True
            case Unusable(reason):
                raise UnusableError(reason)
            case Died(reason, is_own_fault):
                self.replace(worker)
                if is_own_fault and not worker.ready:
                    self._count_failed_start(worker, reason)
                return Died(f"worker died ({reason})")
        return message

    def _count_failed_start(self, worker: Worker, reason: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _MAX_FAILED_STARTS + self.count:
            raise SearchError(
                f"workers die before their first trial ({reason}): {worker.process.last_lines()}"
            )


def make_pool(
    settings: WorkerSettings,
    *,
    count: int | None,
    log_dir: Path,
    cluster: "Cluster | None" = None,
    note: Callable[[str], None] = lambda text: None,
    max_memory_mb: float | None = None,
    silence_seconds: float = SILENCE_SECONDS,
    trainer_class: type[Trainer] = KerasTrainer,
) -> WorkerPool:
    """Make a pool on this machine or on a cluster.

    Args:
        settings: Settings that all trials share.
        count: Number of workers; None: one for each GPU, else for each core, or as many as the
            cluster has room for at the time.
        log_dir: Folder for one log file for each worker on this machine.
        cluster: None: this machine.
        note: Called with a line about a node.
        max_memory_mb: As for `WorkerPool`.
        silence_seconds: As for `WorkerPool`.
        trainer_class: Runs the trials in the workers.
    """
    backend: Backend
    if cluster is None:
        backend = LocalBackend(settings, trainer_class, count=count, log_dir=log_dir)
    else:
        from search.workers.ray.backend import RayBackend

        # Each heartbeat is a call to this process: no more of them than silence needs.
        beat_seconds = min(10.0, silence_seconds / 6)
        backend = RayBackend(
            cluster, settings, trainer_class, count=count, note=note, beat_seconds=beat_seconds
        )
    return WorkerPool(backend, max_memory_mb=max_memory_mb, silence_seconds=silence_seconds)

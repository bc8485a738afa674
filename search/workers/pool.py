"""What all workers have in common, wherever they run: who is ready, used up, silent or dead."""

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from search.errors import SearchError
from search.workers.messages import Answer, Beat, Ready, Unusable

SILENCE_SECONDS = 60.0  # a worker that says nothing for so long is frozen: it beats far more often
TRIALS_PER_WORKER = 25  # TensorFlow keeps about 9 MB of each trial
# So many that die at the start, beyond one in each place, mean that none will ever start.
_STARTS_IN_A_ROW = 2


@dataclass(frozen=True, slots=True)
class Died:
    """In place of a message: the worker is gone, and why."""

    reason: str


class Worker(ABC):
    """One worker, and what the coordinator knows of it.

    Args:
        slot: Its place among the workers, from 0 on.
        heard: When it last said something, by `time.monotonic`; None while nobody can tell
            whether it has started yet.
    """

    def __init__(self, slot: int, heard: float | None) -> None:
        self.slot = slot
        self.heard = heard
        self.ready = False
        self.trials = 0
        self.memory_mb = 0.0

    def send(self, message: object) -> None:
        """Send a message; a worker that is gone shows up in the next `Workers.poll`."""
        if not isinstance(message, Answer):
            self.trials += 1
        self._send(message)

    @abstractmethod
    def _send(self, message: object) -> None: ...

    @abstractmethod
    def last_words(self) -> str:
        """The end of what it printed, and where the rest is."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once, whatever it does."""


AnyWorker = TypeVar("AnyWorker", bound=Worker)


class Workers(ABC, Generic[AnyWorker]):
    """A number of workers; those that end, for whatever reason, are replaced.

    Args:
        max_memory_mb: A worker above it is not given another trial; None: no limit.
        silence_seconds: A worker that says nothing for so long is replaced.
    """

    def __init__(self, *, max_memory_mb: float | None, silence_seconds: float) -> None:
        self._max_memory_mb = max_memory_mb
        self._silence_seconds = silence_seconds
        self._workers: dict[int, AnyWorker] = {}
        self._failed_starts = 0
        self._polled = time.monotonic()

    @property
    @abstractmethod
    def count(self) -> int:
        """How many shall run."""

    @abstractmethod
    def _spawn(self, slot: int) -> AnyWorker:
        """Start one."""

    @abstractmethod
    def _wait(self, timeout_seconds: float) -> list[AnyWorker]:
        """Those that have something to say within the time, or are gone."""

    @abstractmethod
    def _read(self, worker: AnyWorker) -> list[Any]:
        """What one of these says, without waiting; `Died` if it is gone."""

    def start(self, most: int) -> None:
        """Start the workers that are missing; no more than `most` shall run."""
        wanted = min(self.count, most)
        free = (slot for slot in itertools.count() if slot not in self._workers)
        while len(self._workers) < wanted:
            slot = next(free)
            self._workers[slot] = self._spawn(slot)

    def idle(self, busy: Mapping[AnyWorker, object]) -> list[AnyWorker]:
        """Workers that can take a trial; those that are used up are replaced on the way."""
        free = [worker for worker in self._workers.values() if worker not in busy and worker.ready]
        for worker in list(free):
            full = self._max_memory_mb is not None and worker.memory_mb > self._max_memory_mb
            if worker.trials >= TRIALS_PER_WORKER or (full and worker.trials):
                free.remove(worker)
                self.replace(worker)
        return free

    def poll(self, timeout_seconds: float) -> Iterator[tuple[AnyWorker, Any]]:
        """What the workers say within the time; dead and silent ones say `Died`.

        Raises:
            SearchError: The space or the data cannot be used, or no worker starts.
        """
        now = time.monotonic()
        if now - self._polled > self._silence_seconds / 4:
            # This process stood still (a suspended laptop, Ctrl-Z): the silence was its own.
            for worker in self._workers.values():
                worker.heard = None if worker.heard is None else now
        speaking = self._wait(timeout_seconds)
        self._polled = time.monotonic()  # what the caller does with a message is no silence
        for worker in speaking:
            if self._workers.get(worker.slot) is not worker:
                continue  # replaced by the caller
            for message in self._read(worker):
                yield worker, self._heard(worker, message)
        for worker in list(self._workers.values()):
            silent = 0.0 if worker.heard is None else self._polled - worker.heard
            if silent > self._silence_seconds:
                self.replace(worker)
                yield worker, Died(f"worker silent for {silent:.0f} s")

    def replace(self, worker: AnyWorker) -> None:
        """Kill a worker; `start` puts another in its place."""
        worker.kill()
        self._workers.pop(worker.slot, None)

    def close(self) -> None:
        """End all of them."""
        for worker in list(self._workers.values()):
            self.replace(worker)

    def _heard(self, worker: AnyWorker, message: Any) -> Any:
        worker.heard = time.monotonic()
        if worker.ready:
            self._failed_starts = 0  # where one can run, the search goes on
        if isinstance(message, Beat):
            worker.memory_mb = message.memory_mb
        elif isinstance(message, Ready):
            worker.ready = True
        elif isinstance(message, Unusable):
            raise SearchError(message.reason)
        elif isinstance(message, Died):
            self._bury(worker, message.reason)
            return Died(f"worker died ({message.reason})")
        return message

    def _bury(self, worker: AnyWorker, reason: str) -> None:
        self.replace(worker)
        if worker.ready:
            return
        self._failed_starts += 1
        if self._failed_starts >= _STARTS_IN_A_ROW + self.count:
            raise SearchError(
                f"workers die before their first trial ({reason}): {worker.last_words()}"
            )

"""Workers in threads of this process: the loop of real workers, without their seconds to start.

They cannot be killed while they train, so no trial may die, hang or freeze there.
"""

import pickle
import queue
import threading
import traceback
from collections import deque
from collections.abc import Sequence
from typing import Any

from search.apart import signals_blocked
from search.workers.keras_trainer import WorkerSettings
from search.workers.messages import Died, Message
from search.workers.process import Trainer, serve
from tests import LONGEST_SECONDS

_ONE_BEAT_SECONDS = 1e6  # the thread of the heartbeats sends one, then sleeps


class _Channel:
    """The worker's end; see `search.workers.link.Channel`.

    Args:
        arrived: Notified of each message.
    """

    def __init__(self, arrived: threading.Condition) -> None:
        self.orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.messages: deque[Message] = deque()
        self._arrived = arrived
        self._is_closed = False

    def send(self, message: object) -> None:
        # Never `OSError`, after which the heartbeats would end this process.
        copied = _copied(message)
        with self._arrived:
            self.messages.append(copied)
            self._arrived.notify_all()

    def recv(self) -> Any:
        order = self.orders.get()
        if self._is_closed:
            raise EOFError
        return order

    def close(self) -> None:
        """End the worker when it next waits for an order or an answer."""
        self._is_closed = True
        self.orders.put(None)


class ThreadWorker:
    """A thread in place of a process; see `search.workers.pool.WorkerProcess`."""

    log = "the output of the tests"

    def __init__(
        self,
        slot: int,
        settings: WorkerSettings,
        trainer_class: type[Trainer],
        arrived: threading.Condition,
    ) -> None:
        self.heard: float | None = None  # it cannot freeze alone
        self._channel = _Channel(arrived)
        self._thread = threading.Thread(
            target=_live,
            args=(self._channel, settings, trainer_class),
            name=f"worker-{slot}",
            daemon=True,
        )
        with signals_blocked():
            self._thread.start()

    @property
    def can_be_read(self) -> bool:
        return bool(self._channel.messages)

    def send(self, message: object) -> None:
        self._channel.orders.put(_copied(message))

    def read(self) -> Sequence[Message]:
        return [self._channel.messages.popleft()]

    def last_lines(self) -> str:
        return f"see {self.log}"

    def kill(self, *, wait: bool = True) -> None:
        self._channel.close()
        if wait:
            self._thread.join(LONGEST_SECONDS)
            assert not self._thread.is_alive(), f"{self._thread.name} does not end"


class ThreadBackend:
    """Threads of this process; see `search.workers.pool.Backend`.

    Args:
        settings: Settings that all trials share.
        trainer_class: Runs the trials. What it sets for this whole process, as `KerasTrainer`
            does with random seeds, the other threads share.
        count: Number of workers.
    """

    def __init__(
        self, settings: WorkerSettings, trainer_class: type[Trainer], *, count: int
    ) -> None:
        self.count = count
        self._settings = settings
        self._trainer_class = trainer_class
        self._arrived = threading.Condition()

    def spawn(self, slot: int) -> ThreadWorker:
        return ThreadWorker(slot, self._settings, self._trainer_class, self._arrived)

    def wait(
        self, processes: Sequence[ThreadWorker], timeout_seconds: float
    ) -> Sequence[ThreadWorker]:
        with self._arrived:
            self._arrived.wait_for(
                lambda: any(process.can_be_read for process in processes), timeout_seconds
            )
            return [process for process in processes if process.can_be_read]


def _live(channel: _Channel, settings: WorkerSettings, trainer_class: type[Trainer]) -> None:
    try:
        serve(channel, settings, trainer_class, beat_seconds=_ONE_BEAT_SECONDS)
    except BaseException:  # it would end a process
        traceback.print_exc()
    channel.send(Died("thread ended"))


def _copied(message: object) -> Any:
    """Return what another process would receive."""
    return pickle.loads(pickle.dumps(message))

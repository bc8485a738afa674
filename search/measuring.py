"""Measure how fast the workers of a search train, all at once, before their first trial."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from search.length import Speed
from search.workers.messages import Died, Failed, Measure, Measured
from search.workers.pool import POLL_SECONDS, Worker, WorkerPool

# Long enough for two or three steps of a large network, whose time then varies by a tenth.
TRAINING_SECONDS: Final = 4.0
# A worker that waits for a node of a cluster, or starts slowly, does not keep the others waiting.
_START_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 180.0


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """Why there is no speed.

    Args:
        reason: In words, without a full stop.
    """

    reason: str


def measure(
    workers: WorkerPool,
    most: int,
    *,
    train_size: int | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Speed | Unmeasured:
    """Let all workers train the space's default configuration for some seconds.

    They share the memory's bandwidth, so they train at the same time. They then wait for trials. A
    worker that ends or does not answer is replaced when the search starts its workers.

    Args:
        workers: The pool; its workers are started.
        most: As for `WorkerPool.start`.
        train_size: Training images of a trial; None: all.
        stopped: Whether to give up.

    Raises:
        SearchError: The space or the data cannot be used, or no worker starts.
    """
    workers.start(most)
    if (lost := _wait_for_start(workers, stopped)) is not None:
        return lost
    asked = workers.idle({})
    for worker in asked:
        worker.send(Measure(TRAINING_SECONDS, train_size))
    answers: dict[Worker, Measured] = {}
    end = time.monotonic() + _ANSWER_SECONDS
    while len(answers) < len(asked) and not stopped() and time.monotonic() < end:
        for worker, message in workers.poll(POLL_SECONDS):
            match message:
                case Measured():
                    answers[worker] = message
                case Failed(reason=reason):
                    return _without(workers, asked, answers, reason)
                case Died(reason) if worker in asked:
                    return _without(workers, asked, answers, reason)
    if stopped():
        return Unmeasured("stopped")
    if len(answers) < len(asked):
        return _without(workers, asked, answers, f"no answer in {_ANSWER_SECONDS:.0f} s")
    count = len(answers)
    return Speed(
        workers=count,
        images_per_second=sum(answer.images_per_second for answer in answers.values()) / count,
        startup_seconds=sum(answer.startup_seconds for answer in answers.values()) / count,
    )


def _wait_for_start(workers: WorkerPool, stopped: Callable[[], bool]) -> Unmeasured | None:
    """Wait until all workers are ready, or some are and the others take long."""
    end: float | None = None
    while not all(worker.ready for worker in workers.started):
        for _, message in workers.poll(POLL_SECONDS):
            if isinstance(message, Died):
                return Unmeasured(message.reason)
        if stopped():
            return Unmeasured("stopped")
        if end is None and any(worker.ready for worker in workers.started):
            end = time.monotonic() + _START_SECONDS
        if end is not None and time.monotonic() > end:
            break
    return None if workers.started else Unmeasured("no worker has started")


def _without(
    workers: WorkerPool, asked: list[Worker], answers: dict[Worker, Measured], reason: str
) -> Unmeasured:
    # One that still trains would let its first trial wait.
    for worker in asked:
        if worker not in answers and worker in workers.started:
            workers.replace(worker)
    return Unmeasured(reason)

"""Measure how fast the workers of a search train, all at once, before their first trial."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from search.command_line.process import stop_by_signal
from search.errors import SearchError, StoppedError, StopReason
from search.length import Speed
from search.settings import SearchSettings
from search.study.requests import STOP, Inbox
from search.words import counted
from search.workers.messages import Died, Failed, Measure, Measured
from search.workers.pool import POLL_SECONDS, WorkerPool

# Long enough for two or three steps of a large network, whose time then varies by a tenth.
TRAINING_SECONDS: Final = 4.0
# Training images, counted over all epochs of all trials. A smaller search of a built-in space takes
# about a minute on small images, of which the measurement would be a large part.
FEWEST_IMAGES_TO_MEASURE: Final = 20_000
# A worker that waits for a node of a cluster, or starts slowly, does not keep the others waiting.
_START_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 180.0


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """Why the speed could not be measured.

    Args:
        reason: In words, without a full stop.
        is_lost: Whether a worker was lost, so that another measurement may succeed.
    """

    reason: str
    is_lost: bool = False


class Measurement:
    """The measurement of one run of a search, which a signal, a request or its time limit may end.

    Args:
        workers: The pool.
        settings: Settings of the search.
        started: `time.monotonic()` at the start of the run.
        say: Called with a line when the measurement starts.

    Attributes:
        stopped_by: The signal or request that ended it; None without one.
    """

    def __init__(
        self,
        workers: WorkerPool,
        settings: SearchSettings,
        started: float,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._say = say
        self.stopped_by: StopReason | None = None
        self._inbox: Inbox | None = None
        self._workers = workers
        self._settings = settings
        self._started = started

    def run(self, inbox: Inbox | None = None) -> Speed | Unmeasured:
        """Measure; see `measure`.

        Args:
            inbox: May hold a request to stop; None before there is a study.
        """
        self._inbox = inbox
        count = min(self._workers.count, self._settings.trials)
        # Workers of a cluster may still wait for a node.
        self._say(f"measuring the speed of {counted(count, 'worker') if count else 'workers'} ...")
        with stop_by_signal(self._stop):
            found = measure(
                self._workers,
                self._settings.trials,
                stopped=self._is_stopped,
            )
        if isinstance(found, Unmeasured) and self.stopped_by is None and self._is_timeout_over():
            return Unmeasured("--timeout has expired")
        return found

    def required(self) -> Speed:
        """Measure the speed that `--minutes` needs; retry once if a worker is lost.

        Raises:
            StoppedError: A signal ended it.
            SearchError: There is no speed.
        """
        found = self.run()
        if isinstance(found, Unmeasured) and found.is_lost:
            found = self.run()
        if self.stopped_by is not None:
            raise StoppedError(
                self.stopped_by, "before the first trial; repeat the command to start again"
            )
        if isinstance(found, Unmeasured) and self._is_timeout_over():
            raise SearchError(
                f"--timeout is {self._settings.timeout_seconds:g} s, which expired before the "
                "speed for --minutes was measured; raise it, or give --epochs and --epoch-size "
                "instead of --minutes."
            )
        if isinstance(found, Unmeasured):
            raise SearchError(
                f"--minutes is {self._settings.minutes:g}, but the speed was not measured: "
                f"{found.reason}. Correct the cause, or give --epochs and --epoch-size instead."
            )
        return found

    def _stop(self, reason: StopReason) -> None:
        self.stopped_by = reason

    def _is_stopped(self) -> bool:
        if self._inbox is not None and self._inbox.look() == STOP:
            self.stopped_by = StopReason.REQUESTED
        return self.stopped_by is not None or self._is_timeout_over()

    def _is_timeout_over(self) -> bool:
        limit = self._settings.timeout_seconds
        return limit is not None and time.monotonic() - self._started >= limit


def measure(
    workers: WorkerPool,
    most: int,
    *,
    stopped: Callable[[], bool] = lambda: False,
) -> Speed | Unmeasured:
    """Train on all workers for some seconds; see `Measure` for what they train.

    They train at the same time, because they share memory bandwidth, and then wait for trials.
    A worker that ends or does not answer is replaced when the search starts its workers.

    Args:
        workers: The pool; its workers are started.
        most: As for `WorkerPool.start`.
        stopped: Whether to give up.

    Raises:
        SearchError: The space or the data cannot be used, or no worker starts.
    """
    workers.start(most)
    if not workers.started:
        return Unmeasured("no node has room for a worker yet")
    if (lost := _wait_for_start(workers, stopped)) is not None:
        return lost
    waiting = set(workers.idle({}))
    for worker in waiting:
        worker.send(Measure(TRAINING_SECONDS, seed=worker.slot))
    answers: list[Measured] = []
    failed, is_lost = "", False
    end = time.monotonic() + _ANSWER_SECONDS
    # Wait for all answers: a late one would be mistaken for the end of a trial.
    while waiting and not stopped():
        if time.monotonic() > end:
            failed = f"no answer in {_ANSWER_SECONDS:.0f} s"
            for worker in waiting:
                workers.replace(worker)
            break
        for worker, message in workers.poll(POLL_SECONDS):
            if worker not in waiting or not isinstance(message, Measured | Failed | Died):
                continue
            waiting.remove(worker)
            if isinstance(message, Measured):
                answers.append(message)
            else:
                failed, is_lost = message.reason, isinstance(message, Died)
    if stopped() or failed:
        return Unmeasured(failed or "stopped", is_lost)
    count = len(answers)
    return Speed(
        workers=count,
        images_per_second=sum(answer.images_per_second for answer in answers) / count,
        startup_seconds=sum(answer.startup_seconds for answer in answers) / count,
    )


def _wait_for_start(workers: WorkerPool, stopped: Callable[[], bool]) -> Unmeasured | None:
    """Wait until all workers are ready, or some are and the others take long."""
    end: float | None = None
    while not all(worker.ready for worker in workers.started):
        for _, message in workers.poll(POLL_SECONDS):
            if isinstance(message, Died):
                return Unmeasured(message.reason, is_lost=True)
        if stopped():
            return Unmeasured("stopped")
        if end is None and any(worker.ready for worker in workers.started):
            end = time.monotonic() + _START_SECONDS
        if end is not None and time.monotonic() > end:
            break
    return None

"""Carry out retrainings on the search's workers; each that is finished is kept for good."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.progress import Progress, TaskID

from reporting.errors import Interrupted, ReportError
from reporting.retraining.order import Retrained, Retraining, remove_partial
from reporting.retraining.worker import Kept, Order, Retrainer, Unwritable
from search.display import duration
from search.workers.local import LocalWorker, LocalWorkers
from search.workers.messages import Answer, Epoch, Failed
from search.workers.pool import Died
from search.workers.process import MakeTrainer, WorkerSettings

ATTEMPTS: Final = 3
_POLL_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Task:
    """A retraining to be done.

    Args:
        label: Names it to a person.
        retraining: What to train.
        seconds: Expected time of one epoch, for the time left and the order; above 0.
    """

    label: str
    retraining: Retraining
    seconds: float = 1.0


Results = Mapping[str, Retrained | Failed]
FollowUp = Callable[[Results], Sequence[Task]]


class Retrainings:
    """Carries out tasks, the first ones first.

    Args:
        settings: What the workers need.
        directory: Holds a folder for each finished retraining; those there are not done again.
        log_dir: Takes one log file for each worker.
        workers: How many processes; None: one for each GPU, else one for each core.
        progress: Shows how far it is.
        stopped: Says whether to stop, and why; empty to go on.
        make_trainer: Makes what carries out the tasks of each process.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        directory: Path,
        *,
        log_dir: Path,
        workers: int | None,
        progress: Progress,
        stopped: Callable[[], str],
        make_trainer: MakeTrainer = Retrainer,
    ) -> None:
        self._directory = directory
        self._stopped = stopped
        self._progress = progress
        self._workers = LocalWorkers(
            settings, count=workers, log_dir=log_dir, make_trainer=make_trainer
        )
        self._queue: list[Task] = []
        self._running: dict[LocalWorker, Task] = {}
        self._epochs: dict[LocalWorker, int] = {}  # finished ones of the running tasks
        self._attempts: dict[str, int] = {}
        self._results: dict[str, Retrained | Failed] = {}
        self._bar: TaskID | None = None

    @property
    def workers(self) -> int:
        """How many processes train."""
        return self._workers.count

    def run(self, tasks: Sequence[Task], follow_up: FollowUp) -> Results:
        """Carry out the tasks, and those that follow from their results.

        Args:
            tasks: In order of importance.
            follow_up: Asked after each result for tasks that go before all that still wait; gives
                each of them once.

        Returns:
            What came of each, by the key of its retraining.

        Raises:
            Interrupted: `stopped` said so; what is finished is kept.
            ReportError: A finished training could not be written.
            SearchError: The workers cannot start.
        """
        self._bar = self._progress.add_task("retraining", total=0)
        remove_partial(self._directory)
        try:
            self._add(tasks)
            self._add(follow_up(self._results))
            while self._queue or self._running:
                if reason := self._stopped():
                    raise Interrupted(reason)
                self._workers.start(len(self._queue) + len(self._running))
                for worker in self._workers.idle(self._running):
                    if self._queue:
                        self._begin(worker, self._queue.pop(0))
                for worker, message in self._workers.poll(_POLL_SECONDS):
                    if worker in self._running:
                        self._handle(worker, message, follow_up)
        finally:
            self._workers.close()
        return self._results

    def _add(self, tasks: Sequence[Task]) -> None:
        fresh: list[Task] = []
        expected = (*self._queue, *self._running.values())
        known = {other.retraining.key for other in expected} | self._results.keys()
        for task in tasks:
            key = task.retraining.key
            kept = Retrained.load(self._directory / key)
            if kept is not None:
                self._results[key] = kept
            elif key not in known:
                known.add(key)
                fresh.append(task)
        self._queue[:0] = fresh
        self._expect(sum(task.seconds * task.retraining.epochs for task in fresh))

    def _expect(self, seconds: float) -> None:
        """Move the end of the bar."""
        assert self._bar is not None
        total = self._progress.tasks[self._bar].total or 0
        self._progress.update(self._bar, total=total + seconds)

    def _begin(self, worker: LocalWorker, task: Task) -> None:
        self._running[worker], self._epochs[worker] = task, 0
        worker.send(Order(task.retraining, self._directory / task.retraining.key))

    def _handle(self, worker: LocalWorker, message: object, follow_up: FollowUp) -> None:
        task = self._running[worker]
        key = task.retraining.key
        assert self._bar is not None
        match message:
            case Epoch(number, metrics):
                worker.send(Answer(False))
                self._epochs[worker] = number
                self._progress.advance(self._bar, task.seconds)
                value = metrics.get("val_accuracy")
                shown = "" if value is None else f", val_accuracy {value:.4f}"
                self._progress.update(
                    self._bar,
                    description=f"{task.label}: epoch {number}/{task.retraining.epochs}{shown}",
                )
                return
            case Kept():
                kept = Retrained.load(self._directory / key)
                assert kept is not None, key
                self._results[key] = kept
                self._say(f"{task.label}: retrained in {duration(kept.train_seconds)}")
            case Unwritable(reason):
                raise ReportError(
                    f"{self._directory} cannot be written ({reason}). What was retrained before is "
                    "kept: free space, then run the same command again."
                )
            case Failed(reason=reason):
                self._results[key] = message
                self._expect(task.seconds * (self._epochs[worker] - task.retraining.epochs))
                self._say(f"{task.label}: failed, {reason} (more in {worker.log})")
            case Died(reason):
                self._attempts[key] = self._attempts.get(key, 0) + 1
                if self._attempts[key] < ATTEMPTS:
                    self._queue.insert(0, task)
                    self._expect(task.seconds * self._epochs[worker])
                else:
                    self._results[key] = Failed(reason=f"{reason}, {ATTEMPTS} times")
                self._say(f"{task.label}: {reason}")
            case _:
                return
        del self._running[worker]
        self._add(follow_up(self._results))

    def _say(self, text: str) -> None:
        self._progress.console.print(text, soft_wrap=True, markup=False, highlight=False)

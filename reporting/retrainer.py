"""Run retrainings on the search's worker pool, and keep each that finishes."""

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from reporting.errors import Interrupted
from reporting.folder import writing
from reporting.retraining import (
    NONE,
    PARTIAL,
    Due,
    Folders,
    Results,
    Retrained,
    Retraining,
    by_key,
    load_kept,
)
from search.display import duration
from search.errors import SearchError, StopReason
from search.escape import escaped
from search.study.provenance import commit
from search.training.hardware import machine, versions
from search.workers.messages import (
    Answer,
    Built,
    Died,
    Epoch,
    Failed,
    Images,
    Message,
    Train,
    Trained,
)
from search.workers.pool import ATTEMPTS, POLL_SECONDS, Worker, WorkerPool

_ABANDONED_SECONDS: Final = 86_400  # no training takes as long to be written


class Retrainings:
    """Runs retrainings on a worker pool, and keeps each that finishes.

    Args:
        pool: Worker pool; closed at the end.
        folders: Where each retraining is kept.
        progress: Progress display.
        stopped: Returns the reason to stop; None to go on.
        order: Returns the message for a worker; `SearchError` fails the retraining.
    """

    def __init__(
        self,
        pool: WorkerPool,
        folders: Folders,
        *,
        progress: Progress,
        stopped: Callable[[], StopReason | None],
        order: Callable[[Retraining], Train] = Retraining.order,
    ) -> None:
        self._pool = pool
        self._folders = folders
        self._progress = progress
        self._stopped = stopped
        self._order = order
        self._bar = progress.add_task("retraining", total=0)
        study = folders.study.parent.name
        self._origin = {"study": study, "commit": commit(), "machine": machine(), **versions()}
        self._queue: list[Retraining] = []
        self._running: dict[Worker, _Run] = {}
        self._attempts: dict[str, int] = {}
        self._results: dict[str, Retrained | Failed] = {}

    def run(self, due: Due, kept: Results = NONE) -> Results:
        """Run retrainings until none is due.

        Args:
            due: Returns what to run, most urgent first, finished ones too; asked after each result.
            kept: From `load_kept`.

        Raises:
            Interrupted: `stopped` said so; finished retrainings are kept.
            ReportError: A finished retraining cannot be written.
            SearchError: The workers cannot start.
        """
        self._clean()
        self._results |= kept
        try:
            self._fill_queue(due)
            while self._queue or self._running:
                if (reason := self._stopped()) is not None:
                    raise Interrupted(reason)
                self._pool.start(len(self._queue) + len(self._running))
                for worker in self._pool.idle(self._running):
                    if self._queue:
                        self._begin(worker, self._queue.pop(0))
                for worker, message in self._pool.poll(POLL_SECONDS):
                    if worker in self._running and self._handle(worker, message):
                        del self._running[worker]
                        self._fill_queue(due)
        finally:
            self._pool.close()
        return self._results

    def _clean(self) -> None:
        """Remove unfinished files of a killed report."""
        for partial_folder in self._folders.study.glob(f"{PARTIAL}*"):
            shutil.rmtree(partial_folder, ignore_errors=True)
        for partial_folder in self._folders.shared.glob(f"{PARTIAL}*"):
            # Another study's report may be writing it.
            with suppress(OSError):
                if time.time() - partial_folder.stat().st_mtime > _ABANDONED_SECONDS:
                    shutil.rmtree(partial_folder, ignore_errors=True)

    def _fill_queue(self, due: Due) -> None:
        self._results |= load_kept(self._folders, due, self._results)
        running = [run.retraining.key for run in self._running.values()]
        missing = by_key(due(self._results))
        self._queue = [
            one for key, one in missing.items() if key not in self._results and key not in running
        ]
        left = sum(one.seconds for one in self._queue)
        left += sum(run.seconds_left for run in self._running.values())
        self._progress.update(self._bar, total=self._progress.tasks[self._bar].completed + left)

    def _begin(self, worker: Worker, retraining: Retraining) -> None:
        try:
            order = self._order(retraining)
        except SearchError as error:
            self._fail(retraining, Failed(reason=str(error).rstrip(".")))
            return
        self._running[worker] = _Run(retraining)
        worker.send(order)

    def _fail(self, retraining: Retraining, failed: Failed, where: str = "") -> None:
        self._results[retraining.key] = failed
        self._log(f"{retraining.label}: failed, {failed.reason}{where}")

    def _handle(self, worker: Worker, message: Message) -> bool:
        """Process a message; return whether the worker is free again."""
        run = self._running[worker]
        retraining = run.retraining
        match message:
            case Built(parameters=parameters):
                run.parameters = parameters
                worker.send(Answer(True))
                return False
            case Epoch():
                worker.send(Answer(False))
                run.history.append(message.metrics)
                self._show(run)
                return False
            case Trained():
                kept = self._keep(run, message)
                self._results[retraining.key] = kept
                self._log(f"{retraining.label}: retrained in {duration(kept.train_seconds)}")
            case Failed():
                self._fail(retraining, message, f" (more in {worker.process.log})")
            case Died(reason=reason):
                attempts = self._attempts[retraining.key] = (
                    self._attempts.get(retraining.key, 0) + 1
                )
                if attempts == ATTEMPTS:
                    failed = Failed(reason=f"{reason}, {ATTEMPTS} times")
                    self._results[retraining.key] = failed
                self._log(f"{retraining.label}: {reason}")
            case _:
                return False
        return True

    def _keep(self, run: "_Run", trained: Trained) -> Retrained:
        assert trained.model is not None
        if run.retraining.shared and (other := self._folders.load(run.retraining)) is not None:
            return other  # of another study's report, which was faster
        folder = self._folders.of(run.retraining)
        kept = Retrained(
            folder=folder,
            seed=run.retraining.seed,
            parameters=run.parameters,
            history=run.history,
            train_seconds=trained.train_seconds,
            cpu_seconds=trained.cpu_seconds,
            val_accuracy=run.history[-1][f"val_{run.retraining.objective}"]
            if run.retraining.images is Images.TRAINING
            else None,
            origin=self._origin
            | {"trained": datetime.now(UTC).isoformat(timespec="seconds")}
            | ({} if run.retraining.code is None else {"code": run.retraining.code}),
        )
        with writing(folder.parent):
            try:
                return kept.save(trained.model)
            except OSError:
                # Another study's report may have put the same baseline there in the meantime.
                if (other := self._folders.load(run.retraining)) is None:
                    raise
                return other

    def _show(self, run: "_Run") -> None:
        retraining = run.retraining
        measured = f"val_{retraining.objective}"
        value = run.history[-1].get(measured)
        shown = "" if value is None else f", {measured} {value:.4f}"
        epoch = len(run.history)
        spent = retraining.seconds_until(epoch) - retraining.seconds_until(epoch - 1)
        self._progress.advance(self._bar, spent)
        self._progress.update(
            self._bar,
            description=f"{retraining.label}: epoch {epoch}/{retraining.epochs}{shown}",
        )

    def _log(self, text: str) -> None:
        self._progress.console.print(escaped(text), soft_wrap=True, markup=False, highlight=False)


@dataclass(slots=True)
class _Run:
    """A retraining on a worker."""

    retraining: Retraining
    parameters: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def seconds_left(self) -> float:
        return self.retraining.seconds - self.retraining.seconds_until(len(self.history))


def make_progress(*, quiet: bool) -> Progress:
    """Return a progress bar on standard error with the time left; when piped, only log lines.

    Args:
        quiet: Show nothing.
    """
    console = Console(stderr=True, quiet=quiet, highlight=False)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        # Single steps take minutes: the speed of half an hour ago still counts.
        speed_estimate_period=1800,
    )

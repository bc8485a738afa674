"""Train configurations again, on the search's worker pool, and keep each result for good.

A retraining is an ordinary trial with given hyperparameters. A finished one is kept in
results/STUDY/retrainings/KEY/ and is never repeated.
"""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from reporting.errors import Interrupted
from reporting.folder import writing
from search.data.split import SplitSizes
from search.display import duration
from search.errors import StopReason
from search.escape import escaped
from search.study.facts import is_number, is_whole
from search.study.provenance import commit
from search.training.hardware import Precision, machine, versions
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

MODEL_FILE: Final = "model.keras"
_RECORD_FILE: Final = "record.json"
_PARTIAL: Final = ".partial-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraining:
    """One training of one configuration with one seed.

    Args:
        space: Name of the space, as `spaces.load_space` takes it.
        params: Hyperparameter values by name.
        seed: 0 or more.
        epochs: 1 or more; learning-rate schedules are stretched to them.
        images: Images to train on.
        data: Fingerprint of the training files.
        sizes: Sizes of the training and the validation part.
        precision: Number format in which the model trains.
        objective: What the search maximized; not part of the key, as a study has one.
        label: Name in messages; not part of the key.
        epoch_seconds: Expected time of one epoch, above 0; not part of the key.
    """

    space: str
    params: Mapping[str, Any]
    seed: int
    epochs: int
    images: Images
    data: str
    sizes: SplitSizes
    precision: Precision
    objective: str = "accuracy"
    label: str = ""
    epoch_seconds: float = 1.0

    @property
    def key(self) -> str:
        """Name of the folder; equal for two retrainings whose results would be equal."""
        train = "all other" if self.sizes.train is None else f"{self.sizes.train:,}"
        content = {
            "space": self.space,
            "params": dict(self.params),
            "seed": self.seed,
            "epochs": self.epochs,
            "part": str(self.images),
            "data": self.data,
            # Names and wording are those of the first version, so that its folders are found.
            "split": f"stratified, fixed: {self.sizes.val:,} validation images, "
            f"{train} for training",
            "precision": self.precision,
        }
        encoded = json.dumps(content, sort_keys=True).encode()
        return hashlib.sha256(encoded).hexdigest()[:16]

    @property
    def seconds(self) -> float:
        """Expected time of all epochs."""
        return self.epochs * self.epoch_seconds

    def order(self) -> Train:
        """Return the message that has a worker run it."""
        return Train(
            number=None,
            seed=self.seed,
            max_epochs=self.epochs,
            epochs=self.epochs,
            params=self.params,
            images=self.images,
            keep_model=True,
            objective=self.objective,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrained:
    """A finished retraining.

    Args:
        folder: Contains `model.keras`: stock Keras, float32.
        seed: Random seed of the training.
        parameters: Number of weights.
        history: One entry for each epoch, as `search.training.loop` gives it; without `val_...`
            if it was trained on all images.
        train_seconds: Wall time in training steps.
        cpu_seconds: Processor time of the whole training, user and system.
        val_accuracy: Value of the objective after the last epoch; None if it was trained on all
            images.
        origin: Commit, machine and versions that it was made with.

    Raises:
        ValueError: A value is of another kind: the record is damaged.
    """

    folder: Path
    seed: int
    parameters: int
    history: list[dict[str, float]]
    train_seconds: float
    cpu_seconds: float
    val_accuracy: float | None
    origin: dict[str, str]

    def __post_init__(self) -> None:
        costs = (self.train_seconds, self.cpu_seconds)
        sound = (
            is_whole(self.seed)
            and is_whole(self.parameters)
            and all(is_number(value) and value >= 0 for value in costs)
            and (self.val_accuracy is None or is_number(self.val_accuracy))
            and isinstance(self.history, list)
            and len(self.history) > 0
            and all(map(_is_entry, self.history))
            and isinstance(self.origin, dict)
            and all(isinstance(value, str) for value in self.origin.values())
        )
        if not sound:
            raise ValueError(f"{self.folder} has another record than a retraining writes")

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Load what a folder contains; None if it is missing or damaged."""
        try:
            record = json.loads((folder / _RECORD_FILE).read_text())
            if not zipfile.is_zipfile(folder / MODEL_FILE):
                return None
            return cls(folder=folder, **record)
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def save(self, model: bytes) -> None:
        """Write record and model to `folder`, both or neither.

        Args:
            model: Content of a `.keras` file.

        Raises:
            OSError: The folder cannot be written.
        """
        partial_folder = self.folder.with_name(f"{_PARTIAL}{self.folder.name}")
        partial_folder.mkdir(parents=True)
        try:
            record = {name: value for name, value in asdict(self).items() if name != "folder"}
            (partial_folder / _RECORD_FILE).write_text(json.dumps(record))
            (partial_folder / MODEL_FILE).write_bytes(model)
            # After a power cut the renamed folder must not be empty.
            for file in (*partial_folder.iterdir(), partial_folder):
                _flush(file)
            if self.folder.exists():
                shutil.rmtree(self.folder)
            os.replace(partial_folder, self.folder)
        finally:
            shutil.rmtree(partial_folder, ignore_errors=True)


Results = Mapping[str, Retrained | Failed]  # by the key of the retraining
Due = Callable[[Results], Sequence[Retraining]]
_NONE: Final[Results] = MappingProxyType({})


def load_kept(directory: Path, due: Due, known: Results = _NONE) -> Results:
    """Return results with the due retrainings added that earlier reports have kept.

    Args:
        directory: Contains a folder for each.
        due: Which to load; asked again after some are found, as the winner's follow from them.
        known: Results that need not be loaded.
    """
    results = dict(known)
    while found := _newly_kept(directory, due, results):
        results |= found
    return results


class Retrainings:
    """Runs retrainings on a worker pool, and keeps each that finishes.

    Args:
        pool: Closed at the end.
        directory: Contains a folder for each kept retraining.
        progress: Shows how far it is.
        stopped: Returns why to stop; None to go on.
    """

    def __init__(
        self,
        pool: WorkerPool,
        directory: Path,
        *,
        progress: Progress,
        stopped: Callable[[], StopReason | None],
    ) -> None:
        self._pool = pool
        self._directory = directory
        self._progress = progress
        self._stopped = stopped
        self._bar = progress.add_task("retraining", total=0)
        self._origin = {"commit": commit(), "machine": machine(), **versions()}
        self._queue: list[Retraining] = []
        self._running: dict[Worker, _Run] = {}
        self._attempts: dict[str, int] = {}
        self._results: dict[str, Retrained | Failed] = {}

    def run(self, due: Due, kept: Results = _NONE) -> Results:
        """Run retrainings until none is due.

        Args:
            due: Returns what to run, most urgent first, finished ones too; asked after each result.
            kept: From `load_kept`.

        Raises:
            Interrupted: `stopped` said so; finished retrainings are kept.
            ReportError: A finished retraining cannot be written.
            SearchError: The workers cannot start.
        """
        for partial_folder in self._directory.glob(f"{_PARTIAL}*"):  # of a killed report
            shutil.rmtree(partial_folder, ignore_errors=True)
        self._results |= kept
        try:
            self._fill_queue(due)
            while self._queue or self._running:
                if (reason := self._stopped()) is not None:
                    raise Interrupted(reason)
                self._pool.start(len(self._queue) + len(self._running))
                for worker in self._pool.idle(self._running):
                    if self._queue:
                        self._running[worker] = _Run(self._queue.pop(0))
                        worker.send(self._running[worker].retraining.order())
                for worker, message in self._pool.poll(POLL_SECONDS):
                    if worker in self._running and self._handle(worker, message):
                        del self._running[worker]
                        self._fill_queue(due)
        finally:
            self._pool.close()
        return self._results

    def _fill_queue(self, due: Due) -> None:
        self._results |= load_kept(self._directory, due, self._results)
        running = [run.retraining.key for run in self._running.values()]
        missing = {one.key: one for one in due(self._results)}  # without duplicates, in order
        self._queue = [
            one for key, one in missing.items() if key not in self._results and key not in running
        ]
        left = sum(one.seconds for one in self._queue)
        left += sum(run.seconds_left for run in self._running.values())
        self._progress.update(self._bar, total=self._progress.tasks[self._bar].completed + left)

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
            case Failed(reason=reason):
                self._results[retraining.key] = message
                self._log(f"{retraining.label}: failed, {reason} (more in {worker.process.log})")
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
        kept = Retrained(
            folder=self._directory / run.retraining.key,
            seed=run.retraining.seed,
            parameters=run.parameters,
            history=run.history,
            train_seconds=trained.train_seconds,
            cpu_seconds=trained.cpu_seconds,
            val_accuracy=run.history[-1][f"val_{run.retraining.objective}"]
            if run.retraining.images is Images.TRAINING
            else None,
            origin=self._origin,
        )
        with writing(self._directory):
            kept.save(trained.model)
        return kept

    def _show(self, run: "_Run") -> None:
        retraining = run.retraining
        measured = f"val_{retraining.objective}"
        value = run.history[-1].get(measured)
        shown = "" if value is None else f", {measured} {value:.4f}"
        self._progress.advance(self._bar, retraining.epoch_seconds)
        self._progress.update(
            self._bar,
            description=f"{retraining.label}: epoch {len(run.history)}/{retraining.epochs}{shown}",
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
        return (self.retraining.epochs - len(self.history)) * self.retraining.epoch_seconds


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


def _newly_kept(directory: Path, due: Due, results: Results) -> dict[str, Retrained]:
    found = {}
    for one in due(results):
        if one.key not in results:
            kept = Retrained.load(directory / one.key)
            validated = one.images is Images.TRAINING
            if (
                kept is not None
                and kept.seed == one.seed
                and validated == (kept.val_accuracy is not None)
            ):
                found[one.key] = kept
    return found


def _is_entry(entry: object) -> bool:
    """Return whether an entry of a history maps names to numbers; one that is NaN is allowed."""
    return isinstance(entry, dict) and all(
        isinstance(value, float) or is_whole(value) for value in entry.values()
    )


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

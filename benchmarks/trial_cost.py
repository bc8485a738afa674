"""Measure the CPU time of the coordinator per trial, with workers that answer at once.

python -m benchmarks.trial_cost                                            # journal
python -m benchmarks.trial_cost --storage postgresql://user@host/database  # a new database
"""

import argparse
import queue
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
from sqlalchemy import event
from sqlalchemy.engine import Engine

from benchmarks.scaling import FACTS
from benchmarks.sleeping import SleepingTrainer, SleepSettings, no_images
from search.coordinator import Coordinator
from search.display import Progress
from search.engines.engine import make_engine
from search.errors import StopReason
from search.settings import SearchSettings
from search.study.artifacts import Artifacts, Checkpoints
from search.study.database import Outages
from search.study.study import begin_study, study_storage

_SETTINGS = SleepSettings(space="cnn", load_split=no_images, precision="float32", epoch_seconds=0.0)


class _Worker:
    """A simulated worker in a thread of this process."""

    def __init__(self, slot: int, outbox: "queue.SimpleQueue[Any]") -> None:
        self.slot = slot
        self.trials = 0
        self.memory_mb = 0.0
        self._outbox = outbox
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def send(self, message: object) -> None:
        self._inbox.put(message)

    def ask(self, message: object) -> Any:
        self._outbox.put((self, message))
        return self._inbox.get().value

    def _run(self) -> None:
        trainer = SleepingTrainer(self, _SETTINGS)
        while True:
            self._outbox.put((self, trainer.run(self._inbox.get())))


class _Pool:
    """The part of `WorkerPool` that the coordinator uses, with simulated workers."""

    def __init__(self, count: int) -> None:
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._workers = [_Worker(slot, self._messages) for slot in range(count)]

    def start(self, most: int) -> None: ...

    def close(self) -> None: ...

    def idle(self, busy: Mapping[Any, object]) -> list[_Worker]:
        return [worker for worker in self._workers if worker not in busy]

    def poll(self, timeout_seconds: float) -> Iterator[tuple[_Worker, Any]]:
        yield self._messages.get()
        for _ in range(self._messages.qsize()):
            yield self._messages.get()


class _Meter:
    """A display that measures between two numbers of finished trials, then stops the search."""

    def __init__(self, first: int, trials: int) -> None:
        self._first, self._trials = first, trials
        self._began: tuple[float, int] | None = None
        self.statements = 0
        self.milliseconds = 0.0
        self.statements_per_trial = 0.0
        self.coordinator: Coordinator | None = None

    def update(self, progress: Progress) -> None:
        now = time.process_time(), self.statements
        if self._began is None and progress.finished >= self._first:
            self._began, self._first = now, progress.finished
        elif self._began is not None and progress.finished >= self._first + self._trials:
            done = progress.finished - self._first
            self.milliseconds = 1000 * (now[0] - self._began[0]) / done
            self.statements_per_trial = (now[1] - self._began[1]) / done
            assert self.coordinator is not None
            self.coordinator.stop(StopReason.TIMEOUT)

    def log(self, text: str) -> None: ...

    def note(self, text: str) -> None: ...

    def count(self, *arguments: object) -> None:
        self.statements += 1


def measure(workers: int, trials: int, storage: str | None) -> _Meter:
    """Run a search of the `cnn` space with TPE until `trials` trials have been measured."""
    settings = SearchSettings(trials=1_000_000, study=f"trial-cost-{workers}", storage=storage)
    meter, outages = _Meter(workers, trials), Outages(print)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        directory = Path(folder)
        held = stack.enter_context(
            study_storage(settings.study_name, storage, directory, print, outages)
        )
        study = begin_study(held, settings.study_name, FACTS, {}, print)
        event.listen(Engine, "before_cursor_execute", meter.count)
        stack.callback(event.remove, Engine, "before_cursor_execute", meter.count)
        engine = make_engine(
            study,
            engine="optuna",
            algorithm="tpe",
            pruner="hyperband",
            seed=0,
            max_epochs=8,
            limits=settings.limits,
            trials=settings.trials,
            find_space=list,
            note=print,
        )
        pool: Any = _Pool(workers)
        meter.coordinator = Coordinator(
            settings,
            study,
            engine,
            pool,
            Artifacts(directory / "artifacts"),
            Checkpoints(directory / "checkpoints"),
            meter,
            outages.clock,
        )
        meter.coordinator.run()
    return meter


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--trials", type=int, default=60, help="measured trials (default: 60)")
    parser.add_argument("--storage", help="an empty database (default: a journal)")
    flags = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print("| workers | CPU ms per trial | statements per trial |\n|-|-|-|")
    for workers in flags.workers:
        meter = measure(workers, flags.trials, flags.storage)
        print(f"| {workers} | {meter.milliseconds:.0f} | {meter.statements_per_trial:.0f} |")


if __name__ == "__main__":
    main()

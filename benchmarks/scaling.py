"""How many workers one coordinator can keep busy: its load with 1 to 64 that sleep.

python -m benchmarks.scaling                                # local workers, journal
python -m benchmarks.scaling --cluster local --storage postgresql://user@host/database
"""

import argparse
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import optuna
from rich.console import Console
from rich.table import Table

from benchmarks.sleeping import SleepingTrainer, SleepSettings, no_images
from search.coordinator import Coordinator
from search.data.split import SplitSizes
from search.display import Progress
from search.engines.optuna_engine import OptunaEngine
from search.engines.samplers import SAMPLERS
from search.errors import StopReason
from search.secrets import masked_url
from search.settings import SearchSettings
from search.study.artifacts import Artifacts, Checkpoints
from search.study.database import Outages
from search.study.facts import COMPARABLE, split_fact
from search.study.study import FINISHED, begin_study, study_storage
from search.training.hardware import machine
from search.workers.pool import WorkerPool, make_pool
from search.workers.ray.cluster import Cluster, Resources, connect

_PLANNED_EPOCH_SECONDS = 10.0
_BUSY = 0.9  # share of workers; with many, one is always between two trials
FACTS = dict.fromkeys((*COMPARABLE, "command"), "scaling") | {
    "objective": "accuracy",
    "split": split_fact(SplitSizes(val=1)),
    "epochs": 1,
    "precision": "float32",
}


@dataclass(frozen=True, slots=True)
class Load:
    """Load of a coordinator while all its workers were busy.

    Args:
        seconds: Duration of the measurement.
        cpu_seconds: Processor time of the coordinator in that time.
        epochs: Epochs that its workers reported.
        trials: Trials that ended.
    """

    seconds: float
    cpu_seconds: float
    epochs: int
    trials: int


class _Meter:
    """A display that measures for a while once the workers are busy, then stops the search."""

    study: optuna.Study
    coordinator: Coordinator

    def __init__(self, workers: int, seconds: float) -> None:
        self._workers = workers
        self._seconds = seconds
        self._before: tuple[float, float, int, int] | None = None
        self.load: Load | None = None

    def update(self, progress: Progress) -> None:
        """See `search.display.Display`."""
        if self._before is None:
            if len(progress.running) >= _BUSY * self._workers:
                counted = self._count()
                self._before = (time.monotonic(), time.process_time(), *counted)
            return
        began, cpu_began, epochs, trials = self._before
        seconds = time.monotonic() - began
        if seconds < self._seconds or self.load is not None:
            return
        cpu_seconds = time.process_time() - cpu_began
        epochs_now, trials_now = self._count()
        self.load = Load(seconds, cpu_seconds, epochs_now - epochs, trials_now - trials)
        self.coordinator.stop(StopReason.TIMEOUT)

    def log(self, text: str) -> None:
        """See `search.display.Display`."""

    note = log

    def _count(self) -> tuple[int, int]:
        trials = self.study.get_trials(deepcopy=False)
        ended = sum(trial.state in FINISHED for trial in trials)
        return sum(len(trial.intermediate_values) for trial in trials), ended


def measure(
    workers: int,
    *,
    sampler: str,
    cluster: str | None,
    storage: str | None,
    epoch_seconds: float,
    seconds: float,
) -> Load:
    """Measure the load of a coordinator with `workers` sleeping workers."""
    settings = SearchSettings(
        trials=1_000_000,
        workers=workers,
        sampler=sampler,
        study=f"scaling-{uuid.uuid4().hex[:8]}",
        storage=storage,
    )
    with tempfile.TemporaryDirectory() as name, ExitStack() as opened:
        folder = Path(name)
        meter = _Meter(workers, seconds)
        outages = Outages(print)
        held = opened.enter_context(
            study_storage(settings.study_name, storage, folder, print, outages)
        )
        study = begin_study(held, settings.study_name, FACTS, {}, print)
        trainers = opened.enter_context(_workers(settings, folder, cluster, epoch_seconds))
        meter.study = study
        meter.coordinator = Coordinator(
            settings,
            study,
            OptunaEngine(
                study,
                sampler=sampler,
                pruner=settings.pruner_used,
                seed=settings.seed,
                max_epochs=settings.max_epochs,
            ),
            trainers,
            Artifacts(folder / "artifacts"),
            Checkpoints(folder / "checkpoints"),
            meter,
            outages.clock,
        )
        meter.coordinator.run()
    if storage is not None:
        optuna.delete_study(study_name=settings.study_name, storage=storage)
    assert meter.load is not None
    return meter.load


@contextmanager
def _workers(
    settings: SearchSettings, folder: Path, address: str | None, epoch_seconds: float
) -> Iterator[WorkerPool]:
    needed = SleepSettings(
        space="cnn", load_split=no_images, precision="float32", epoch_seconds=epoch_seconds
    )
    connected: AbstractContextManager[Cluster | None] = nullcontext()
    if address is not None:
        packages = ("search", "spaces", "benchmarks")
        # Sleeping takes no core.
        connected = connect(address, Resources(cpus=0.01), "cnn", packages)
    with connected as cluster:
        yield make_pool(
            needed,
            count=settings.workers,
            log_dir=folder / "logs",
            cluster=cluster,
            note=print,
            trainer_class=SleepingTrainer,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--sampler", choices=SAMPLERS, default="tpe", help="(default: %(default)s)")
    parser.add_argument("--cluster", metavar="ADDRESS", help="as for run_search.py")
    parser.add_argument("--storage", metavar="URL", help="as for run_search.py")
    parser.add_argument("--epoch-seconds", type=float, default=1.0, help="(default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="of each measurement (default: %(default)s)"
    )
    flags = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = Table("workers", "trials/s", "epochs/s", "load", "CPU ms/epoch", "workers at load 1")
    for workers in flags.workers:
        load = measure(
            workers,
            sampler=flags.sampler,
            cluster=flags.cluster,
            storage=flags.storage,
            epoch_seconds=flags.epoch_seconds,
            seconds=flags.seconds,
        )
        per_epoch = load.cpu_seconds / max(1, load.epochs)
        table.add_row(
            str(workers),
            f"{load.trials / load.seconds:.2f}",
            f"{load.epochs / load.seconds:.1f}",
            f"{load.cpu_seconds / load.seconds:.1%}",
            f"{1000 * per_epoch:.1f}",
            f"{_PLANNED_EPOCH_SECONDS / per_epoch:,.0f}",
        )
    console = Console(width=max(100, Console().width))
    place = "this machine" if flags.cluster is None else f"--cluster {flags.cluster}"
    kept = "a journal" if flags.storage is None else masked_url(flags.storage)
    console.print(
        f"workers on {place}, trials in {kept}; cnn space, --sampler {flags.sampler}, Hyperband's "
        f"pruner; epochs of {flags.epoch_seconds:g} s that sleep, {flags.seconds:g} s for each "
        "row, n = 1. Load: the coordinator's own CPU time in the time; the last column: workers "
        f"that would take all of a core, at epochs of {_PLANNED_EPOCH_SECONDS:g} s"
    )
    console.print(table)
    console.print(machine())


if __name__ == "__main__":
    main()

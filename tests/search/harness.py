"""Run a search over simulated workers, as a library call; the tests of the coordinator share it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna

from search.cluster.connection import Resources, connect
from search.coordinator import Coordinator
from search.engine import OptunaEngine, requeue_abandoned
from search.local_workers import LocalWorkers
from search.run import make_engine
from search.settings import SearchSettings
from search.storage import open_storage
from search.study import Artifacts, Checkpoints, enqueue_first, open_study
from search.worker import WorkerSettings
from search.workers import Workers
from tests.search.simulated import SimulatedTrainer, no_images

FACTS = {
    "space": "simulated",
    "data": "none",
    "split": "none",
    "epochs": 9,
    "precision": "float32",
    "engine": "optuna",
    "command": "test",
}


class RecordingDisplay:
    """Keeps what a person would have seen."""

    def __init__(self, on_log: Callable[[str], None] | None = None) -> None:
        self.lines: list[str] = []
        self._on_log = on_log

    def update(self, progress: Any) -> None:
        """Nothing to draw."""

    def note(self, text: str) -> None:
        self.lines.append(text)

    def log(self, text: str) -> None:
        self.lines.append(text)
        if self._on_log is not None:
            self._on_log(text)


def storage_url(kind: str, directory: Path) -> str | None:
    return None if kind == "journal" else f"sqlite:///{directory}/study.db"


def load(directory: Path, kind: str = "journal") -> optuna.Study:
    """The study as another process would read it."""
    storage = open_storage(directory / "study.journal", storage_url(kind, directory))
    return optuna.load_study(study_name="test", storage=storage)


def search(
    directory: Path,
    *,
    space: str,
    algorithm: str = "tpe",
    storage: str = "journal",
    display: RecordingDisplay | None = None,
    stop_after: int | None = None,
    silence_seconds: float = 60,
    first: dict[str, dict[str, Any]] | None = None,
    **flags: Any,
) -> tuple[optuna.Study, str]:
    """Run a search to its end.

    Args:
        directory: The study's folder.
        space: One of `simulated.SPACES`.
        algorithm: One of Optuna's samplers, or `keras-tuner:` and one of its tuners; with
            `@cluster` the workers are those of a Ray cluster.
        storage: `journal` or `sqlite`.
        display: Takes the log.
        stop_after: Ask the coordinator to stop when so many trials have ended.
        silence_seconds: A worker that says nothing for so long is replaced.
        first: Configurations that are enqueued.
        **flags: Fields of `SearchSettings`.

    Returns:
        The study, read anew, and why the search ended.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    algorithm, _, place = algorithm.partition("@")
    settings = SearchSettings(
        **{"max_epochs": 9, "workers": 2, "study": "test", **_proposing(algorithm), **flags}
    )
    journal = directory / "study.journal"
    facts = FACTS | {"engine": settings.engine}
    study = open_study(open_storage(journal, storage_url(storage, directory)), "test", facts)
    requeue_abandoned(study)
    enqueue_first(study, first or {})
    shown = display or RecordingDisplay()
    with workers_at(place, settings, directory, space, silence_seconds) as workers:
        coordinator = Coordinator(
            settings,
            study,
            engine_of(settings, study, space),
            workers,
            Artifacts(directory / "artifacts"),
            Checkpoints(directory / "checkpoints"),
            shown,
        )
        if stop_after is not None:
            ended: list[str] = []

            def count(text: str) -> None:
                ended.append(text)
                if len(ended) >= stop_after:
                    coordinator.stop("Ctrl-C")

            shown._on_log = count
        reason = coordinator.run()
    return load(directory, storage), reason


@contextmanager
def workers_at(
    place: str,
    settings: SearchSettings,
    directory: Path,
    space: str,
    silence_seconds: float,
    note: Callable[[str], None] = print,
) -> Iterator[Workers[Any]]:
    """Simulated workers on this machine, or, if the place is `cluster`, on the tests' cluster."""
    needed = WorkerSettings(space=space, load_split=no_images, precision="float32")
    common: dict[str, Any] = {
        "count": settings.workers,
        "max_memory_mb": settings.max_worker_memory_mb,
        "silence_seconds": silence_seconds,
        "make_trainer": SimulatedTrainer,
    }
    if place != "cluster":
        yield LocalWorkers(needed, log_dir=directory / "logs", **common)
        return
    from tests.search.cluster.nodes import shared_cluster

    address = shared_cluster().address
    packages = ("search", "spaces", "tests")
    with connect(address, Resources(), "simulated", packages) as cluster:
        from search.cluster.workers import ClusterWorkers

        yield ClusterWorkers(cluster, needed, note=note, **common)


def _proposing(algorithm: str) -> dict[str, Any]:
    engine, colon, tuner = algorithm.partition(":")
    return {"engine": engine, "tuner": tuner} if colon else {"sampler": algorithm}


def engine_of(settings: SearchSettings, study: optuna.Study, space: str) -> OptunaEngine:
    """The engine of the search itself, which knows a simulated space without building models."""

    def find_space() -> list[dict[str, Any]]:
        from tests.search.declared import declared

        return declared(space)

    return make_engine(settings, study, find_space)

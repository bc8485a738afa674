"""Run a search as a library call, with simulated workers or one that really trains."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import optuna

from search import preparation
from search.coordinator import Coordinator
from search.data.formats import open_dataset
from search.data.split import load_split
from search.engines import exploring
from search.engines.engine import Engine
from search.errors import SearchError, StopReason
from search.settings import SearchSettings
from search.study.artifacts import Artifacts, Checkpoints
from search.study.database import Outages
from search.study.storage import open_storage
from search.study.study import begin_study, study_storage
from search.training.hardware import start_tensorflow
from search.workers.keras_trainer import KerasTrainer, WorkerSettings
from search.workers.pool import WorkerPool, make_pool
from search.workers.ray.cluster import Cluster, Resources, connect
from tests.postgres import Postgres
from tests.search.simulated import NEED_PROCESSES, SimulatedTrainer, no_images
from tests.search.threads import ThreadBackend

FACTS = {
    "space": "simulated",
    "data": "none",
    "split": {"train": None, "val": 1},
    "epochs": 9,
    "precision": "float32",
    "engine": "optuna",
    "mirror": None,
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


def storage_url(kind: str | Postgres, directory: Path) -> str | None:
    if isinstance(kind, Postgres):
        return kind.database(directory)
    return None if kind == "journal" else f"sqlite:///{directory}/study.db"


@contextmanager
def opened_study(
    name: str,
    url: str | None,
    directory: Path,
    facts: Mapping[str, Any],
    first: Mapping[str, Mapping[str, Any]],
    say: Callable[[str], None],
    outages: Outages,
) -> Iterator[optuna.Study]:
    """Hold a study for this process, created or continued, as a search does."""
    with study_storage(name, url, directory, say, outages) as storage:
        yield begin_study(storage, name, facts, first, say)


def load(directory: Path, kind: str | Postgres = "journal") -> optuna.Study:
    """The study as another process would read it."""
    storage = open_storage(directory / "study.journal", storage_url(kind, directory))
    return optuna.load_study(study_name="test", storage=storage)


def search(
    directory: Path,
    *,
    space: str,
    images: Path | None = None,
    algorithm: str = "tpe",
    storage: str | Postgres = "journal",
    display: RecordingDisplay | None = None,
    stop_after: int | None = None,
    silence_seconds: float = 60,
    first: dict[str, dict[str, Any]] | None = None,
    started: float | None = None,
    **flags: Any,
) -> tuple[optuna.Study, StopReason | None]:
    """Run a search to its end.

    Args:
        directory: The study's folder.
        space: One of `simulated.SPACES`; with `images`, a space as `spaces.load_space` takes it.
        images: Folder of IDX files, on which one worker really trains; None: trainings are
            simulated.
        algorithm: One of Optuna's samplers, or `keras-tuner:` and one of its tuners. The workers
            are threads; with `@processes` they are processes, with `@cluster` those of a Ray
            cluster, both simulated.
        storage: `journal`, `sqlite`, or a server.
        display: Takes the log.
        stop_after: Ask the coordinator to stop when so many trials have ended.
        silence_seconds: A worker that says nothing for so long is replaced.
        first: Configurations that are enqueued.
        started: As for `Coordinator`.
        **flags: Fields of `SearchSettings`.

    Returns:
        The study, read anew, and why the search ended.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    algorithm, _, place = algorithm.partition("@")
    url = storage_url(storage, directory)
    settings = SearchSettings(
        **{"epochs": 9, "workers": 2, "study": "test", **_proposing(algorithm), **flags},
        storage=url,
    )
    facts = FACTS | {"engine": settings.engine, "objective": settings.objective}
    shown = display or RecordingDisplay()
    outages = Outages(shown.note)
    opened = opened_study("test", url, directory, facts, first or {}, shown.note, outages)
    if images is None:
        trainers = workers_at(place, settings, directory, space, silence_seconds)
    else:
        assert not place, place
        trainers = trained_on(images, settings, space)
    with opened as study, trainers as workers:
        coordinator = Coordinator(
            settings,
            study,
            engine_of(settings, study, space, shown.note, images),
            workers,
            Artifacts(directory / "artifacts"),
            Checkpoints(directory / "checkpoints"),
            shown,
            outages.clock,
            started,
        )
        if stop_after is not None:
            ended: list[str] = []

            def count(text: str) -> None:
                ended.append(text)
                if len(ended) >= stop_after:
                    coordinator.stop(StopReason.CTRL_C)

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
) -> Iterator[WorkerPool]:
    """Simulated workers: `processes`, those of the tests' `cluster`, or threads for no place."""
    assert place in ("", "processes", "cluster"), place
    shared = WorkerSettings(space=space, load_split=no_images, precision="float32")
    if not place:
        assert space not in NEED_PROCESSES, f"{space!r} needs @processes"
        assert settings.workers is not None
        yield WorkerPool(ThreadBackend(shared, SimulatedTrainer, count=settings.workers))
        return
    connected: AbstractContextManager[Cluster | None] = nullcontext()
    if place == "cluster":
        from tests.search.workers.ray.nodes import shared_cluster

        packages = ("search", "spaces", "tests")
        connected = connect(shared_cluster().address, Resources(), "cnn", packages)
    with connected as cluster:
        yield make_pool(
            shared,
            count=settings.workers,
            log_dir=directory / "logs",
            cluster=cluster,
            note=note,
            max_memory_mb=settings.max_worker_memory_mb,
            silence_seconds=silence_seconds,
            trainer_class=SimulatedTrainer,
        )


@contextmanager
def trained_on(images: Path, settings: SearchSettings, space: str) -> Iterator[WorkerPool]:
    """One worker that trains on IDX files, in a thread: TensorFlow starts once for many searches.

    Keras keeps its settings and the names of layers for each thread; a trial sets the random seeds
    of this whole process.
    """
    start_tensorflow(devices=False)  # in a thread it would discard what other threads print
    shared = WorkerSettings(
        space=space,
        load_split=partial(load_split, open_dataset(str(images)), settings.split),
        precision="float32",
    )
    yield WorkerPool(ThreadBackend(shared, KerasTrainer, count=1))


class Coordinating:
    """A search in a process of its own, which can be killed.

    Args:
        directory: As for `search`.
        number: Tells several in one directory apart.
        **flags: As for `search`.
    """

    def __init__(self, directory: Path, number: int = 0, **flags: Any) -> None:
        self._said = directory / f"said-{number}"
        self._said.touch()
        self._process = multiprocessing.get_context("spawn").Process(
            target=_search_and_say, args=(directory, self._said, flags)
        )
        self._process.start()

    @property
    def said(self) -> list[str]:
        """What a person would have seen so far; the last line is how the search ended."""
        return self._said.read_text().splitlines()

    def send(self, number: int) -> None:
        """Send the process a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it at once, if it still runs."""
        self._process.kill()
        self._process.join()

    def wait(self, seconds: float = 300) -> str:
        """Wait for its end; how the search ended."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, self.said
        return self.said[-1] if self.said else ""


def _search_and_say(directory: Path, said: Path, flags: dict[str, Any]) -> None:
    with said.open("a", buffering=1) as file:
        display = RecordingDisplay(on_log=lambda text: print(text, file=file))
        display.note = display.log  # type: ignore[method-assign]
        try:
            _, reason = search(directory, display=display, **flags)
            print(f"ended: {reason}", file=file)
        except SearchError as error:
            print(f"error: {error}", file=file)


def _proposing(algorithm: str) -> dict[str, Any]:
    engine, colon, tuner = algorithm.partition(":")
    return {"engine": engine, "tuner": tuner} if colon else {"sampler": algorithm}


def engine_of(
    settings: SearchSettings,
    study: optuna.Study,
    space: str,
    note: Callable[[str], None] = lambda text: None,
    images: Path | None = None,
) -> Engine:
    """The engine of the search itself, which knows a simulated space without building models.

    A real space, that of a search on `images`, is explored in this process.
    """

    def find_space() -> list[dict[str, Any]]:
        if images is not None:
            return exploring._explore(space, open_dataset(str(images)).shape)
        from tests.search.declared import declared

        return declared(space)

    return preparation.engine_of(settings, study, find_space, note)

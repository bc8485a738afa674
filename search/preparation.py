"""Prepare a search before its study is opened: data, cluster, number format, workers."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import optuna

from search.data.dataset import Dataset
from search.data.formats import open_dataset
from search.data.split import check_sizes, default_val_size, load_split
from search.display import Display
from search.earlier import earlier_configurations, earlier_study
from search.engines.engine import Engine, make_engine
from search.engines.samplers import check_packages
from search.errors import StudyError
from search.length import default_epochs
from search.settings import DEFAULT_DATA, SearchSettings
from search.study.facts import pixels_of, split_fact
from search.study.names import check_new_study_name
from search.study.storage import JOURNAL, check_url, file_of
from search.study.stored import find_study
from search.study.study import ENDED, keeps_facts
from search.training.hardware import Precision, best_precision
from search.workers.keras_trainer import WorkerSettings
from search.workers.limits import require_room
from search.workers.pool import WorkerPool, make_pool
from search.workers.ray.cluster import Cluster, Resources, connect
from spaces import DataShape, check_space, first_configurations, published_configurations


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Inputs of a search.

    Args:
        settings: Settings of the search, with the sizes that follow from the data.
        first: Hyperparameters by name of the configurations that are tried first.
        earlier: Those of them that come from `--from`.
        dataset: The data set.
        available: Number of training images without those for validation.
    """

    settings: SearchSettings
    first: dict[str, dict[str, Any]]
    earlier: dict[str, dict[str, Any]]
    dataset: Dataset
    available: int

    @property
    def notes(self) -> list[str]:
        """What the user must know about the data and the first trials, one line each."""
        height, width, channels = self.dataset.image_shape
        space = self.settings.space
        ignored = []
        if self.settings.baselines and not published_configurations(space, self.dataset.shape):
            ignored = [
                f"--baselines adds no trials: space {space!r} has no published baselines for "
                f"images of {height}x{width}x{channels}"
            ]
        if self.settings.data == DEFAULT_DATA:
            return ignored
        colour = "colour" if channels > 1 else "grey"
        count = self.available + self.settings.split.val
        return [
            f"{self.dataset.name}: {count:,} training images of {height}x{width} pixels in "
            f"{colour}, {len(self.dataset.class_names)} classes",
            *self.dataset.notes,
            *ignored,
        ]

    def of_study(self, study: optuna.Study | None) -> "Inputs":
        """Return these inputs for a study; one that has begun keeps its pixel statistics.

        Args:
            study: None: there is none yet.
        """
        if study is None or not keeps_facts(study):
            return self
        if study.user_attrs.get("data") != self.dataset.fingerprint:  # it will be refused
            return self
        dataset = replace(self.dataset, pixels=pixels_of(study.user_attrs))
        first = _first(self.settings, dataset.shape, self.earlier)
        return replace(self, dataset=dataset, first=first)


def find_inputs(settings: SearchSettings) -> Inputs:
    """Collect the inputs of a search, before anything is created.

    Raises:
        SearchError: Something is missing or does not fit; the message says what.
        SpaceError: The space does not exist.
    """
    check_space(settings.space)
    if settings.engine == "optuna":
        check_packages(settings.algorithm)
    if settings.storage is not None:
        check_url(settings.storage)
    if settings.workers is not None and settings.cluster is None:
        require_room(settings.workers, joblib.cpu_count())
    if _is_new(settings):
        check_new_study_name(settings.study_name)
    from_study = None if settings.from_study is None else earlier_study(settings)
    dataset = open_dataset(
        settings.data,
        image_size=settings.image_size,
        mirror=settings.mirror,
        cache=settings.results_dir / ".data",
        create=not settings.dry_run,
        quiet=settings.quiet,
    )
    if settings.val_size is None:
        settings = replace(settings, val_size=default_val_size(dataset))
    available = check_sizes(dataset, settings.split)
    if settings.epochs is None and settings.minutes is None:
        settings = replace(settings, epochs=default_epochs(available))
    earlier = {} if from_study is None else _earlier(settings, from_study, dataset.shape)
    return Inputs(
        settings=settings,
        first=_first(settings, dataset.shape, earlier),
        earlier=earlier,
        dataset=dataset,
        available=available,
    )


def _is_new(settings: SearchSettings) -> bool:
    """Return whether the study surely does not exist yet; False for a database server."""
    file = file_of(settings.storage, settings.study_dir / JOURNAL)
    return file is not None and not file.exists()


def _first(
    settings: SearchSettings, data: DataShape, earlier: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return what is tried first: the best of `--from`, the portfolio, the baselines."""
    strong = first_configurations(settings.space, data)
    published = published_configurations(settings.space, data)
    if not settings.takes_first:
        return {}
    first = (strong if settings.portfolio else {}) | (published if settings.baselines else {})
    new = {name: params for name, params in first.items() if params not in earlier.values()}
    return dict(list((earlier | new).items())[: settings.trials])


def _earlier(
    settings: SearchSettings, from_study: optuna.Study, data: DataShape
) -> dict[str, dict[str, Any]]:
    """Return the configurations of `--from`: those stored in a study that has begun, else new."""
    study = find_study(settings.study_name, settings.storage, settings.study_dir)
    if study is None or not study.get_trials(deepcopy=False, states=ENDED):
        return earlier_configurations(from_study, settings.space, data, settings.limits)
    # The earlier study may have other best trials by now.
    stored = dict(study.user_attrs.get("from", {}))
    if not any(name.startswith(f"{from_study.study_name} trial ") for name in stored):
        raise StudyError(
            f"--from is {settings.from_study!r}, but study {study.study_name!r} has begun without "
            "it; leave --from out, or start another with --study NAME."
        )
    return stored


def connected(settings: SearchSettings) -> AbstractContextManager[Cluster | None]:
    """Connect to the cluster of a search; None for this machine."""
    if settings.cluster is None:
        return nullcontext()
    resources = Resources(settings.cpus_per_trial or 1.0, settings.gpus_per_trial or 0.0)
    return connect(settings.cluster, resources, settings.space)


def precision_of(settings: SearchSettings, cluster: Cluster | None) -> Precision:
    """Return the number format in which models train."""
    if settings.precision == "auto":
        return best_precision() if cluster is None else cluster.precision()
    return "bfloat16" if settings.precision == "bfloat16" else "float32"


def comparable_facts(
    settings: SearchSettings, dataset: Dataset, precision: Precision
) -> dict[str, Any]:
    """Return the facts that make trials comparable, as their study stores them."""
    return {
        "space": settings.space,
        "data": dataset.fingerprint,
        "dataset": dataset.fact,
        "split": split_fact(settings.split),
        "epochs": settings.max_epochs,
        "precision": precision,
        "engine": settings.engine,
        "objective": settings.objective,
        "mirror": dataset.mirror,
    }


def engine_of(
    settings: SearchSettings,
    study: optuna.Study,
    find_space: Callable[[], list[dict[str, Any]]],
    note: Callable[[str], None],
) -> Engine:
    """Return the engine of a search; for `find_space` and `note`, see `make_engine`."""
    return make_engine(
        study,
        engine=settings.engine,
        algorithm=settings.algorithm,
        pruner=settings.pruner_used,
        seed=settings.seed,
        max_epochs=settings.max_epochs,
        limits=settings.limits,
        trials=settings.trials,
        find_space=find_space,
        note=note,
    )


def make_workers(
    settings: SearchSettings,
    inputs: Inputs,
    precision: Precision,
    cluster: Cluster | None,
    display: Display,
    log_dir: Path,
) -> WorkerPool:
    """Make the pool of a search.

    Args:
        settings: Settings of the search; workers load the images of its split.
        inputs: What it starts from.
        precision: Number format in which models train.
        cluster: Where they run; None: this machine.
        display: Shows what the user must know about a node.
        log_dir: As for `make_pool`.
    """
    needed = WorkerSettings(
        space=settings.space,
        load_split=partial(load_split, inputs.dataset, settings.split),
        precision=precision,
    )
    return make_pool(
        needed,
        count=settings.workers,
        log_dir=log_dir,
        cluster=cluster,
        note=display.note,
        max_memory_mb=settings.max_worker_memory_mb,
    )

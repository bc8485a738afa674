"""One run of a search, from settings to outcome."""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from optuna_dashboard import save_note

from search.command_line import EXIT_CODES, let_signals_stop
from search.coordinator import Coordinator
from search.data.files import find_data, fingerprint
from search.data.split import check_sizes, load_split
from search.display import Display
from search.engines.engine import make_engine
from search.engines.exploring import explore
from search.engines.samplers import check_packages, is_used_up
from search.engines.tuners import TUNERS
from search.errors import SearchError, StopReason, StorageError
from search.files import refuse_links
from search.secrets import masked_url
from search.settings import SearchSettings
from search.study.artifacts import Artifacts, Checkpoints, study_note
from search.study.dashboard import Server, listen, serve_dashboard
from search.study.database import Outages
from search.study.facts import split_fact
from search.study.provenance import command_line, commit
from search.study.storage import check_url, storage_errors
from search.study.study import (
    best_trial,
    count_states,
    known_as,
    opened_study,
    trial_params,
)
from search.training.hardware import Precision, best_precision, machine, versions
from search.workers.pool import WorkerPool, make_pool
from search.workers.process import WorkerSettings
from search.workers.ray.cluster import Cluster, Resources, connect
from spaces import SPACES, first_configurations, load_space, published_configurations

# Settings that the study's note lists beside the comparable facts.
_NOTED = ("pruner", "seed", "max_params", "trial_timeout_seconds", "cluster")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run of a search ended.

    Args:
        study: Name of the study.
        storage: Path of the journal file, or the URL without its password.
        directory: Folder of the study.
        complete: Number of complete trials in the study; likewise `pruned` and `failed`.
        best: Number, value, params and description of the best complete trial; None without one.
        seconds: Duration of this run.
        stopped_by: Why it ended early; None if the study holds all its trials.
        ran: Number of trials that this run finished.
        used_up: Whether every configuration of a finite space has been tried.
    """

    study: str
    storage: str
    directory: Path
    complete: int
    pruned: int
    failed: int
    best: dict[str, Any] | None
    seconds: float
    stopped_by: StopReason | None
    ran: int
    used_up: bool

    @property
    def finished(self) -> int:
        """Number of complete and pruned trials, which `--trials` counts."""
        return self.complete + self.pruned

    @property
    def interrupted(self) -> bool:
        """Whether the same command would go on."""
        return self.stopped_by in (*EXIT_CODES, StopReason.TIMEOUT)


def run_search(settings: SearchSettings, display: Display, arguments: Sequence[str]) -> Outcome:
    """Search until the study holds its trials, or something stops it.

    Args:
        settings: Settings of the search.
        display: Shows the progress.
        arguments: `sys.argv`, stored in the study.

    Raises:
        SearchError: Something that the user can fix; the message says how.
    """
    started = time.monotonic()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Refuse what cannot work before anything is created.
    first = _first(settings)  # also refuses an unknown space
    if settings.engine == "optuna":
        check_packages(settings.algorithm)
    if settings.storage is not None:
        check_url(settings.storage)
    data_dir = find_data(settings.data_dir)
    check_sizes(data_dir, settings.split)
    with _cluster(settings) as cluster, _removed_if_refused(settings.study_dir):
        return _search(settings, display, arguments, first, data_dir, cluster, started)


def _search(
    settings: SearchSettings,
    display: Display,
    arguments: Sequence[str],
    first: dict[str, dict[str, Any]],
    data_dir: Path,
    cluster: Cluster | None,
    started: float,
) -> Outcome:
    precision = _precision(settings, cluster)
    facts = _facts(settings, data_dir, precision, arguments)
    server = None
    if settings.serves_dashboard:
        server = listen(settings.dashboard_host, settings.dashboard_port)
    directory = _make_directory(settings.study_dir)
    where = masked_url(settings.storage) if settings.storage else str(directory / "study.journal")
    outages = Outages(display.note)
    with (
        storage_errors(where),
        opened_study(
            settings.study_name,
            settings.storage,
            directory,
            facts,
            first,
            display.note,
            outages,
        ) as study,
    ):
        save_note(study, study_note(facts))
        _announce(settings, display, server)
        coordinator = Coordinator(
            settings,
            study,
            make_engine(
                study,
                engine=settings.engine,
                algorithm=settings.algorithm,
                pruner=settings.pruner,
                seed=settings.seed,
                max_epochs=settings.max_epochs,
                trials=settings.trials,
                find_space=partial(explore, settings.space, directory / "logs" / "exploring.log"),
                note=display.note,
            ),
            _make_pool(settings, data_dir, facts["data"], precision, cluster, display),
            Artifacts(directory / "artifacts"),
            Checkpoints(directory / "checkpoints"),
            display,
            outages.clock,
            started,
        )
        before = coordinator.progress.finished

        def stop(reason: StopReason) -> None:
            coordinator.stop(reason)
            outages.stop(reason)

        # Until the process ends: a second Ctrl-C must not cut off what the first one started.
        let_signals_stop(stop)
        stopped_by = coordinator.run()
        return _outcome(settings, study, where, started, stopped_by, before)


@contextmanager
def _removed_if_refused(directory: Path) -> Iterator[None]:
    """Remove a folder, and those above it, if they are new and an error leaves them empty."""
    new = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    try:
        yield
    except SearchError:
        for folder in new:
            with suppress(OSError):  # anything is in it
                folder.rmdir()
        raise


def _first(settings: SearchSettings) -> dict[str, dict[str, Any]]:
    strong = first_configurations(settings.space)
    published = published_configurations(settings.space)
    if not settings.takes_first:
        return {}
    first = (strong if settings.portfolio else {}) | (published if settings.baselines else {})
    return dict(list(first.items())[: settings.trials])


def _facts(
    settings: SearchSettings, data_dir: Path, precision: Precision, arguments: Sequence[str]
) -> dict[str, Any]:
    return {
        "space": settings.space,
        "data": fingerprint(data_dir),
        "split": split_fact(settings.split),
        "epochs": settings.max_epochs,
        "precision": precision,
        "engine": settings.engine,
        "seed": settings.seed,
        "settings": _settings_noted(settings),
        "versions": versions(),
        "commit": commit(),
        "machine": machine(),
        "command": command_line(arguments),
    }


def _settings_noted(settings: SearchSettings) -> dict[str, Any]:
    given = asdict(settings)
    noted = {name: given[name] for name in _NOTED if given[name] is not None}
    if settings.engine == "optuna":
        return {"sampler": settings.algorithm, **noted}
    if TUNERS[settings.algorithm].has_budgets:
        del noted["pruner"]  # the budgets replace it
    return {"tuner": settings.algorithm, **noted}


def _cluster(settings: SearchSettings) -> AbstractContextManager[Cluster | None]:
    if settings.cluster is None:
        return nullcontext()
    resources = Resources(settings.cpus_per_trial or 1.0, settings.gpus_per_trial or 0.0)
    return connect(settings.cluster, resources, settings.space)


def _precision(settings: SearchSettings, cluster: Cluster | None) -> Precision:
    if settings.precision == "auto":
        return best_precision() if cluster is None else cluster.precision()
    return "bfloat16" if settings.precision == "bfloat16" else "float32"


def _make_directory(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        refuse_links(directory)
        with tempfile.TemporaryFile(dir=directory) as probe:
            probe.write(b"\n")
    except OSError as error:
        raise StorageError(
            f"{directory} cannot be written ({error.strerror}); use --results-dir to name a folder "
            "that you may write, with free space."
        ) from error
    return directory


def _make_pool(
    settings: SearchSettings,
    data_dir: Path,
    data: str,
    precision: Precision,
    cluster: Cluster | None,
    display: Display,
) -> WorkerPool:
    needed = WorkerSettings(
        space=settings.space,
        load_split=partial(load_split, data_dir, settings.split, data),
        precision=precision,
    )
    return make_pool(
        needed,
        count=settings.workers,
        log_dir=settings.study_dir / "logs",
        cluster=cluster,
        note=display.note,
        max_memory_mb=settings.max_worker_memory_mb,
    )


def _announce(settings: SearchSettings, display: Display, server: Server | None) -> None:
    later = command_line(["run_search.py", "--dashboard-only", *settings.study_flags])
    if server is not None:
        address = serve_dashboard(
            settings.study_dir, settings.storage, server, writable=settings.dashboard_writable
        )
        display.note(f"live view: {address} while this search runs; later: {later}")
    else:
        display.log(f"live view: {later}")


def _outcome(
    settings: SearchSettings,
    study: optuna.Study,
    where: str,
    started: float,
    stopped_by: StopReason | None,
    before: int,
) -> Outcome:
    states = count_states(study)
    best = best_trial(study)
    complete, pruned = states[TrialState.COMPLETE], states[TrialState.PRUNED]
    return Outcome(
        study=settings.study_name,
        storage=where,
        directory=settings.study_dir,
        complete=complete,
        pruned=pruned,
        failed=states[TrialState.FAIL],
        best=None if best is None else _best(best, settings.space),
        seconds=time.monotonic() - started,
        stopped_by=stopped_by,
        ran=complete + pruned - before,
        used_up=is_used_up(study),
    )


def _best(trial: optuna.trial.FrozenTrial, space: str) -> dict[str, Any]:
    attrs: Mapping[str, Any] = trial.user_attrs
    return {
        "number": trial.number,
        "value": trial.value,
        "params": trial_params(trial),
        "description": _description(trial_params(trial), space),
        "parameters": attrs.get("parameters"),
        "name": known_as(trial),
    }


def _description(params: Mapping[str, Any], space: str) -> str | None:
    if space not in SPACES:
        return None  # loading a user's space here could import TensorFlow
    describe = getattr(load_space(space), "describe", None)
    try:
        return None if describe is None else str(describe(params))
    except Exception:  # a study of an earlier version may lack values
        return None

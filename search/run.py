"""One run of a search, from settings to outcome."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import optuna
from optuna_dashboard import save_note

from search.command_line.process import let_signals_stop
from search.config_file import config_text
from search.coordinator import Coordinator
from search.data.dataset import Dataset
from search.display import Display
from search.engines.exploring import explore
from search.engines.tuners import TUNERS
from search.errors import (
    SearchError,
    SettingsError,
    StopReason,
    StorageError,
    UnusableError,
)
from search.files import refuse_links, write_atomically
from search.length import Plan, Speed, TimeLeft, expectation, remaining_words
from search.measuring import FEWEST_IMAGES_TO_MEASURE, Measurement
from search.on_end import Ending, command_at_end
from search.outcome import Outcome, outcome_of
from search.preparation import (
    Inputs,
    comparable_facts,
    connected,
    engine_of,
    find_inputs,
    make_workers,
    precision_of,
)
from search.secrets import hide_secrets
from search.settings import SearchSettings
from search.sizes import (
    fitted_line,
    fitted_sizes,
    known_sizes,
    needs_speed,
    plan_of,
    store_speed,
    stored_speed,
)
from search.study.artifacts import Artifacts, Checkpoints, study_note
from search.study.dashboard import Server, listen, serve_dashboard
from search.study.database import Outages
from search.study.objective import COSTS
from search.study.provenance import command_line, commit, module_digest
from search.study.requests import Inbox, begin_run, end_run, takes_requests
from search.study.storage import JOURNAL, quiet_optuna, shown_storage, storage_errors
from search.study.stored import find_study, stored_study
from search.study.study import ENDED, FINISHED, begin_study, study_storage
from search.training.hardware import Precision, machine, versions
from search.workers.pool import WorkerPool
from search.workers.ray.cluster import Cluster
from spaces import SPACES, DataShape, SpaceError

# Settings that the study's note lists beside the comparable facts.
_NOTED = (
    "pruner",
    "seed",
    "max_params",
    "max_flops",
    "max_latency_ms",
    "trial_timeout_seconds",
    "cluster",
)


@quiet_optuna()
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
    inputs = find_inputs(settings)
    settings = inputs.settings
    for line in inputs.notes:
        display.log(line)
    if settings.objectives.several:
        display.log(_objectives_words(settings))
    read_outcome = partial(_stored_outcome, settings, inputs.dataset.shape, started)
    with (
        command_at_end(settings, started, read_outcome, display.note) as ending,
        connected(settings) as cluster,
        _removed_if_empty(settings.study_dir),
    ):
        ending.outcome = _search(settings, display, arguments, inputs, cluster, started, ending)
        return ending.outcome


def _search(
    given: SearchSettings,
    display: Display,
    arguments: Sequence[str],
    inputs: Inputs,
    cluster: Cluster | None,
    started: float,
    ending: Ending,
) -> Outcome:
    precision = precision_of(given, cluster)
    server = None
    if given.serves_dashboard:
        server = listen(given.dashboard_host, given.dashboard_port)
    name, directory = given.study_name, given.study_dir
    is_new = not directory.exists()
    _make_directory(directory)
    where = shown_storage(given.storage, directory)
    outages = Outages(display.note)
    with (
        server or nullcontext(),  # its port is free again after the run
        storage_errors(where),
        study_storage(name, given.storage, directory, display.note, outages) as storage,
        ExitStack() as opened,
    ):
        stored = stored_study(storage, name)
        if is_new and stored is None:
            opened.enter_context(_removed_if_refused(directory))
        if stored is not None and takes_requests(stored):
            end_run(stored)  # it was killed: a request during the measurement would be lost
        inputs = inputs.of_study(stored)
        known = known_sizes(given, stored)
        workers = make_workers(
            known or given, inputs, precision, cluster, display, directory / "logs"
        )
        opened.callback(workers.close)
        measurement = Measurement(workers, given, started, display.log)
        if known is not None:
            settings, fitted_to = known, None
        else:
            with _logs_removed_if_refused(directory, workers, is_new=stored is None):
                settings, fitted_to = _fitted(given, inputs, measurement, display, started)
        facts = _facts(settings, inputs.dataset, precision, arguments, given.minutes)
        finished = stored.get_trials(deepcopy=False, states=FINISHED) if stored else []
        trains = len(finished) < settings.trials
        if finished and trains and stored is not None:
            _say_what_changed(stored, facts, display)
        study = begin_study(storage, name, facts, inputs.first, display.note, trains=trains)
        begin_run(study)
        ending.has_study = True
        if inputs.earlier and "from" not in study.user_attrs:
            study.set_user_attr("from", inputs.earlier)
        if trains:  # the note and the file say what repeats the search
            save_note(study, study_note(facts))
            write_atomically(directory / "search.toml", _config(settings, given.minutes).encode())
        plan = plan_of(settings, inputs)
        speed = fitted_to or _known_speed(study, settings, plan, workers, measurement, display)
        if speed is not None:
            store_speed(study, speed, settings)
        log = directory / "logs" / "exploring.log"
        find_space = partial(explore, settings.space, inputs.dataset.shape, log)
        coordinator = Coordinator(
            settings,
            study,
            engine_of(settings, study, find_space, display.note),
            workers,
            Artifacts(directory / "artifacts"),
            Checkpoints(directory / "checkpoints"),
            display,
            outages.clock,
            started,
            TimeLeft(plan, speed),
            _offer_dashboard(settings, display, server, opened),
        )
        before, left = coordinator.progress.finished, coordinator.seconds_left
        if before and left:
            display.log(remaining_words(settings.trials - before, left))
        elif speed is not None and not before and fitted_to is None:
            place = "this machine" if cluster is None else "this cluster"
            display.log(expectation(plan, speed, place, precision))
        stopped_by = _coordinate(coordinator, outages, study, measurement.stopped_by)
        end_run(study)
        return outcome_of(settings, inputs.dataset.shape, study, where, started, stopped_by, before)


def _say_what_changed(study: optuna.Study, facts: Mapping[str, Any], display: Display) -> None:
    """Warn of a space whose module was changed: its earlier trials do not compare."""
    runs = [run for run in study.user_attrs.get("runs", []) if run.get("trains", True)]
    before, now = (runs or [{}])[-1].get("code"), facts.get("code")
    if None not in (before, now) and before != now:
        display.note(
            f"the module of space {facts['space']} has changed since the last run of this study; "
            "if the same values now build or train another network, start another study with "
            "--study NAME"
        )


def _coordinate(
    coordinator: Coordinator, outages: Outages, study: optuna.Study, stopped_by: StopReason | None
) -> StopReason | None:
    """Run the search until it ends, or until a signal stops it; `stopped_by`: one has already."""

    def stop(reason: StopReason) -> None:
        coordinator.stop(reason)
        outages.stop(reason)

    # Until the process ends: a second Ctrl-C must not cut off what the first one started.
    let_signals_stop(stop)
    if stopped_by is not None:
        stop(stopped_by)
    try:
        return coordinator.run()
    except UnusableError as error:
        if study.get_trials(deepcopy=False, states=ENDED):
            raise SearchError(str(error)) from error  # what there is, is kept
        raise


def _fitted(
    given: SearchSettings,
    inputs: Inputs,
    measurement: Measurement,
    display: Display,
    started: float,
) -> tuple[SearchSettings, Speed]:
    """Return the settings with sizes that fit `--minutes`, and the speed that they were fitted to.

    Raises:
        SearchError: The speed cannot be measured, or the time is too short.
    """
    speed = measurement.required()
    spent_seconds = time.monotonic() - started
    settings = fitted_sizes(given, speed, inputs, spent_seconds)
    display.log(fitted_line(given, settings, speed, inputs, spent_seconds))
    return settings, speed


def _known_speed(
    study: optuna.Study,
    settings: SearchSettings,
    plan: Plan,
    workers: WorkerPool,
    measurement: Measurement,
    display: Display,
) -> Speed | None:
    """Return the speed from which the length of a search is estimated.

    None if it is not needed, with `--quiet`, for a short search of a built-in space, or if its
    measurement failed or was stopped.
    """
    stored = stored_speed(study.user_attrs, settings, min(workers.count, settings.trials))
    if stored is not None or settings.quiet or not needs_speed(study, settings.trials):
        return stored
    images = plan.trials * plan.epochs * plan.epoch_size
    if settings.space in SPACES and images < FEWEST_IMAGES_TO_MEASURE:
        return None
    found = measurement.run(Inbox(study))
    if isinstance(found, Speed):
        return found
    if measurement.stopped_by is None:
        display.log(f"the duration of the search is unknown: {found.reason}")
    return None


def _stored_outcome(settings: SearchSettings, data: DataShape, started: float) -> Outcome | None:
    """Return what a study holds after an error; None if it cannot be read."""
    with suppress(Exception):  # the error itself may be that of the storage
        study = find_study(settings.study_name, settings.storage, settings.study_dir)
        if study is not None:
            return outcome_of(settings, data, study, "", started, None, 0)
    return None


@contextmanager
def _logs_removed_if_refused(
    directory: Path, workers: WorkerPool, *, is_new: bool
) -> Iterator[None]:
    """Remove the logs of the measurement if an error leaves no study."""
    try:
        yield
    except SearchError:
        if is_new:
            workers.close()  # one that starts would write its log again
            rmtree(directory / "logs", ignore_errors=True)
            journal = directory / JOURNAL
            if journal.exists() and not journal.stat().st_size:
                journal.unlink()
        raise


@contextmanager
def _removed_if_refused(directory: Path) -> Iterator[None]:
    """Remove the folder of a new study, which this process holds, if its space is refused."""
    try:
        yield
    except (SpaceError, SettingsError, UnusableError):
        rmtree(directory, ignore_errors=True)
        raise


@contextmanager
def _removed_if_empty(directory: Path) -> Iterator[None]:
    """Remove a new folder and its new parents if an error leaves nothing in them."""
    new = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    try:
        yield
    except (SearchError, SpaceError):
        for folder in new:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
        raise


def _objectives_words(settings: SearchSettings) -> str:
    objectives = settings.objectives
    costs = " and ".join(COSTS[name].noun for name in objectives.minimized)
    return (
        f"{objectives.words} against {costs}: the result is a Pareto front, and no trial is pruned"
    )


def _facts(
    settings: SearchSettings,
    dataset: Dataset,
    precision: Precision,
    arguments: Sequence[str],
    minutes: float | None,
) -> dict[str, Any]:
    code = module_digest(settings.space)
    return {
        **comparable_facts(settings, dataset, precision),
        "pixels": None if dataset.pixels is None else dataset.pixels.facts,
        "seed": settings.seed,
        "settings": _settings_noted(settings),
        "versions": versions(),
        "commit": commit(),
        "machine": machine(),
        "command": command_line(arguments),
        **({} if minutes is None else {"minutes": minutes}),
        **({} if code is None else {"code": code}),
    }


def _config(settings: SearchSettings, minutes: float | None) -> str:
    """Return the configuration file that repeats a search, also on a faster machine."""
    text = config_text(replace(settings, study=settings.study_name, minutes=None))
    if minutes is None:
        return text
    return f"# The sizes below were given, or fitted to --minutes {minutes:g}.\n{text}"


def _settings_noted(settings: SearchSettings) -> dict[str, Any]:
    cluster = None if settings.cluster is None else hide_secrets(settings.cluster)
    given = asdict(settings) | {"pruner": settings.pruner_used, "cluster": cluster}
    noted = {name: given[name] for name in _NOTED if given[name] is not None}
    if settings.engine == "optuna":
        return {"sampler": settings.algorithm, **noted}
    if TUNERS[settings.algorithm].has_budgets:
        del noted["pruner"]  # the budgets replace it
    return {"tuner": settings.algorithm, **noted}


def _make_directory(directory: Path) -> None:
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


def _offer_dashboard(
    settings: SearchSettings, display: Display, server: Server | None, opened: ExitStack
) -> Callable[[], None]:
    """Serve the dashboard if wanted, until `opened` closes; return a function that says where."""
    later = command_line(["run_search.py", "--dashboard-only", *settings.study_flags])
    if server is None:
        return partial(display.log, f"dashboard: {later}")
    address = serve_dashboard(
        settings.study_dir, settings.storage, server, writable=settings.dashboard_writable
    )
    opened.callback(server.shutdown)
    return partial(display.note, f"dashboard: {address} while this search runs; later: {later}")

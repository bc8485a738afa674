"""A study, the single record of a search: held, and checked against this run."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.errors import StudyError
from search.files import is_locked, locked
from search.secrets import masked_url
from search.study.database import Outages, held_storage, is_held
from search.study.facts import (
    COMPARABLE,
    check_study,
    split_sizes,
    split_words,
)
from search.study.front import best_first, by_value, front, within
from search.study.names import check_new_study_name
from search.study.objective import NO_LIMITS, Limits, objectives_of
from search.study.requests import ENQUEUED
from search.study.storage import (
    JOURNAL,
    file_of,
    is_server,
    open_storage,
    reading,
    remove_old_lock,
    repair_journal,
)
from search.study.stored import check_folder
from search.words import counted, listed

_GRID: Final = "grid"  # the sampler that replaces ranges by a few levels of each
_MIRROR_FLAGS: Final = {
    True: "with --mirror",
    False: "with --no-mirror",
    None: "without --mirror and --no-mirror",
}
FINISHED: Final = (TrialState.COMPLETE, TrialState.PRUNED)
ENDED: Final = (*FINISHED, TrialState.FAIL)
# Facts of a run that a study without an ended trial takes from the next run, beside `COMPARABLE`.
_SETTINGS: Final = ("seed", "settings", "minutes")
VERDICT: Final = "verdict"  # system attribute of a trial: the last verdict of the pruner
ENGINE_FACTS: Final = "keras_tuner"  # attribute of a trial: what its tuner must know of it
GIVEN: Final = "given"  # attribute of a trial: values enqueued with it, some outside of the ranges


def trial_seed(seed: int, number: int) -> int:
    """Return the seed of everything random in a trial; in [0, 2**32), distinct for near numbers."""
    return (seed * 1_000_003 + number) % 2**32


def begin_study(
    storage: BaseStorage,
    name: str,
    facts: Mapping[str, Any],
    first: Mapping[str, Mapping[str, Any]],
    say: Callable[[str], None],
    *,
    trains: bool = True,
) -> optuna.Study:
    """Create or continue a study in a storage that this process has locked.

    Args:
        storage: From `study_storage`.
        name: Name of the study.
        facts: What the study stores (see `create_or_continue`).
        first: Configurations of the first trials, by name.
        say: Called with a line for the user.
        trains: See `create_or_continue`.

    Raises:
        StudyError: Its trials are not comparable.
    """
    study = create_or_continue(storage, name, facts, trains=trains)
    if _has_another_queue(study, first):
        optuna.delete_study(study_name=name, storage=storage)
        study = create_or_continue(storage, name, facts)
    if requeued := _requeue_abandoned(study):
        say(f"requeued {counted(requeued, 'interrupted trial')}")
    enqueue_first(study, first)
    return study


@contextmanager
def study_storage(
    name: str, url: str | None, directory: Path, say: Callable[[str], None], outages: Outages
) -> Iterator[BaseStorage]:
    """Open the storage of a study, held for this process.

    Args:
        name: Name of the study.
        url: Database; None for a journal file in `directory`.
        directory: Folder of the study.
        say: Called with a line for the user.
        outages: Waits while a database server is away.

    Raises:
        StudyError: Another process searches the study.
        StorageError: It cannot be opened.
    """
    journal = directory / JOURNAL
    if is_server(url):
        storage = open_storage(journal, url)
        assert isinstance(storage, RDBStorage)
        with held_storage(storage, name, outages) as held:
            yield held
        return

    def refusal(holder: str) -> StudyError:
        return StudyError(
            f"study {name!r} is being searched by {holder}. Wait for it or stop it, or start "
            "another study with --study NAME."
        )

    # Over NFS, the lock of a folder excludes the processes of one machine only.
    with locked(directory, refusal), locked(_shared_file(journal, name, url), refusal):
        if url is None and remove_old_lock(journal):
            say(f"{journal}: removed the lock that a killed process left")
        storage = open_storage(journal, url)
        names = optuna.get_all_study_names(storage)
        if url is None:
            check_folder(journal, name, names)
            # Last, after all checks: a file that is refused must not change.
            if cut := repair_journal(journal):
                say(f"{journal}: cut off {cut} bytes of an unfinished last line")
                storage = open_storage(journal, url)
        yield storage


def is_searched(name: str, url: str | None, directory: Path) -> bool:
    """Return whether a process holds a study, on any machine if it is in a database on a server.

    Args:
        name: As for `study_storage`, likewise the others.
        url: As there.
        directory: As there.

    Raises:
        StorageError: The database cannot be read.
    """
    if url is not None and is_server(url):
        with reading(masked_url(url)):
            return is_held(url, name)
    return is_locked(directory) or is_locked(_shared_file(directory / JOURNAL, name, url))


def _shared_file(journal: Path, name: str, url: str | None) -> Path:
    """Return the file to lock against other machines and, for SQLite, other results folders."""
    file = file_of(url, journal)
    if file in (None, journal):
        return journal
    return file.with_name(f"{file.name}.{name}.lock")


def create_or_continue(
    storage: BaseStorage, name: str, facts: Mapping[str, Any], *, trains: bool = True
) -> optuna.Study:
    """Create a study, or continue it if its trials are comparable with those to come.

    A study in which no trial has ended yet, and none was enqueued by a user, takes the new facts:
    it is made anew if they differ in more than where and by which command they come.

    Args:
        storage: Holds the study.
        name: Name of the study.
        facts: Stored as attributes of the study. Those in `COMPARABLE` must not differ from the
            stored ones; the others are kept for each run, under `runs`.
        trains: Whether this run has trials to train; if not, it is marked, since its command does
            not repeat the search.

    Raises:
        StudyError: It holds trials that are not comparable, of another program, or damaged.
        SettingsError: It is new, and its name has characters that would need quotes.
    """
    if name not in optuna.get_all_study_names(storage):
        check_new_study_name(name)
    objectives = objectives_of(facts)
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        directions=objectives.directions,
        load_if_exists=True,
    )
    stored = study.user_attrs
    if not study.get_trials(deepcopy=False):
        found = [direction.name.lower() for direction in study.directions]
        if found != objectives.directions and (not stored or "space" in stored):
            # It was refused, stopped or cut off at once.
            optuna.delete_study(study_name=name, storage=storage)
            return create_or_continue(storage, name, facts)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            # Labels of the dashboard's axes.
            study.set_metric_names(objectives.names)
    check_study(study)
    check_comparable(study, facts)
    if _differing(stored, facts) or (not keeps_facts(study) and _is_changed(stored, facts)):
        # It was refused or stopped at once; its queue may be of another space.
        optuna.delete_study(study_name=name, storage=storage)
        return create_or_continue(storage, name, facts)
    for key, value in facts.items():
        if key not in stored:
            study.set_user_attr(key, value)
    # Pixel statistics are long, and always the same for a data set.
    this_run = {k: value for k, value in facts.items() if k not in COMPARABLE and k != "pixels"}
    if not trains:
        this_run["trains"] = False
    runs = stored.get("runs", [])
    if this_run != (runs or [None])[-1]:
        study.set_user_attr("runs", [*runs, this_run])
    return study


def check_comparable(study: optuna.Study, facts: Mapping[str, Any]) -> None:
    """Check that the trials of a study, if any, are comparable with those to come.

    Args:
        study: From `check_study`. It is not changed.
        facts: Those in `COMPARABLE` must not differ from the stored ones.

    Raises:
        StudyError: It holds trials that are not comparable, or of another program.
    """
    name, stored = study.study_name, study.user_attrs
    if "space" not in stored and study.get_trials(deepcopy=False):
        raise StudyError(
            f"study {name!r} holds trials of another program; start another with --study NAME."
        )
    if not keeps_facts(study):
        return
    if differing := _differing(stored, facts):
        _refuse(name, differing, stored, facts)
    before, now = (one.get("settings", {}).get("sampler") for one in (stored, facts))
    if before != now and _GRID in (before, now):
        raise StudyError(
            f"study {name!r} has trials of --sampler {before}; this run asks for {now}, and only "
            f"{_GRID} has few levels of each range. Continue it with --sampler {before}, or start "
            "another with --study NAME."
        )


def _is_changed(stored: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Return whether the last run of a study, if any, had other settings."""
    last = (stored.get("runs") or [{}])[-1]
    return "space" in stored and any(last.get(key) != facts.get(key) for key in _SETTINGS)


def _has_another_queue(study: optuna.Study, first: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether a run that was stopped at once began with other configurations."""
    trials = study.get_trials(deepcopy=False)
    queue = {name: trial.user_attrs.get(GIVEN) for trial in trials if (name := known_as(trial))}
    return bool(trials) and not keeps_facts(study) and queue != first


def _differing(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    return [key for key in COMPARABLE if _differs(key, stored, wanted)]


def _differs(key: str, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    if key == "objective":
        return "space" in stored and objectives_of(stored) != objectives_of(wanted)
    if key not in stored:
        return False
    if key == "split":
        return split_sizes(stored[key]) != split_sizes(wanted[key])
    return bool(stored[key] != wanted[key])


def _refuse(
    name: str, keys: Sequence[str], stored: Mapping[str, Any], facts: Mapping[str, Any]
) -> NoReturn:
    if "data" in keys:  # sizes follow from them
        keys = [key for key in keys if key not in ("split", "epochs")]
    has = listed([f"{key} {_fact_words(key, stored)!r}" for key in keys])
    wanted = listed([repr(_fact_words(key, facts)) for key in keys])
    # Each once: --minutes may have chosen several sizes.
    advice = listed(list(dict.fromkeys(_advice(key, stored) for key in keys)))
    raise StudyError(
        f"study {name!r} has trials with {has}; this run asks for {wanted}, and the two "
        f"cannot be compared. Continue it {advice}, or start another with --study NAME."
    )


def _advice(key: str, stored: Mapping[str, Any]) -> str:
    if key in ("epochs", "split") and "minutes" in stored:
        return f"with its own --minutes {stored['minutes']:g}"
    if key == "mirror":
        return _MIRROR_FLAGS[stored[key]]
    return f"with its own {COMPARABLE[key]}"


def _fact_words(key: str, facts: Mapping[str, Any]) -> Any:
    """Return a fact as a message shows it."""
    match key:
        case "objective":
            return objectives_of(facts).text
        case "split":
            return split_words(split_sizes(facts[key]))
        case "mirror":
            return {True: "yes", False: "no"}.get(facts[key], "unknown")
        case "data" if "dataset" in facts:
            known = facts["dataset"]
            shape = "x".join(map(str, known["image_shape"]))
            return (
                f"{known['name']}: {len(known['class_names'])} classes, images of {shape}, MD5 "
                f"{facts[key]}"
            )
        case _:
            return facts[key]


def keeps_facts(study: optuna.Study) -> bool:
    """Return whether a study has trials that tie it to its facts.

    That is, trials that have ended, or that a user has enqueued; other studies take new facts.
    """
    return any(
        trial.state in ENDED or ENQUEUED in trial.user_attrs
        for trial in study.get_trials(deepcopy=False)
    )


def _requeue_abandoned(study: optuna.Study) -> int:
    """Queue the trials again that a killed coordinator left running; return their number."""
    abandoned = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in abandoned:
        requeue(study, trial)
    return len(abandoned)


def requeue(study: optuna.Study, trial: optuna.Trial | FrozenTrial) -> None:
    """Queue a running trial again, under its number and with its hyperparameters.

    Raises:
        UpdateFinishedTrialError: It has ended.
    """
    # Optuna has no public way to do this.
    study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


def claim(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """Begin a waiting trial; Optuna's `ask` would begin the one with the lowest number.

    Raises:
        UpdateFinishedTrialError: It has ended.
    """
    # Optuna has no public way to do this; its `ask` does the same.
    study._thread_local.cached_all_trials = None
    study._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
    return optuna.Trial(study, trial._trial_id)


def enqueue_first(study: optuna.Study, first: Mapping[str, Mapping[str, Any]]) -> None:
    """Queue configurations as the first trials, except those that the study already has.

    Args:
        study: The study.
        first: Hyperparameters by name of the configuration, in order.
    """
    trials = study.get_trials(deepcopy=False)
    # A failed one is tried again: its cause may have been fixed.
    queued = {known_as(trial) for trial in trials if trial.state != TrialState.FAIL}
    for name, params in untried(first, trials).items():
        if name not in queued:
            study.enqueue_trial(dict(params), user_attrs={"known_as": name, GIVEN: dict(params)})


def untried(
    first: Mapping[str, Mapping[str, Any]], trials: Sequence[FrozenTrial]
) -> dict[str, Mapping[str, Any]]:
    """Return the configurations of which none of the trials has finished, under any name."""
    finished = [trial for trial in trials if trial.state in FINISHED]
    names = {known_as(trial) for trial in finished}
    tried = [trial_params(trial) for trial in finished]
    return {
        name: params
        for name, params in first.items()
        if name not in names and dict(params) not in tried
    }


def known_as(trial: optuna.Trial | FrozenTrial) -> str | None:
    """Return the name of a configuration that the search began with; None for other trials."""
    name: str | None = trial.user_attrs.get("known_as")
    return name


def trial_name(trial: optuna.Trial | FrozenTrial) -> str | None:
    """Return where the configuration of a trial comes from; None if an engine proposed it."""
    return known_as(trial) or (ENQUEUED if ENQUEUED in trial.user_attrs else None)


def trial_params(trial: FrozenTrial) -> dict[str, Any]:
    """Return the hyperparameter values of a trial.

    Optuna's own parameters lack values that are never sampled, which published baselines have.
    """
    given: Mapping[str, Any] = trial.user_attrs.get(GIVEN, {})
    return {**given, **trial.params}


def count_states(study: optuna.Study) -> Counter[TrialState]:
    """Count the trials in each state."""
    return Counter(trial.state for trial in study.get_trials(deepcopy=False))


def complete_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the complete trials, the best first, the earlier one of equals first.

    With several objectives these are the trials of the front, the most accurate first, then those
    of the front of the others, and so on.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(study.directions) > 1:
        return best_first(complete)
    return by_value(complete)


def front_of(study: optuna.Study, limits: Limits = NO_LIMITS) -> list[FrozenTrial]:
    """Return the Pareto front of the trials of a study that are within limits."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return front(within(complete, limits))


def best_trial(study: optuna.Study, limits: Limits = NO_LIMITS) -> FrozenTrial | None:
    """Return the most accurate complete trial within limits, the earlier one of equals."""
    complete = within(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)), limits)
    return next(iter(by_value(complete)), None)


def ended_at_budget(trial: FrozenTrial) -> bool:
    """Whether a pruned trial ended at an early budget of KerasTuner's Hyperband."""
    return trial.state == TrialState.PRUNED and "epochs" in trial.user_attrs.get(ENGINE_FACTS, {})


def finished_since(study: optuna.Study, number: int | None) -> int:
    """Count the finished trials that began after a trial; without its number, count all.

    Trials are ordered by number, as clocks may be set back. Those that ended at an early budget do
    not count: they may be continued.
    """
    finished = study.get_trials(deepcopy=False, states=FINISHED)
    after = -1 if number is None else number
    return sum(trial.number > after and not ended_at_budget(trial) for trial in finished)

"""Read a study, running or finished, into tables; nothing is written."""

import copy
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from reporting.errors import ReportError
from search.command_line.flags import STORAGE_VARIABLE
from search.command_line.parser import called
from search.data.split import SplitSizes
from search.files import refuse_links
from search.study.facts import require_facts, split_sizes
from search.study.front import front
from search.study.objective import COSTS, Objectives, objectives_of
from search.study.requests import ENQUEUED
from search.study.storage import JOURNAL, open_storage, reading, shown_storage
from search.study.stored import known_study, studies_in
from search.study.study import FINISHED, known_as, trial_params
from spaces.errors import one_line

_ATTRS: Final = (
    *(
        "epochs",
        "parameters",
        "flops",
        "latency_ms",
        "latency_seconds",
        "seconds",
        "train_seconds",
        "val_seconds",
        "cpu_seconds",
    ),
    *("images_per_second", "seed", "ended", "reason", "duplicate_of"),
)

_REQUIRED: Final = ("space", "data", "split", "epochs", "precision")
_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")
UNKNOWN: Final = "no reason recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A search, as read from its study.

    Args:
        name: Name of the study.
        study: The study itself, for Optuna's evaluators; it may have new trials since.
        frozen: Its trials when it was read, by number.
        directory: Its folder.
        storage: Path or URL without password.
        facts: Attributes of the study: space, data, split, precision, versions, runs and so on.
        trials: One row per trial, by number: `state`, `value` (validation accuracy after the last
            epoch), `started`, `ended_at`, `name` (if the search began with it), the attributes of
            the trial (`epochs`, `parameters`, `flops`, `latency_ms`, `latency_seconds`, `seconds`,
            `train_seconds`, `cpu_seconds`, `images_per_second`, `seed`, `ended`, `reason`,
            `duplicate_of`), and `continued`: whether a later trial resumed it where it
            was pruned, as KerasTuner's Hyperband does.
        params: Hyperparameter values, by trial number; missing if the trial does not have it.
        curves: Validation accuracy by trial number and epoch (columns); a trial that resumed
            another has the epochs of both.
        times: Attributes of latency that were measured again for the report, by trial number.
    """

    name: str
    study: optuna.Study
    frozen: Sequence[FrozenTrial]
    directory: Path
    storage: str
    facts: Mapping[str, Any]
    trials: pd.DataFrame
    params: pd.DataFrame
    curves: pd.DataFrame
    times: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def complete(self) -> pd.DataFrame:
        """Rows of complete trials, best first; the earlier one of equals first."""
        rows = self.trials[self.trials["state"] == "COMPLETE"]
        return rows.sort_values("value", ascending=False, kind="stable")

    @property
    def finished(self) -> pd.DataFrame:
        """Rows of complete and pruned trials."""
        return self.trials[self.trials["state"].isin(["COMPLETE", "PRUNED"])]

    @property
    def first_judged(self) -> int | None:
        """The epoch after which the first trials were stopped; None: none were."""
        pruned = self.trials.loc[self.trials["state"] == "PRUNED", "epochs"].dropna()
        return None if pruned.empty else int(pruned.min())

    def after(self, epoch: int) -> "Record":
        """Return the search as if its finished trials had ended after an epoch.

        Those that trained it are complete, with the value that they had then; others have failed,
        also those that continued a trial after it: their configuration counts once.
        """
        numbers = set(self.finished.index)
        frozen = []
        for trial in self.frozen:
            ended = copy.copy(trial)
            value = trial.intermediate_values.get(epoch) if trial.number in numbers else None
            ended.state = TrialState.FAIL if value is None else TrialState.COMPLETE
            ended.values = None if value is None else [value]
            frozen.append(ended)
        values = pd.Series({one.number: one.values[0] for one in frozen if one.values}, dtype=float)
        states = [trial.state.name for trial in frozen]
        value = values.reindex(self.trials.index)
        trials = self.trials.assign(state=states, value=value, continued=False)
        return replace(self, frozen=frozen, trials=trials)

    @property
    def front(self) -> list[FrozenTrial]:
        """The Pareto front of a search with several objectives, the most accurate first.

        If latency has been measured again, the front uses the new times.
        """
        if not self.objectives.several:
            return []
        found = front(self.frozen)
        return front([self.timed(trial) for trial in found]) if self.times else found

    def timed(self, trial: FrozenTrial) -> FrozenTrial:
        """Return a trial with its latency as it was measured again."""
        times = self.times.get(trial.number)
        if times is None:
            return trial
        timed = copy.copy(trial)
        timed.user_attrs = {**trial.user_attrs, **times}
        timed.values = [
            times["latency_ms"] if name == "latency_ms" else value
            for name, value in zip(self.objectives.names, trial.values, strict=True)
        ]
        return timed

    @property
    def space(self) -> str:
        """Name of the space, as `spaces.load_space` takes it."""
        return str(self.facts["space"])

    @property
    def objectives(self) -> Objectives:
        """What the search maximized, and what it minimized."""
        return objectives_of(self.facts)

    @property
    def objective(self) -> str:
        """What the search maximized: `accuracy` or `balanced_accuracy`."""
        return self.objectives.maximized

    @property
    def measure(self) -> str:
        """The same in words: `validation accuracy`."""
        return self.objectives.words

    @property
    def max_epochs(self) -> int:
        """Largest number of epochs of a trial."""
        return int(self.facts["epochs"])

    @property
    def sizes(self) -> SplitSizes:
        """Sizes of the training and the validation part in the search."""
        return split_sizes(self.facts["split"])

    def trial_params(self, number: int) -> dict[str, Any]:
        """Return the hyperparameter values of a trial."""
        return trial_params(self.frozen[number])


def read_study(results_dir: Path, name: str | None, url: str | None) -> Record:
    """Open a study and read it.

    Args:
        results_dir: Folder of the studies, one folder each.
        name: Name of the study; None: of those with finished trials, the one whose
            journal was written last.
        url: URL of a database; None: the journal in the study's folder.

    Raises:
        SettingsError: Its name cannot be that of a folder.
        ReportError: It has no complete trial, or another program made it.
        StudyError: There is no such study; or it is damaged: a fact or a trial cannot be used.
        StorageError: The storage cannot be opened or read, or its folder holds a link.
    """
    if name is None:
        name = _latest(results_dir, url)
    study = known_study(name, results_dir, url)
    directory = results_dir / name
    where = shown_storage(url, directory.resolve())
    with reading(where):
        trials = study.get_trials(deepcopy=False)
        facts = study.user_attrs
    if trials and "space" not in facts:
        raise ReportError(f"study {name!r} in {where} was made by another program.")
    if not any(trial.state == TrialState.COMPLETE for trial in trials):
        ended = {trial.state for trial in trials if trial.state.is_finished()}
        if ended == {TrialState.FAIL}:
            reasons = [trial.user_attrs.get("reason") for trial in trials]
            reason = next((one for one in reversed(reasons) if one), UNKNOWN)
            raise ReportError(
                f"study {name!r} in {where} has no complete trial: all have failed, last reason: "
                f"{one_line(reason)}. Fix the cause, then run the search again."
            )
        raise ReportError(
            f"study {name!r} in {where} has no complete trial yet. Run the search again "
            "to resume it; if all its trials were pruned, give a larger --trials."
        )
    require_facts(study, _REQUIRED)
    trials = [_with_costs(trial, objectives_of(facts)) for trial in trials]
    parents = _parents(trials)
    return Record(
        name=name,
        study=study,
        frozen=trials,
        directory=directory,
        storage=where,
        facts=facts,
        trials=pd.DataFrame(
            [_row(trial) | {"continued": trial.number in parents.values()} for trial in trials]
        ).set_index("number"),
        params=pd.DataFrame(
            [trial_params(trial) for trial in trials], index=[trial.number for trial in trials]
        ),
        curves=_curves(trials, parents),
    )


def _with_costs(trial: FrozenTrial, objectives: Objectives) -> FrozenTrial:
    """Return a trial whose minimized values are among its attributes too.

    A dashboard, or a program that adds a trial of its own, writes values alone.
    """
    attrs = {
        COSTS[name].attr: value
        for name, value in zip(objectives.minimized, (trial.values or [])[1:], strict=False)
    }
    if attrs.keys() <= trial.user_attrs.keys():
        return trial
    known = copy.copy(trial)
    known.user_attrs = {**attrs, **trial.user_attrs}
    return known


def _parents(trials: Sequence[FrozenTrial]) -> dict[int, int]:
    """Return the number of the trial that each resumed trial continues."""
    facts = {trial.number: trial.user_attrs.get("keras_tuner", {}) for trial in trials}
    return {
        number: known["promoted_from"]
        for number, known in facts.items()
        if known.get("promoted_from") is not None and known["initial_epoch"]
    }


def _curves(trials: Sequence[FrozenTrial], parents: Mapping[int, int]) -> pd.DataFrame:
    curves: dict[int, dict[int, float]] = {}
    for trial in trials:  # parents come before their children
        before = curves.get(parents.get(trial.number, -1), {})
        curves[trial.number] = before | trial.intermediate_values
    frame = pd.DataFrame(list(curves.values()), index=list(curves))
    return frame.sort_index(axis="columns")


def _row(trial: FrozenTrial) -> dict[str, Any]:
    last = max(trial.intermediate_values, default=None)
    return {
        "number": trial.number,
        "state": trial.state.name,
        "name": known_as(trial),
        "enqueued": ENQUEUED in trial.user_attrs,
        "value": _value(trial) if last is None else trial.intermediate_values[last],
        "started": trial.datetime_start,
        "ended_at": trial.datetime_complete,
        **{name: trial.user_attrs.get(name) for name in _ATTRS},
    }


def _value(trial: FrozenTrial) -> float | None:
    # The first one of several objectives is an accuracy.
    return trial.values[0] if trial.values else None


def _latest(results_dir: Path, url: str | None) -> str:
    if url is not None:
        raise ReportError(
            f"--storage (or ${STORAGE_VARIABLE}) names a database and needs --study: name "
            "one of its studies."
        )
    names = sorted(
        studies_in(results_dir),
        key=lambda name: (results_dir / name / JOURNAL).stat().st_mtime,
        reverse=True,
    )
    if not names:
        raise ReportError(
            f"there is no study in {results_dir} yet. Run {called('run_search.py')} first, "
            "or give the folder by --results-dir."
        )
    return next((name for name in names if _has_finished(results_dir / name)), names[0])


def _has_finished(directory: Path) -> bool:
    """Return whether a trial of the study in this folder has finished."""
    refuse_links(directory)
    journal = (directory / JOURNAL).resolve()
    with reading(str(journal)), suppress(KeyError):  # it has no study of that name
        study = optuna.load_study(study_name=directory.name, storage=open_storage(journal, None))
        return any(trial.state in FINISHED for trial in study.get_trials(deepcopy=False))
    return False


def seconds_taken(record: Record) -> pd.Series:
    """Return the seconds of each trial: measured by the worker, else from start to end."""
    measured = pd.to_numeric(record.trials["seconds"], errors="coerce")
    times = start_and_end(record)
    return measured.fillna(times["end"] - times["start"])


def seconds_of_training(record: Record) -> pd.Series:
    """Return the seconds of each trial without those in which its latency was measured."""
    measuring = pd.to_numeric(record.trials["latency_seconds"], errors="coerce")
    return seconds_taken(record) - measuring.fillna(0.0)


def epochs_trained(record: Record) -> pd.Series:
    """Return the epochs of each trial: counted by the worker, else those that have a value."""
    counted = pd.to_numeric(record.trials["epochs"], errors="coerce")
    return counted.fillna(record.curves.notna().sum(axis="columns")).astype(float)


def training_costs(record: Record, images: int) -> pd.DataFrame:
    """Return `startup` and `image` of each trial, in seconds: before its first epoch, for an image.

    The rate that a trial measured leaves out its start and the compilation in its first epoch,
    which may take longer than a short trial's training. Without a rate they count as training.

    Args:
        record: The search.
        images: Number of images of the training part, validation images included.
    """
    sizes = record.sizes
    trained = epochs_trained(record) * sizes.epoch_cost(images)
    seconds = seconds_of_training(record)
    rate = pd.to_numeric(record.trials["images_per_second"], errors="coerce")
    image = pd.concat([seconds / trained, 1 / rate.where(rate > 0)], axis="columns").min(axis=1)
    return pd.DataFrame({"startup": seconds - trained * image, "image": image})


def start_and_end(record: Record) -> pd.DataFrame:
    """Return `start` and `end` of each trial, in seconds since the first start of any trial."""
    started = pd.to_datetime(record.trials["started"])
    ended = pd.to_datetime(record.trials["ended_at"])
    first = started.min()
    return pd.DataFrame(
        {
            "start": (started - first).dt.total_seconds(),
            "end": (ended - first).dt.total_seconds(),
        }
    )


def duplicates(record: Record) -> pd.Series:
    """Return whether each trial was rejected as a duplicate of an earlier configuration."""
    failed = record.trials["state"] == "FAIL"
    return failed & record.trials["duplicate_of"].notna()


def failure_reasons(record: Record) -> pd.Series:
    """Return the reason of each trial that failed, with N for numbers.

    `non-finite loss in epoch 1` and `... in epoch 2` are one reason.
    """
    failed = record.trials[(record.trials["state"] == "FAIL") & ~duplicates(record)]
    return failed["reason"].map(_kind).astype(object)


def _kind(reason: object) -> str:
    return _NUMBER.sub("N", reason) if isinstance(reason, str) and reason else UNKNOWN

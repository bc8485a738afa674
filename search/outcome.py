"""How a run of a search ended: for a person, for programs, and for the command of `--on-end`."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.command_line.process import EXIT_CODES
from search.engines.samplers import is_used_up
from search.errors import StopReason
from search.settings import SearchSettings
from search.study.front import choose, rule_words, value_of
from search.study.health import Finding, Trials, findings
from search.study.requests import ENQUEUED
from search.study.stored import known_study
from search.study.study import count_states, front_of, trial_name, trial_params
from spaces import SPACES, DataShape, description, load_space


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best complete trial, by the rule of the search: within limits, or the knee of a front.

    Args:
        number: Number of the trial.
        value: Value of the maximized objective, on the validation images.
        values: Value of each objective, by its name in the study.
        params: Hyperparameter values by name.
        description: The network in words; None for a space that describes none.
        parameters: Number of weights; None if that is not known.
        name: Name of the configuration, if the search began with it; `enqueued` if a user did.
    """

    number: int
    value: float
    values: dict[str, float]
    params: dict[str, Any]
    description: str | None
    parameters: int | None
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The Pareto front of a search with several objectives.

    Args:
        rule: How `best` was chosen, in words.
        trials: Number and values of each trial, the most accurate first.
    """

    rule: str
    trials: list[dict[str, float]]


@dataclass(frozen=True, kw_only=True)  # no slots: `study` is kept
class Outcome:
    """How a run of a search ended.

    Args:
        name: Name of the study.
        storage: Path of the journal file, or the URL without its password.
        directory: Folder of the study.
        complete: Number of complete trials in the study; likewise `pruned` and `failed`.
        best: The best complete trial within the limits; None without one.
        front: The front; None in a search with one objective.
        seconds: Duration of this run.
        stopped_by: Why it ended early; None if the study holds all its trials.
        ran: Number of trials that this run finished.
        used_up: Whether every configuration of a finite space has been tried.
        enqueued: Number of trials that a user has enqueued and that wait to run.
        max_epochs: Maximum epochs of a trial.
        findings: What the checks of the search have found.
        url: Database of the study; None: the journal file.
    """

    name: str
    storage: str
    directory: Path
    complete: int
    pruned: int
    failed: int
    best: Best | None
    front: Front | None
    seconds: float
    stopped_by: StopReason | None
    ran: int
    used_up: bool
    enqueued: int
    max_epochs: int
    findings: Sequence[Finding]
    url: str | None = field(default=None, repr=False)  # it may hold a password

    @cached_property
    def study(self) -> optuna.Study:
        """The study, opened when it is first asked for."""
        return known_study(self.name, self.directory.parent, self.url)

    @property
    def finished(self) -> int:
        """Number of complete and pruned trials, which `--trials` counts."""
        return self.complete + self.pruned

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that `--json` prints and the command of `--on-end` gets."""
        return {
            "study": self.name,
            "finished": self.finished,
            "complete": self.complete,
            "pruned": self.pruned,
            "failed": self.failed,
            "enqueued": self.enqueued,
            "best": None if self.best is None else asdict(self.best),
            "front": None if self.front is None else asdict(self.front),
            "seconds": round(self.seconds, 3),
            "findings": [
                {"check": one.check.name, "found": one.words, "advice": one.check.advice}
                for one in self.findings
            ],
        }

    @property
    def interrupted(self) -> bool:
        """Whether the same command would continue the search."""
        return self.stopped_by in (*EXIT_CODES, StopReason.TIMEOUT)


def outcome_of(
    settings: SearchSettings,
    data: DataShape,
    study: optuna.Study,
    where: str,
    started: float,
    stopped_by: StopReason | None,
    before: int,
) -> Outcome:
    """Return how a run of a search ended, from what its study holds.

    Args:
        settings: Settings of the search.
        data: Shape of its images.
        study: The study.
        where: Path of the journal file, or the URL without its password.
        started: `time.monotonic()` at the start of the run.
        stopped_by: Why it ended early; None if the study holds all its trials.
        before: Number of finished trials before the run.
    """
    states = count_states(study)
    front = _front(study, settings)
    several = settings.objectives.several
    found = choose(study.get_trials(deepcopy=False), settings.limits, several=several)
    best = next(iter(found), None)
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    complete, pruned = states[TrialState.COMPLETE], states[TrialState.PRUNED]
    return Outcome(
        name=settings.study_name,
        storage=where,
        directory=settings.study_dir,
        complete=complete,
        pruned=pruned,
        failed=states[TrialState.FAIL],
        best=None if best is None else _best(best, settings, data),
        front=front,
        seconds=time.monotonic() - started,
        stopped_by=stopped_by,
        ran=complete + pruned - before,
        used_up=is_used_up(study),
        enqueued=sum(ENQUEUED in trial.user_attrs for trial in waiting),
        max_epochs=settings.max_epochs,
        findings=findings(Trials(study.get_trials(deepcopy=False), study.user_attrs)),
        url=settings.storage,
    )


def _front(study: optuna.Study, settings: SearchSettings) -> Front | None:
    objectives = settings.objectives
    if not objectives.several:
        return None
    trials: list[dict[str, float]] = [
        {"number": trial.number, **dict(zip(objectives.names, trial.values, strict=True))}
        for trial in front_of(study)
    ]
    return Front(rule=rule_words(settings.limits, several=True), trials=trials)


def _best(trial: FrozenTrial, settings: SearchSettings, data: DataShape) -> Best:
    params = trial_params(trial)
    return Best(
        number=trial.number,
        value=value_of(trial),
        values=dict(zip(settings.objectives.names, trial.values, strict=True)),
        params=params,
        description=_description(params, settings.space, data),
        parameters=trial.user_attrs.get("parameters"),
        name=trial_name(trial),
    )


def _description(params: Mapping[str, Any], space: str, data: DataShape) -> str | None:
    if space not in SPACES:
        return None  # loading a user's space here could import TensorFlow
    return description(load_space(space, data), params)

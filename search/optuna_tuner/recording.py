"""What the study holds of a search that KerasTuner runs: its trials, their ends and why."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, BruteForceSampler, GridSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from search.optuna_tuner.untried import is_whole

_FIXED_PARAMS = "fixed_params"  # Optuna's own name for values that no sampler draws
_FAILURE = "failure"
_TRACEBACK = "traceback"


def open_study(
    storage: BaseStorage,
    name: str,
    *,
    objective: Any,
    sampler: BaseSampler,
    pruner: BasePruner,
) -> optuna.Study:
    """Create the study, or open the one that is there.

    Args:
        storage: Where it lives.
        name: Its name.
        objective: KerasTuner's objective.
        sampler: Its sampler.
        pruner: Its pruner.

    Raises:
        ValueError: The study there has another objective.
    """
    direction: Literal["maximize", "minimize"] = (
        "maximize" if objective.direction == "max" else "minimize"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            sampler=sampler,
            pruner=pruner,
            direction=direction,
            load_if_exists=True,
        )
        names = study.metric_names or [objective.name]
        found = ", ".join(each.name.lower() for each in study.directions)
        if names != [objective.name] or found != direction:
            raise ValueError(
                f"study {name!r} is to {found} {', '.join(names)}; this search is to {direction} "
                f"{objective.name}. Choose another study_name or project_name."
            )
        if study.metric_names is None:
            study.set_metric_names(names)  # the dashboard's axes are labelled so
    return study


def are_waiting(study: optuna.Study) -> bool:
    """Whether somebody has enqueued trials."""
    return bool(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def remember_draw(study: optuna.Study, trial: optuna.Trial, params: Mapping[str, Any]) -> None:
    """Keep what was drawn, so that an interrupted trial can be run again with the same values."""
    study._storage.set_trial_system_attr(trial._trial_id, _FIXED_PARAMS, dict(params))


def wanted_params(study: optuna.Study, number: int) -> dict[str, Any]:
    """The values that a trial must have: those it was enqueued with, drew, or used."""
    return _wanted(study.get_trials(deepcopy=False)[number])


def tried_params(study: optuna.Study, space: Sequence[Any]) -> list[dict[str, Any]]:
    """The values of all trials that have used some, or are about to.

    Args:
        study: The study.
        space: KerasTuner's hyperparameters, parents before children.
    """
    tried = []
    for trial in study.get_trials(deepcopy=False):
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            tried.append(trial.params)
        elif trial.state == TrialState.RUNNING or (trial.state == TrialState.FAIL and trial.params):
            # What it has used may be a part of what it would have used: that closes nothing.
            params = _wanted(trial)
            if is_whole(params, space):
                tried.append(params)
    return tried


def begin_again(study: optuna.Study, number: int) -> optuna.Trial:
    """Start another trial with the values of one that failed, marked as Optuna marks retries."""
    failed = study.get_trials(deepcopy=False)[number]
    system_attrs = {
        "failed_trial": number,
        **failed.system_attrs,
        _FIXED_PARAMS: _wanted(failed),
        "retry_history": [*failed.system_attrs.get("retry_history", []), number],
    }
    kept = {k: v for k, v in failed.user_attrs.items() if k not in (_FAILURE, _TRACEBACK)}
    template = optuna.trial.create_trial(
        state=TrialState.RUNNING, user_attrs=kept, system_attrs=system_attrs
    )
    return optuna.Trial(study, study._storage.create_new_trial(study._study_id, template))


def complete(study: optuna.Study, number: int, value: float) -> None:
    """End a trial that has a value."""
    with _unless_stopped(study):
        study.tell(number, value)


def prune(study: optuna.Study, number: int) -> None:
    """End a trial that was stopped early; its value is the last one reported."""
    with _unless_stopped(study):
        study.tell(number, state=TrialState.PRUNED)


def fail(study: optuna.Study, number: int, reason: str, traceback: str | None = None) -> None:
    """End a trial that has no value.

    Args:
        study: The study.
        number: Number of the trial.
        reason: Why, in one line.
        traceback: Where, if an error was raised.
    """
    storage = study._storage
    trial_id = study.get_trials(deepcopy=False)[number]._trial_id
    storage.set_trial_user_attr(trial_id, _FAILURE, reason)
    if traceback:
        storage.set_trial_user_attr(trial_id, _TRACEBACK, traceback)
    with _unless_stopped(study):
        study.tell(number, state=TrialState.FAIL)


def running(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that run, or that a killed process left so."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def has_ended(study: optuna.Study, number: int) -> bool:
    """Whether a trial is complete, pruned or failed."""
    return study.get_trials(deepcopy=False)[number].state.is_finished()


def in_one_line(error: BaseException) -> str:
    """What went wrong, with the error's type."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def _wanted(trial: FrozenTrial) -> dict[str, Any]:
    return {**trial.system_attrs.get(_FIXED_PARAMS, {}), **trial.params}


@contextmanager
def _unless_stopped(study: optuna.Study) -> Iterator[None]:
    # After the trial has ended, these two may call study.stop(), which only study.optimize()
    # allows, and stumble over trials that failed early. What is left is looked up elsewhere.
    try:
        yield
    except (RuntimeError, ValueError, KeyError):
        if not isinstance(study.sampler, BruteForceSampler | GridSampler):
            raise

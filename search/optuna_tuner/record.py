"""The record of a project: the Optuna study in which its trials begin and end."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import optuna
from keras_tuner.engine.trial import Trial, TrialStatus
from optuna.samplers import BaseSampler, BruteForceSampler, GridSampler

# What a sampler draws must depend on seed and trial number alone: a search that is continued makes
# its sampler anew, and would repeat the draws of the first trials. Optuna's samplers take a seed
# only when they are made.
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.trial import FrozenTrial, TrialState

from search.engines.untried import (
    FIXED_PARAMS,
    find_untried,
    is_complete,
    is_tried,
    wanted_params,
)
from search.optuna_tuner.attempt import Attempt
from search.optuna_tuner.project import OWNER
from search.study.study import trial_seed
from spaces.errors import one_line

TRIAL_ID = "trial_id"  # attribute of a trial: its id in KerasTuner
_FAILURE = "failure"
_KILLED = "interrupted"  # reason of a trial whose process ended before the trial
_TRACEBACK = "traceback"
_MAX_DRAWS = 20  # of one trial; KerasTuner's random search gives up after as many


def own_seed(sampler: BaseSampler) -> int | None:
    """Return a seed drawn from a sampler that was made with a seed; None without one."""
    for state in _random_states(sampler):
        if state._rng is not None:  # `rng` would make one without a seed
            return int(state.rng.randint(2**31))
    return None


def reseed(sampler: BaseSampler, seed: int, number: int) -> None:
    """Make the next draws of a sampler depend on these numbers only.

    Args:
        sampler: The sampler; one that is not part of Optuna keeps its random state.
        seed: Seed of the search.
        number: Number of the trial.
    """
    for state in _random_states(sampler):
        state.rng.seed(trial_seed(seed, number))


class Record:
    """Begins and ends the trials of one project.

    `study._storage`, and the ids that it takes, are used where Optuna has no public method: to
    start a trial ahead of the queue, to fix its values, to draw them anew, and to write to a trial
    that another process started.

    Args:
        study: The study.
        owner: Id of the project, kept with its trials: other programs may add trials, too.
        seed: Seed of the search.
        tune_new_entries: Whether hyperparameters that a run names first are drawn.
    """

    def __init__(
        self, study: optuna.Study, owner: str, seed: int, *, tune_new_entries: bool
    ) -> None:
        self._study = study
        self._owner = owner
        self._seed = seed
        self._tune_new_entries = tune_new_entries

    def begin(self, trial_id: str, space: Sequence[Any]) -> Attempt | None:
        """Begin a trial: one from the queue, else a new one.

        Args:
            trial_id: Its id in KerasTuner.
            space: The hyperparameters known so far, parents before children.

        Returns:
            Its run; None if every configuration has been tried.
        """
        sampler = self._study.sampler
        while True:
            trials = self._study.get_trials(deepcopy=False)
            tried = list(_tried(trials, space))
            rng = random.Random(trial_seed(self._seed, len(tried)))
            untried = find_untried(space, tried, rng)
            if isinstance(sampler, GridSampler) and sampler.is_exhausted(self._study):
                untried = None
            if untried is None and all(t.state != TrialState.WAITING for t in trials):
                return None
            reseed(sampler, self._seed, len(trials))
            trial = self._study.ask()
            trial.set_user_attr(TRIAL_ID, trial_id)
            trial.set_user_attr(OWNER, self._owner)
            attempt = self._draw_untried(trial, space, tried, untried or {})
            if attempt is not None:
                return attempt

    def begin_again(self, trial_id: str, space: Sequence[Any]) -> Attempt:
        """Begin another trial with the values of the last run, marked as Optuna marks retries.

        Args:
            trial_id: Its id in KerasTuner.
            space: The hyperparameters known so far, parents before children.
        """
        failed = self._runs(trial_id)[-1]
        number = failed.number
        wanted = wanted_params(failed)
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            user_attrs={
                name: value
                for name, value in failed.user_attrs.items()
                if name not in (_FAILURE, _TRACEBACK)
            },
            system_attrs={
                "failed_trial": number,
                **failed.system_attrs,
                FIXED_PARAMS: wanted,
                "retry_history": [*failed.system_attrs.get("retry_history", []), number],
            },
        )
        key = self._study._storage.create_new_trial(self._study._study_id, template)
        return self._draw(optuna.Trial(self._study, key), space, wanted)

    def end(self, number: int, trial: Trial, *, pruned: bool) -> None:
        """End a trial as KerasTuner's trial has ended.

        Args:
            number: Number of the trial.
            trial: KerasTuner's trial.
            pruned: Whether it was stopped early; its value is then the last one reported.
        """
        if trial.status != TrialStatus.COMPLETED:
            nan = f"{(self._study.metric_names or ['objective'])[0]} is not a number"
            reason = trial.message.strip().splitlines()[-1] if trial.message else nan
            self.fail(number, reason, trial.message)
        elif pruned:
            self._tell(number, state=TrialState.PRUNED)
        else:
            self._tell(number, float(trial.score))

    def fail(self, number: int, reason: str, traceback: str | None = None) -> None:
        """End a trial that has no value.

        Args:
            number: Number of the trial.
            reason: Why, in one line.
            traceback: Of the error, if there was one.
        """
        trial_id = self._trial(number)._trial_id
        self._study._storage.set_trial_user_attr(trial_id, _FAILURE, reason)
        if traceback:
            self._study._storage.set_trial_user_attr(trial_id, _TRACEBACK, traceback)
        self._tell(number, state=TrialState.FAIL)

    def fail_killed(self, trial: FrozenTrial) -> int:
        """End a trial that a killed process left running; return how often that happened to it."""
        self.fail(trial.number, _KILLED)
        runs = self._runs(trial.user_attrs.get(TRIAL_ID))
        return sum(each.user_attrs.get(_FAILURE) == _KILLED for each in runs)

    def running(self) -> list[FrozenTrial]:
        """Return the project's trials that run, or that a killed process left so."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial for trial in trials if trial.user_attrs.get(OWNER) == self._owner]

    def _runs(self, trial_id: str | None) -> list[FrozenTrial]:
        return [
            trial
            for trial in self._study.get_trials(deepcopy=False)
            if trial.user_attrs.get(OWNER) == self._owner
            and trial.user_attrs.get(TRIAL_ID) == trial_id
        ]

    def _trial(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]

    def _draw_untried(
        self,
        trial: optuna.Trial,
        space: Sequence[Any],
        tried: list[dict[str, Any]],
        untried: dict[str, Any],
    ) -> Attempt | None:
        """Draw until the values are new; None if a grid has none but tried ones for this trial."""
        sampler = self._study.sampler
        wanted = wanted_params(self._trial(trial.number))
        if wanted or isinstance(sampler, BruteForceSampler):
            return self._draw(trial, space, wanted or untried)
        for draw in range(_MAX_DRAWS):
            if draw:
                trial = optuna.Trial(self._study, trial._trial_id)  # draws anew
            attempt = self._draw(trial, space, {})
            if not is_tried(attempt.params, tried):
                return attempt
            if isinstance(sampler, GridSampler):
                self.fail(trial.number, "not run: an earlier trial has this configuration")
                return None
        return self._draw(trial, space, untried)

    def _draw(self, trial: optuna.Trial, space: Sequence[Any], wanted: dict[str, Any]) -> Attempt:
        try:
            attempt = Attempt(
                self._study, trial, space, wanted=wanted, tune_new_entries=self._tune_new_entries
            )
        except BaseException as error:
            self.fail(trial.number, f"not run: {one_line(error, typed=True)}")
            raise
        # An interrupted trial is run again with these, and no sampler draws them.
        self._study._storage.set_trial_system_attr(
            trial._trial_id, FIXED_PARAMS, dict(attempt.params)
        )
        return attempt

    def _tell(
        self, number: int, value: float | None = None, state: TrialState | None = None
    ) -> None:
        try:
            self._study.tell(number, value, state=state)
        except (RuntimeError, ValueError, KeyError):
            # After the trial has ended, these two call study.stop(), which only study.optimize()
            # allows, and fail over trials that ended early. `begin` finds what is left by itself.
            if not isinstance(self._study.sampler, BruteForceSampler | GridSampler):
                raise


def _tried(trials: list[FrozenTrial], space: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Yield the values of all trials that have used some, or are about to."""
    for trial in trials:
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            yield trial.params
        elif trial.state == TrialState.RUNNING or (trial.state == TrialState.FAIL and trial.params):
            # A failed trial may have read only a part of its configuration: that excludes nothing.
            params = wanted_params(trial)
            if params and is_complete(params, space):
                yield params


def _random_states(sampler: BaseSampler) -> Iterator[LazyRandomState]:
    for value in vars(sampler).values():
        if isinstance(value, LazyRandomState):
            yield value
        elif isinstance(value, BaseSampler):
            yield from _random_states(value)

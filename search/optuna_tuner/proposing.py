"""Who proposes: the study's sampler, until it has drawn values that nobody has tried."""

import random
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.samplers import BruteForceSampler, GridSampler

from search.optuna_tuner import recording
from search.optuna_tuner.attempt import Attempt
from search.optuna_tuner.seeding import reseed
from search.optuna_tuner.untried import find_untried, is_tried
from search.study.study import trial_seed

_MAX_DRAWS = 20  # of one trial; KerasTuner's random search gives up after as many
_TRIAL_ID = "trial_id"
_PROJECT = "project"


class Proposer:
    """Begins trials of a study.

    Args:
        study: The study.
        project: Distinguishes their trials from those that other programs add.
        seed: Seed of the search.
        tune_new_entries: Whether hyperparameters first named in a run are drawn, too.
    """

    def __init__(
        self, study: optuna.Study, project: str, seed: int, *, tune_new_entries: bool
    ) -> None:
        self._study = study
        self._project = project
        self._seed = seed
        self._tune_new_entries = tune_new_entries

    def propose(self, trial_id: str, space: Sequence[Any]) -> Attempt | None:
        """Begin a trial: an enqueued one, else a new one.

        Args:
            trial_id: KerasTuner's.
            space: The hyperparameters known so far, parents before children.

        Returns:
            The attempt; None if every configuration has been tried.
        """
        sampler = self._study.sampler
        while True:
            tried = recording.tried_params(self._study, space)
            rng = random.Random(trial_seed(self._seed, len(tried)))
            untried = find_untried(space, tried, rng)
            if isinstance(sampler, GridSampler) and sampler.is_exhausted(self._study):
                untried = None
            if untried is None and not recording.are_waiting(self._study):
                return None
            reseed(sampler, self._seed, len(self._study.get_trials(deepcopy=False)))
            trial = self._study.ask()
            trial.set_user_attr(_TRIAL_ID, trial_id)
            trial.set_user_attr(_PROJECT, self._project)
            attempt = self._draw_new(trial, space, tried, untried or {})
            if attempt is not None:
                return attempt

    def repeat(self, number: int, space: Sequence[Any]) -> Attempt:
        """Begin another trial with the values of one that failed.

        Args:
            number: Number of that one.
            space: The hyperparameters known so far, parents before children.
        """
        trial = recording.begin_again(self._study, number)
        return self._draw(trial, space, recording.wanted_params(self._study, trial.number))

    def _draw_new(
        self,
        trial: optuna.Trial,
        space: Sequence[Any],
        tried: list[dict[str, Any]],
        untried: dict[str, Any],
    ) -> Attempt | None:
        """None if a grid has no other values for this trial than those of an earlier one."""
        sampler = self._study.sampler
        wanted = recording.wanted_params(self._study, trial.number)
        if wanted or isinstance(sampler, BruteForceSampler):
            return self._draw(trial, space, wanted or untried)
        for draw in range(_MAX_DRAWS):
            if draw:
                trial = optuna.Trial(self._study, trial._trial_id)
            attempt = self._draw(trial, space, {})
            if not is_tried(attempt.params, tried):
                return attempt
            if isinstance(sampler, GridSampler):
                reason = "not run: an earlier trial has this configuration"
                recording.fail(self._study, trial.number, reason)
                return None
        return self._draw(trial, space, untried)

    def _draw(self, trial: optuna.Trial, space: Sequence[Any], wanted: dict[str, Any]) -> Attempt:
        try:
            attempt = Attempt(
                self._study, trial, space, wanted=wanted, tune_new_entries=self._tune_new_entries
            )
        except BaseException as error:
            recording.fail(self._study, trial.number, f"not run: {recording.in_one_line(error)}")
            raise
        recording.remember_draw(self._study, trial, attempt.params)
        return attempt

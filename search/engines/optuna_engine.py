"""Optuna engine: samplers choose configurations, pruners stop trials early."""

from collections.abc import Container, Sequence
from typing import Any, Final, final

import optuna
from optuna.distributions import BaseDistribution, CategoricalChoiceType
from optuna.trial import TrialState

from search.engines.engine import Budget
from search.engines.samplers import SAMPLERS, make_sampler, to_grid
from search.engines.trials import Note, StudyTrials
from search.study.objective import NO_LIMITS, Limits
from search.study.study import ENDED, trial_name

# After this many duplicate proposals, enumerate the remaining configurations; after twice as many,
# nothing remains.
_MAX_DUPLICATES: Final = 3


@final
class OptunaEngine:
    """An `Engine` of Optuna's samplers and pruners.

    Args:
        study: The study; its sampler and pruner are set here.
        sampler: A key of `SAMPLERS`.
        pruner: A key of `PRUNERS`.
        seed: Seed of the search.
        max_epochs: Maximum epochs of a trial.
        limits: The most that a network may cost in this run.
        note: Called with a line about a hyperparameter.

    Raises:
        SettingsError: A package that the sampler needs is not installed.
    """

    def __init__(
        self,
        study: optuna.Study,
        *,
        sampler: str,
        pruner: str,
        seed: int,
        max_epochs: int,
        limits: Limits = NO_LIMITS,
        note: Note = lambda text: None,
    ) -> None:
        self._max_epochs = max_epochs
        self._on_grid = SAMPLERS[sampler].on_grid
        self._sampler = make_sampler(sampler, study, seed, limits)
        self._trials = StudyTrials(study, self._sampler, pruner, max_epochs, note=note)
        self._duplicates = _duplicates_at_the_end(
            study
        )  # proposals in a row that were tried before

    def ask(self) -> optuna.Trial | None:
        """See `Engine`; None if every configuration has been tried."""
        if self._duplicates >= 2 * _MAX_DUPLICATES and not self._trials.waiting():
            return None
        self._sampler.enumerates = self._duplicates >= _MAX_DUPLICATES
        return self._trials.begin()

    def budget(self, trial: optuna.Trial, checkpoints: Container[int]) -> Budget:
        """See `Engine`; every trial may run all epochs."""
        return Budget(0, self._max_epochs)

    def suggest(
        self, trial: optuna.Trial, name: str, distribution: BaseDistribution
    ) -> CategoricalChoiceType:
        """See `Engine`."""
        grid = to_grid(distribution) if self._on_grid else distribution
        return self._trials.suggest(trial, name, grid)

    def learn(self, trial: optuna.Trial, space: list[dict[str, Any]]) -> None:
        """See `Engine`; samplers learn the space from the study."""

    def duplicate_of(self, trial: optuna.Trial, *, may_ask_more: bool = False) -> int | None:
        """See `Engine`."""
        earlier = self._trials.earlier(trial, may_ask_more=may_ask_more)
        if trial_name(trial) is None:  # a proposal of the sampler's
            self._duplicates = 0 if earlier is None else self._duplicates + 1
        return earlier

    def report(self, trial: optuna.Trial, epoch: int, value: float) -> bool:
        """See `Engine`."""
        return self._trials.report(trial, epoch, value)

    def complete(self, trial: optuna.Trial, values: float | Sequence[float]) -> None:
        """See `Engine`."""
        self._trials.end(trial, TrialState.COMPLETE, values)

    def prune(self, trial: optuna.Trial) -> None:
        """See `Engine`."""
        self._trials.end(trial, TrialState.PRUNED)

    def fail(self, trial: optuna.Trial) -> None:
        """See `Engine`."""
        self._trials.end(trial, TrialState.FAIL)

    def requeue(self, trial: optuna.Trial) -> None:
        """See `Engine`."""
        self._trials.requeue(trial)

    def promotable(self) -> set[int]:
        """See `Engine`; no trial continues another."""
        return set()


def _duplicates_at_the_end(study: optuna.Study) -> int:
    """Count the duplicates that ended last, as an uninterrupted search would have counted them."""
    count = 0
    for trial in reversed(study.get_trials(deepcopy=False, states=ENDED)):
        if trial_name(trial) is not None:
            continue
        if "duplicate_of" not in trial.user_attrs:
            break
        count += 1
    # After so many the search has ended; another run tries again.
    return count if count < 2 * _MAX_DUPLICATES else 0

"""Who proposes: Optuna's samplers choose configurations, its pruners stop trials early.

The other engine is in `search.engines.keras_tuner_engine`. An engine speaks for one study, of
which it is the only one to ask for trials. The coordinator calls `ask` and `budget`, then
`suggest` for each hyperparameter that the space asks for, `learn` and `duplicate_of` once the
model stands, `report` after each epoch, and one of `complete`, `prune`, `fail` and `requeue` at
the end.
"""

import json
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from search.engines.pruners import PRUNERS
from search.engines.samplers import SAMPLERS, make_sampler, to_grid
from search.errors import StudyError
from search.study.study import FINISHED

# So many proposals in a row that were tried before mean that little is left: enumerate it. As many
# again mean that nothing is left.
_DUPLICATES_IN_A_ROW = 3
_PRUNED_AT = "pruned_at"


@dataclass(frozen=True, slots=True)
class Budget:
    """Which epochs a trial trains.

    Args:
        initial_epoch: So many are done already, by `parent`.
        epochs: The last one, counted from the parent's first.
        parent: Number of the trial that it goes on with; None: of none.
    """

    initial_epoch: int
    epochs: int
    parent: int | None = None


class OptunaEngine:
    """Optuna's samplers and pruners over one study; higher values are better.

    Args:
        study: The study; its sampler and pruner are set here.
        sampler: A key of `SAMPLERS`.
        pruner: A key of `PRUNERS`.
        seed: Seed of the search.
        max_epochs: Most epochs of one trial.

    Raises:
        SettingsError: A package that the sampler needs is not installed.
    """

    def __init__(
        self, study: optuna.Study, *, sampler: str, pruner: str, seed: int, max_epochs: int
    ) -> None:
        self._study = study
        self._max_epochs = max_epochs
        # Schedules that end at 0 bring their gain last: past half-way, a trial that is still at a
        # high learning rate would lose to one that has settled for less.
        self._last_rung = max_epochs // 2
        self._on_grid = SAMPLERS[sampler].on_grid
        self._sampler = make_sampler(sampler, study, seed)
        study.sampler = self._sampler
        study.pruner = PRUNERS[pruner].make(max(1, self._last_rung))
        self._duplicates = 0
        self._reported: dict[int, int] = {}  # last epoch of earlier attempts, by trial number
        self._tried = {
            _key(trial.params): trial.number
            for trial in study.get_trials(deepcopy=False, states=FINISHED)
        }

    def ask(self) -> optuna.Trial | None:
        """Start a trial: the first of those waiting, else a new one.

        Returns:
            The trial, still without hyperparameters; None if every configuration has been tried.
        """
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if not waiting and self._duplicates >= 2 * _DUPLICATES_IN_A_ROW:
            return None
        self._sampler.enumerates = self._duplicates >= _DUPLICATES_IN_A_ROW
        trial = self._study.ask()
        before = self._study._storage.get_trial(trial._trial_id).intermediate_values
        self._reported[trial.number] = max(before, default=0)
        return trial

    def suggest(
        self, trial: optuna.Trial, name: str, distribution: BaseDistribution
    ) -> CategoricalChoiceType:
        """The value of one hyperparameter; the same one when asked again.

        Raises:
            StudyError: The study knows this name with other values: the space has changed.
        """
        if self._on_grid:
            distribution = to_grid(distribution)
        try:
            if isinstance(distribution, CategoricalDistribution):
                return trial.suggest_categorical(name, distribution.choices)
            if isinstance(distribution, IntDistribution):
                return trial.suggest_int(
                    name,
                    distribution.low,
                    distribution.high,
                    step=distribution.step,
                    log=distribution.log,
                )
            assert isinstance(distribution, FloatDistribution)
            return trial.suggest_float(
                name,
                distribution.low,
                distribution.high,
                step=distribution.step,
                log=distribution.log,
            )
        except ValueError as error:
            raise StudyError(
                f"study {self._study.study_name!r} knows hyperparameter {name!r} with other values "
                f"than the space or the sampler gives it now ({error}). Start another study with "
                "--study NAME, or go back to the earlier space and sampler."
            ) from error

    def budget(self, trial: optuna.Trial) -> Budget:
        """Which epochs the trial trains if nothing stops it: all."""
        return Budget(0, self._max_epochs)

    def without_checkpoint(self, trial: optuna.Trial) -> Budget:
        """The budget of a trial that should go on with another whose checkpoint is gone."""
        return self.budget(trial)

    def promotable(self) -> set[int]:
        """Trials that another one may still go on with: their checkpoints are needed."""
        return set()

    def learn(self, trial: optuna.Trial, space: list[dict[str, Any]]) -> None:
        """Take in what the trial's model was built from; Optuna's samplers know it already."""

    def duplicate_of(self, trial: optuna.Trial) -> int | None:
        """Number of the trial that has this configuration already; None if this is the first."""
        number = self._tried.setdefault(_key(trial.params), trial.number)
        if number == trial.number:
            self._duplicates = 0
            return None
        self._duplicates += 1
        return number

    def report(self, trial: optuna.Trial, epoch: int, value: float) -> bool:
        """Record the value of an epoch (the first is 1); True means stop this trial now."""
        # Not trial.report(): it keeps the first value when a requeued trial reports an epoch again.
        storage = self._study._storage
        storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
        if epoch <= self._reported[trial.number]:
            # An earlier attempt was judged here; rungs that it passed would be counted twice.
            return bool(trial.user_attrs.get(_PRUNED_AT) == epoch)
        stop = self._study.pruner.prune(self._study, storage.get_trial(trial._trial_id))
        stop &= epoch <= self._last_rung
        if stop:
            trial.set_user_attr(_PRUNED_AT, epoch)
        return stop

    def complete(self, trial: optuna.Trial, value: float) -> None:
        """End a trial that ran all its epochs."""
        self._tell(trial, value, TrialState.COMPLETE)

    def prune(self, trial: optuna.Trial) -> None:
        """End a trial that was stopped early; its value is that of its last epoch."""
        self._tell(trial, None, TrialState.PRUNED)

    def fail(self, trial: optuna.Trial) -> None:
        """End a trial that has no value."""
        self._tell(trial, None, TrialState.FAIL)

    def requeue(self, trial: optuna.Trial) -> None:
        """Let the trial wait to be run again, under its number and with its hyperparameters."""
        self._study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)

    def _tell(self, trial: optuna.Trial, value: float | None, state: TrialState) -> None:
        try:
            self._study.tell(trial, value, state=state)
        except ValueError as error:  # it runs no more: somebody else has just ended it
            raise UpdateFinishedTrialError(str(error)) from error


def _key(params: dict[str, CategoricalChoiceType]) -> str:
    # Steps are added up in several ways: 0.6000000000000001 is 0.6.
    rounded = {
        name: float(f"{value:.12g}") if isinstance(value, float) else value
        for name, value in params.items()
    }
    return json.dumps(rounded, sort_keys=True)

"""Who proposes, KerasTuner's way: its oracles choose, and all else is as with Optuna.

The study stays the only record: each run makes its oracle anew and tells it what the study knows.
"""

from collections.abc import Mapping
from typing import Any, Final

import optuna
from keras_tuner.engine.trial import TrialStatus
from optuna.trial import FrozenTrial, TrialState

from search.engines.optuna_engine import Budget, OptunaEngine
from search.engines.oracles import make_oracle, read_space
from search.engines.tuners import TUNERS
from search.training.hyperparameters import to_params, to_values

SPACE_ATTR: Final = "hyperparameters"
FACTS_ATTR: Final = "keras_tuner"
_OWN: Final = "tuner/"  # how the names of Hyperband's facts begin


class KerasTunerEngine(OptunaEngine):
    """KerasTuner's oracles over one study; higher values are better.

    Hyperparameters that no trial asked for before are drawn at random in the trial that does, and
    are the oracle's from then on.

    Args:
        study: The study; its sampler and pruner are set here.
        tuner: A key of `TUNERS`.
        pruner: A key of `PRUNERS`; unused by tuners that have epoch budgets.
        seed: Seed of the search.
        max_epochs: Most epochs of one trial.
        trials: Trials of the search.
        space: The hyperparameters, as KerasTuner writes them down.
    """

    def __init__(
        self,
        study: optuna.Study,
        *,
        tuner: str,
        pruner: str,
        seed: int,
        max_epochs: int,
        trials: int,
        space: list[dict[str, Any]],
    ) -> None:
        super().__init__(
            study,
            sampler="random",
            pruner="none" if TUNERS[tuner].has_budgets else pruner,
            seed=seed,
            max_epochs=max_epochs,
        )
        self._seed = seed
        self._tuner = tuner
        self._oracle = make_oracle(
            tuner,
            seed=seed,
            max_epochs=max_epochs,
            trials=trials,
            space=space,
        )
        self._keep_space()
        for trial in study.get_trials(deepcopy=False):
            self._recall(trial)

    def ask(self) -> optuna.Trial | None:
        """Start a trial: the first of those waiting, else what the oracle proposes.

        Returns:
            The trial, still without hyperparameters; None if the oracle has nothing to propose,
            before another trial has ended or at all.
        """
        trials = self._study.get_trials(deepcopy=False)
        waiting = any(trial.state == TrialState.WAITING for trial in trials)
        if not waiting and not self._propose(len(trials)):
            return None
        return super().ask()

    def learn(self, trial: optuna.Trial, space: list[dict[str, Any]]) -> None:
        """Take in what the trial's model was built from, new hyperparameters among it."""
        known = len(self._oracle.hyperparameters.space)
        self._oracle.update_space(read_space(space))
        if len(self._oracle.hyperparameters.space) > known:
            self._keep_space()
        self._begin(trial.number, trial.params, trial.user_attrs.get(FACTS_ATTR, {}))

    def promotable(self) -> set[int]:
        """See `OptunaEngine`."""
        return {int(trial_id) for trial_id in self._oracle.promotable()}

    def without_checkpoint(self, trial: optuna.Trial) -> Budget:
        """See `OptunaEngine`; kept as a fact of the trial."""
        facts = trial.user_attrs[FACTS_ATTR] | {"initial_epoch": 0}
        trial.set_user_attr(FACTS_ATTR, facts)
        return self.budget(trial)

    def budget(self, trial: optuna.Trial) -> Budget:
        """Which epochs the trial trains, and which trial it goes on with."""
        facts = trial.user_attrs.get(FACTS_ATTR, {})
        if "epochs" not in facts:
            return super().budget(trial)
        return Budget(facts["initial_epoch"], facts["epochs"], facts["promoted_from"])

    def duplicate_of(self, trial: optuna.Trial) -> int | None:
        """See `OptunaEngine`; a promoted trial rightly has its parent's configuration."""
        return None if self.budget(trial).parent is not None else super().duplicate_of(trial)

    def complete(self, trial: optuna.Trial, value: float) -> None:
        """See `OptunaEngine`."""
        super().complete(trial, value)
        self._end(trial.number, value)

    def prune(self, trial: optuna.Trial) -> None:
        """See `OptunaEngine`."""
        super().prune(trial)
        frozen = self._study._storage.get_trial(trial._trial_id)
        self._end(trial.number, _last_value(frozen))

    def fail(self, trial: optuna.Trial) -> None:
        """See `OptunaEngine`."""
        try:
            super().fail(trial)
        finally:  # one that was ended from outside has failed for the oracle
            self._end(trial.number, None)

    def _propose(self, number: int) -> bool:
        self._oracle.seed_trial(self._seed, number)
        response = self._oracle.populate_space(str(number))
        if response["status"] != TrialStatus.RUNNING:
            return False
        proposed = {name: _plain(value) for name, value in response["values"].items()}
        values = {name: proposed[name] for name in proposed if not name.startswith(_OWN)}
        # The values themselves too: Optuna's parameters are rounded, and the oracle knows its own.
        facts = {
            "tuner": self._tuner,
            "values": values,
            **self._oracle.facts_of(str(number), proposed),
        }
        params = to_params(values, self._oracle.hyperparameters.space)
        self._study.enqueue_trial(params, user_attrs={FACTS_ATTR: facts})
        self._begin(number, params, facts)
        return True

    def _begin(self, number: int, params: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        values = to_values(params, self._oracle.hyperparameters.space)
        self._oracle.begin(str(number), values | facts.get("values", {}))

    def _end(self, number: int, value: float | None) -> None:
        if str(number) in self._oracle.ongoing_trials:
            self._oracle.end(str(number), value)

    def _recall(self, trial: FrozenTrial) -> None:
        facts = trial.user_attrs.get(FACTS_ATTR, {})
        proposed = trial.system_attrs.get("fixed_params", {})
        self._begin(trial.number, proposed, facts)
        # A trial that failed while its model was built has not asked for all of them.
        self._begin(trial.number, {**proposed, **trial.params}, facts)
        if facts.get("tuner") == self._tuner:
            self._oracle.recall(str(trial.number), facts)
        if trial.state.is_finished():
            failed = trial.state == TrialState.FAIL
            self._end(trial.number, None if failed else _last_value(trial))

    def _keep_space(self) -> None:
        space = self._oracle.hyperparameters.get_config()["space"]
        if space != self._study.user_attrs.get(SPACE_ATTR):
            self._study.set_user_attr(SPACE_ATTR, space)


def _plain(value: Any) -> Any:
    """A number of Python's in place of one of NumPy's."""
    return value.item() if hasattr(value, "item") else value


def _last_value(trial: FrozenTrial) -> float:
    return trial.intermediate_values[max(trial.intermediate_values)]

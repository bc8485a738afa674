"""KerasTuner engine: its oracles choose configurations and, with Hyperband, epoch budgets.

The study is the only record: each run makes its oracle anew and replays the study to it.
"""

from collections.abc import Container, Sequence
from functools import partial
from typing import Any, Final, final

import optuna
from keras_tuner.engine import hyperparameters as kinds
from keras_tuner.engine.trial import TrialStatus
from optuna.distributions import BaseDistribution, CategoricalChoiceType
from optuna.trial import FrozenTrial, TrialState

from search.engines import oracles
from search.engines.engine import Budget
from search.engines.samplers import make_sampler
from search.engines.trials import Note, StudyTrials
from search.engines.tuners import TUNERS
from search.engines.untried import is_complete, question, wanted_params
from search.study.requests import ENQUEUED
from search.study.study import ENGINE_FACTS, FINISHED
from search.training.hyperparameters import to_params

SPACE_ATTR: Final = "hyperparameters"


@final
class KerasTunerEngine:
    """An `Engine` of KerasTuner's oracles.

    A hyperparameter that the oracle does not know yet is drawn at random in the first trial that
    uses it; from then on the oracle proposes it.

    Args:
        study: The study; its sampler and pruner are set here.
        tuner: A key of `TUNERS`.
        pruner: A key of `PRUNERS`; unused by tuners that have epoch budgets.
        seed: Seed of the search.
        max_epochs: Maximum epochs of a trial.
        trials: Number of trials of the search.
        space: The hyperparameters, as KerasTuner's configs.
        note: Called with a line about a hyperparameter.
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
        note: Note,
    ) -> None:
        self._study = study
        self._tuner = tuner
        self._seed = seed
        self._max_epochs = max_epochs
        self._make_oracle = partial(
            getattr(oracles, TUNERS[tuner].oracle), seed=seed, epochs=max_epochs, trials=trials
        )
        self._oracle = self._make_oracle(space=space)
        self._trials = StudyTrials(
            study,
            make_sampler("random", study, seed),
            "none" if TUNERS[tuner].has_budgets else pruner,
            max_epochs,
            note=note,
            definitions=dict(
                question(known)
                for known in self._oracle.hyperparameters.space
                if not isinstance(known, kinds.Fixed)
            ),
        )
        self._save_space()
        self._replay_all()

    def ask(self) -> optuna.Trial | None:
        """See `Engine`."""
        if not self._trials.waiting() and not self._propose():
            return None
        return self._trials.begin()

    def budget(self, trial: optuna.Trial, checkpoints: Container[int]) -> Budget:
        """See `Engine`; without the checkpoint of its parent, a trial starts from epoch 1."""
        facts = trial.user_attrs.get(ENGINE_FACTS, {})
        if "epochs" not in facts:
            return Budget(0, self._max_epochs)
        if facts["initial_epoch"] and facts["promoted_from"] not in checkpoints:
            facts = facts | {"initial_epoch": 0}
            trial.set_user_attr(ENGINE_FACTS, facts)  # the report adds up what a result has cost
        return Budget(facts["initial_epoch"], facts["epochs"], facts["promoted_from"])

    def suggest(
        self, trial: optuna.Trial, name: str, distribution: BaseDistribution
    ) -> CategoricalChoiceType:
        """See `Engine`."""
        return self._trials.suggest(trial, name, distribution)

    def learn(self, trial: optuna.Trial, space: list[dict[str, Any]]) -> None:
        """See `Engine`."""
        known = len(self._oracle.hyperparameters.space)
        self._oracle.update_space(oracles.read_space(space))
        if len(self._oracle.hyperparameters.space) > known:
            self._save_space()
        self._oracle.begin(str(trial.number), trial.params)

    def duplicate_of(self, trial: optuna.Trial, *, may_ask_more: bool = False) -> int | None:
        """See `Engine`; a promoted trial has the configuration of its parent."""
        earlier = self._trials.earlier(trial, may_ask_more=may_ask_more)
        promoted = trial.user_attrs.get(ENGINE_FACTS, {}).get("promoted_from") is not None
        return None if promoted else earlier

    def report(self, trial: optuna.Trial, epoch: int, value: float) -> bool:
        """See `Engine`."""
        return self._trials.report(trial, epoch, value)

    def complete(self, trial: optuna.Trial, values: float | Sequence[float]) -> None:
        """See `Engine`; KerasTuner knows one objective."""
        value = values if isinstance(values, float) else values[0]
        self._trials.end(trial, TrialState.COMPLETE, value)
        self._end(trial.number, value)

    def prune(self, trial: optuna.Trial) -> None:
        """See `Engine`."""
        ended = self._trials.end(trial, TrialState.PRUNED)
        self._end(trial.number, ended.value)

    def fail(self, trial: optuna.Trial) -> None:
        """See `Engine`."""
        try:
            self._trials.end(trial, TrialState.FAIL)
        finally:  # for the oracle, a trial that was ended from outside has failed
            self._end(trial.number, None)

    def requeue(self, trial: optuna.Trial) -> None:
        """See `Engine`."""
        self._trials.requeue(trial)

    def promotable(self) -> set[int]:
        """See `Engine`."""
        return {int(trial_id) for trial_id in self._oracle.promotable()}

    def _propose(self) -> bool:
        """Enqueue a trial with the next proposal of the oracle, if it has one."""
        trials = self._study.get_trials(deepcopy=False)
        trial_id = str(len(trials))
        space = self._oracle.hyperparameters.space
        self._oracle.seed_trial(self._seed, len(trials))
        self._oracle.tried = _tried_params(trials, space)
        response = self._oracle.populate_space(trial_id)
        if response["status"] != TrialStatus.RUNNING:
            return False
        values = response["values"]
        facts = {"tuner": self._tuner, **self._oracle.facts_of(trial_id, values)}
        parent = facts.get("promoted_from")
        params = to_params(values, space) if parent is None else trials[parent].params
        self._study.enqueue_trial(params, user_attrs={ENGINE_FACTS: facts})
        if ENQUEUED in self._study.get_trials(deepcopy=False)[len(trials)].user_attrs:
            # Another process has taken the number, by which the oracle knows its proposal.
            self._oracle = self._make_oracle(
                space=self._oracle.hyperparameters.get_config()["space"]
            )
            self._replay_all()
        else:
            self._oracle.begin(trial_id, params)
        return True

    def _end(self, number: int, score: float | None) -> None:
        if str(number) in self._oracle.ongoing_trials:
            self._oracle.end(str(number), score)

    def _replay_all(self) -> None:
        for trial in self._study.get_trials(deepcopy=False):
            self._replay(trial)

    def _replay(self, trial: FrozenTrial) -> None:
        trial_id = str(trial.number)
        self._oracle.begin(trial_id, wanted_params(trial))
        facts = trial.user_attrs.get(ENGINE_FACTS, {})
        if facts.get("tuner") == self._tuner:
            self._oracle.recall(trial_id, facts)
        if trial.state.is_finished():
            failed = trial.state == TrialState.FAIL
            self._end(trial.number, None if failed else trial.value)

    def _save_space(self) -> None:
        space = self._oracle.hyperparameters.get_config()["space"]
        if space != self._study.user_attrs.get(SPACE_ATTR):
            self._study.set_user_attr(SPACE_ATTR, space)


def _tried_params(trials: list[FrozenTrial], space: list[Any]) -> list[dict[str, Any]]:
    tried = []
    for trial in trials:
        if trial.state in FINISHED and trial.params:
            tried.append(trial.params)
        # Any other trial may have used only a part of what it would have used.
        elif is_complete(params := wanted_params(trial), space):
            tried.append(params)
    return tried

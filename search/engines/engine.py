"""The interface of an engine, which proposes the trials of a study, and how one is made."""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution, CategoricalChoiceType

from search.study.objective import Limits
from search.training.hardware import start_tensorflow


@dataclass(frozen=True, slots=True)
class Budget:
    """The epochs that a trial trains.

    Args:
        initial_epoch: Epochs that its parent has trained; it continues from there.
        epochs: The last epoch, counted from the first of the parent.
        parent: Number of the trial whose configuration it continues; None: it continues none.
    """

    initial_epoch: int
    epochs: int
    parent: int | None = None


class Engine(Protocol):
    """Proposes configurations for one study, records their values and decides which to stop.

    Only the engine asks the study for trials. The coordinator calls, for each trial,
    `ask` and `budget`, then `suggest` for each question of the space, `learn` and `duplicate_of`
    when the model is built, `report` after each epoch, `learn` again after training, and one
    ending: `complete`, `prune`, `fail` or `requeue`. Endings raise `UpdateFinishedTrialError` if
    the trial has been ended from outside.
    """

    def ask(self) -> optuna.Trial | None:
        """Start a trial: the first waiting one, else a new one.

        Returns:
            The trial, without hyperparameters yet. None if nothing can be proposed: at all, or
            before a running trial has ended.
        """

    def budget(self, trial: optuna.Trial, checkpoints: Container[int]) -> Budget:
        """Return the epochs of a trial that was just asked for.

        Args:
            trial: The trial.
            checkpoints: Numbers of the trials that can be continued.
        """

    def suggest(
        self, trial: optuna.Trial, name: str, distribution: BaseDistribution
    ) -> CategoricalChoiceType:
        """Return the value of one hyperparameter; the same one when asked again.

        Raises:
            StudyError: The trial was enqueued with a value that the hyperparameter cannot have.
            UnusableError: A study cannot store one of its choices or bounds.
        """

    def learn(self, trial: optuna.Trial, space: list[dict[str, Any]]) -> None:
        """Learn the hyperparameters that a trial has used, as KerasTuner's configs."""

    def duplicate_of(self, trial: optuna.Trial, *, may_ask_more: bool = False) -> int | None:
        """Return the number of an earlier trial with the same configuration; None if it is new.

        One that may still ask for hyperparameters is new unless an earlier one has asked for no
        more.
        """

    def report(self, trial: optuna.Trial, epoch: int, value: float) -> bool:
        """Record the value of an epoch (the first is 1); return whether to stop the trial now."""

    def complete(self, trial: optuna.Trial, values: float | Sequence[float]) -> None:
        """End a trial that has run all its epochs, with the value of each objective."""

    def prune(self, trial: optuna.Trial) -> None:
        """End a trial that was stopped early; its value is that of its last epoch."""

    def fail(self, trial: optuna.Trial) -> None:
        """End a trial without a value."""

    def requeue(self, trial: optuna.Trial) -> None:
        """Queue a trial to be run again, under its number and with its hyperparameters."""

    def promotable(self) -> set[int]:
        """Return the numbers of the trials that another one may still continue."""


def make_engine(
    study: optuna.Study,
    *,
    engine: str,
    algorithm: str,
    pruner: str,
    seed: int,
    max_epochs: int,
    limits: Limits,
    trials: int,
    find_space: Callable[[], list[dict[str, Any]]],
    note: Callable[[str], None],
) -> Engine:
    """Make the engine of a study.

    Args:
        study: The study.
        engine: `optuna` or `keras-tuner`.
        algorithm: A key of `SAMPLERS` or of `TUNERS`.
        pruner: A key of `PRUNERS`.
        seed: Seed of the search.
        max_epochs: Maximum epochs of a trial.
        limits: The most that a network may cost in this run.
        trials: Number of trials of the search.
        find_space: Returns the hyperparameters as KerasTuner's configs; called by its engine if
            the study does not have them yet.
        note: Called with a line about a hyperparameter.

    Raises:
        SearchError: A package is missing, or the hyperparameters cannot be found.
    """
    if engine == "optuna":
        from search.engines.optuna_engine import OptunaEngine

        return OptunaEngine(
            study,
            sampler=algorithm,
            pruner=pruner,
            seed=seed,
            max_epochs=max_epochs,
            limits=limits,
            note=note,
        )
    # KerasTuner imports TensorFlow, which takes 5 seconds.
    start_tensorflow(devices=False)
    from search.engines.keras_tuner_engine import SPACE_ATTR, KerasTunerEngine

    known = study.user_attrs.get(SPACE_ATTR)
    return KerasTunerEngine(
        study,
        tuner=algorithm,
        pruner=pruner,
        seed=seed,
        max_epochs=max_epochs,
        trials=trials,
        space=find_space() if known is None else known,
        note=note,
    )

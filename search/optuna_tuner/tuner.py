"""A tuner of Keras models that searches with Optuna, in place of KerasTuner's own tuners."""

import copy
import os
import traceback
from typing import Any

import keras
import keras_tuner
import optuna
from keras_tuner.engine.trial import Trial
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

from search.optuna_tuner.attempt import Attempt
from search.optuna_tuner.oracle import OptunaOracle
from search.optuna_tuner.project import Project

_STATE = "tuner0.json"


class OptunaTuner(keras_tuner.Tuner):  # type: ignore[misc]
    """Search with Optuna's samplers, and stop poor trials between epochs.

    It is used like `keras_tuner.RandomSearch`. The objective of each epoch is reported to Optuna,
    as step 1, 2, ...; if a trial has several executions, that of the first. A trial that the pruner
    stops is `COMPLETED` in KerasTuner, with its best value, and `PRUNED` in the study; among the
    best trials it follows the complete ones. Nothing is pruned after its last epoch.

    In your own training loop, in `HyperModel.fit` or `run_trial`, the call that reports an epoch to
    the callbacks or to `on_epoch_end` raises `optuna.TrialPruned` to leave the loop.

    To continue an interrupted search, run the same program again: the trial that was running is run
    again with its values.

    Args:
        hypermodel: A `keras_tuner.HyperModel`, or a function that takes the hyperparameters and
            returns a compiled model; None for a subclass with its own `run_trial`.
        objective: A metric's name, a `keras_tuner.Objective`, or a list of them: the sum is
            minimized, metrics to maximize counting negatively, and nothing is pruned. None:
            `HyperModel.fit` or `run_trial` returns one float to minimize.
        max_trials: Maximum number of trials, failed ones included, retries not; None: until the
            space is exhausted.
        sampler: One of `optuna.samplers`; None: `TPESampler`, multivariate, in groups.
        pruner: One of `optuna.pruners`; None: `MedianPruner` after 5 complete trials, from the
            second epoch on. `NopPruner()` prunes nothing.
        storage: One of `optuna.storages`, a database URL, or None for the journal `study.journal`
            in the project's folder, which `optuna-dashboard` can show during the search.
        study_name: Name of the study; None: `project_name`.
        seed: Seed for a sampler made without one; None: a random seed. Weights and data are not
            seeded.
        hyperparameters: Overrides or declares entries of the search space.
        tune_new_entries: Whether other entries are searched; otherwise they take their defaults.
        allow_new_entries: Whether the hypermodel may name other entries.
        max_retries_per_trial: How often a trial that crashed or returned NaN is run again.
        max_consecutive_failed_trials: Number of failed trials in a row that ends the search.
        **kwargs: As for `keras_tuner.Tuner`: `max_model_size`, `optimizer`, `loss`, `metrics`,
            `distribution_strategy`, `directory`, `project_name`, `logger`, `tuner_id`,
            `overwrite` (deletes the project's folder and its study), `executions_per_trial`.

    Raises:
        ValueError: An argument has an unusable value, or a hyperparameter has two conditions.
        RuntimeError: KerasTuner's multi-worker mode is on, or a project that is to be overwritten
            is being searched.
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_trials: int | None = 50,
        *,
        sampler: BaseSampler | None = None,
        pruner: BasePruner | None = None,
        storage: BaseStorage | str | None = None,
        study_name: str | None = None,
        seed: int | None = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        **kwargs: Any,
    ) -> None:
        self.seed = seed
        self._loop: _Loop | None = None
        oracle = OptunaOracle(
            objective,
            max_trials,
            sampler=sampler,
            pruner=pruner,
            storage=storage,
            study_name=study_name,
            seed=seed,
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        if kwargs.get("overwrite"):
            folder = kwargs.get("directory") or "."
            name = kwargs.get("project_name") or "untitled_project"
            with Project(os.path.join(folder, name)).lock():
                super().__init__(oracle, hypermodel, **kwargs)
                oracle.delete_overwritten()
        else:
            super().__init__(oracle, hypermodel, **kwargs)

    @property
    def study(self) -> optuna.Study:
        """The study, for Optuna's plots and importances.

        Raises:
            ValueError: The storage cannot be opened, or the study there has another objective.
        """
        study: optuna.Study = self.oracle.study
        return study

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Search; the arguments are passed to `HyperModel.fit`, and by it to `Model.fit`.

        Raises:
            RuntimeError: Another tuner is searching this project, or too many trials failed in a
                row.
            ValueError: The study belongs to another project.
        """
        self.oracle.begin()
        try:
            self.save()  # from here on, an interruption loses nothing
            super().search(*fit_args, **fit_kwargs)
        except BaseException as error:
            self.oracle.interrupt(error)
            raise

    def on_epoch_begin(self, trial: Trial, model: Any, epoch: int, logs: Any = None) -> None:
        """See `keras_tuner.Tuner`.

        Raises:
            TrialPruned: The trial was pruned, but the training loop has gone on.
        """
        if self.oracle.attempt(trial.trial_id).pruned:
            raise optuna.TrialPruned

    def on_epoch_end(self, trial: Trial, model: Any, epoch: int, logs: Any = None) -> None:
        """See `keras_tuner.Tuner`; reports the objective, if it is in `logs`.

        Raises:
            TrialPruned: The trial is pruned, and its training loop ignores `model.stop_training`.
        """
        attempt = self.oracle.attempt(trial.trial_id)
        if attempt.pruned:
            raise optuna.TrialPruned
        attempt.epochs += 1
        objective = self.oracle.objective
        # Each execution starts again: later ones do not continue the curve of the first.
        if attempt.executions > 1 or not logs or not objective.has_value(logs):
            return
        value = objective.get_value(logs)
        is_last = self._loop is not None and self._loop.is_last and self.executions_per_trial == 1
        if self.oracle.report(trial.trial_id, value, epoch + 1, is_last=is_last):
            if model is not None:
                model.stop_training = True
            if self._loop is None:
                raise optuna.TrialPruned

    def save(self) -> None:
        """See `keras_tuner.Tuner`; a crash leaves the old state or the new one."""
        self.oracle.save()
        Project(self.project_dir).write(_STATE, self.get_state())

    # The rest overrides internals of KerasTuner, which has no public method for these steps.

    def _run_and_update_trial(self, trial: Trial, *fit_args: Any, **fit_kwargs: Any) -> None:
        try:
            super()._run_and_update_trial(trial, *fit_args, **fit_kwargs)
        except optuna.TrialPruned:
            # Left to KerasTuner, it would be printed like a crash. The oracle reads the message.
            trial.message = traceback.format_exc()

    def _build_and_fit_model(self, trial: Trial, *args: Any, **kwargs: Any) -> Any:
        attempt = self.oracle.attempt(trial.trial_id)
        attempt.executions += 1
        if "callbacks" in kwargs:
            self._loop = _Loop(attempt)
            # Last, so that the epoch is saved and logged before the loop is left.
            kwargs["callbacks"] = [*kwargs["callbacks"], self._loop]
        try:
            results = super()._build_and_fit_model(trial, *args, **kwargs)
        finally:
            self._loop = None
        if attempt.pruned and attempt.executions < self.executions_per_trial:
            raise optuna.TrialPruned
        return results

    def _configure_tensorboard_dir(
        self, callbacks: list[Any], trial: Trial, execution: int = 0
    ) -> None:
        shown = copy.copy(trial)
        shown.hyperparameters = trial.hyperparameters.peek()
        super()._configure_tensorboard_dir(callbacks, shown, execution)

    def _get_tuner_fname(self) -> str:
        # KerasTuner saves under its tuner_id, but reloads tuner0 only.
        return os.path.join(self.project_dir, _STATE)


class _Loop(keras.callbacks.Callback):  # type: ignore[misc]
    """Watches a training loop, and leaves it for good once the trial is pruned.

    Args:
        attempt: The run that trains.

    Attributes:
        is_last: Whether the current epoch is known to be the last one.
    """

    def __init__(self, attempt: Attempt) -> None:
        super().__init__()
        self.is_last = False
        self._attempt = attempt

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """See `keras.callbacks.Callback`."""
        self.is_last = bool(self.params) and self.params.get("epochs") == epoch + 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """See `keras.callbacks.Callback`."""
        # Model.fit, the only loop that sets parameters, stops by itself.
        if not self.params and self._attempt.pruned:
            raise optuna.TrialPruned

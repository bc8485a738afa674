"""An oracle that asks Optuna: the study chooses, prunes and records, KerasTuner runs."""

import warnings
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from numbers import Integral
from typing import Any

import keras_tuner
import optuna
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.src.distribute.utils import has_chief_oracle
from keras_tuner.src.engine.metrics_tracking import MetricsTracker
from keras_tuner.src.engine.objective import MultiObjective
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, MedianPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import BaseStorage

from search.optuna_tuner import recording
from search.optuna_tuner.attempt import Attempt
from search.optuna_tuner.durable import DurableOracle, gave_up
from search.optuna_tuner.project import (
    ProjectInUseError,
    lock_project,
    mend_journal,
    open_project_storage,
)
from search.optuna_tuner.proposing import Proposer
from search.optuna_tuner.seeding import own_seed

_PROJECT = "project"
_TRIAL_ID = "trial_id"


class OptunaOracle(DurableOracle):
    """Optuna's sampler, pruner and study behind KerasTuner's interface.

    It serves `keras_tuner.Tuner` and its subclasses, `SklearnTuner`, and any `BaseTuner` with a
    `run_trial` of its own, which prunes by

        if self.oracle.report(trial.trial_id, value, step):
            raise optuna.TrialPruned

    (or by returning early). Each run of a trial is an Optuna trial: a retry begins another one. It
    holds the values that the run asked for, its intermediate values, and the user attributes
    `trial_id` (KerasTuner's), `project` (told apart by it), `seconds`, `epochs` (if known), `fixed`
    (values of `hp.Fixed`), `failure` and `traceback` (of a failed one). The sampler chooses from
    the first trial on: the default configuration is not tried first (see `Study.enqueue_trial` for
    that).

    Args:
        objective: A metric's name, a `keras_tuner.Objective`, or a list of them: the sum is
            minimized, those to maximize counting negatively, and nothing is pruned. None:
            `run_trial` returns one float to minimize.
        max_trials: Most trials, failed ones included, retries not; None: until the space is
            exhausted.
        sampler: One of `optuna.samplers`; None: `TPESampler`, multivariate, in groups.
        pruner: One of `optuna.pruners`; None: `MedianPruner` after 5 complete trials, from the
            second step on. `NopPruner()` prunes nothing.
        storage: One of `optuna.storages`, a database URL, or None: the journal `study.journal` in
            the project's folder.
        study_name: Name of the study; None: the project's name.
        seed: Seed of a sampler that has none of its own; None: another one each time.
        hyperparameters: Overrides or declares entries of the search space.
        allow_new_entries: Whether the hypermodel may name hyperparameters beyond those.
        tune_new_entries: Whether these are searched; else they take their defaults.
        max_retries_per_trial: How often a trial that crashed or returned NaN is run again.
        max_consecutive_failed_trials: So many failed trials in a row end the search.

    Raises:
        ValueError: An argument is none of the above.
        RuntimeError: KerasTuner's multi-worker mode is switched on.
    """

    def __init__(
        self,
        objective: Any = None,
        max_trials: int | None = 50,
        *,
        sampler: BaseSampler | None = None,
        pruner: BasePruner | None = None,
        storage: BaseStorage | str | None = None,
        study_name: str | None = None,
        seed: int | None = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        allow_new_entries: bool = True,
        tune_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
    ) -> None:
        _require("sampler", sampler, BaseSampler, "an object of optuna.samplers, or None")
        _require("pruner", pruner, BasePruner, "an object of optuna.pruners, or None")
        is_url = isinstance(storage, str) and "://" in storage
        database = "an Optuna storage, a database URL such as sqlite:///study.db, or None"
        _require("storage", None if is_url else storage, BaseStorage, database)
        _require("study_name", study_name, str, "a string, or None")
        _require("seed", seed, Integral, "an integer, or None")
        _require("max_trials", max_trials, Integral, "1 or more, or None")
        _require_count("max_retries_per_trial", max_retries_per_trial, 0)
        _require_count("max_consecutive_failed_trials", max_consecutive_failed_trials, 1)
        if max_trials is not None and max_trials < 1:
            raise ValueError(f"max_trials must be 1 or more, or None; got {max_trials!r}.")
        if has_chief_oracle():
            raise RuntimeError(
                "KerasTuner's multi-worker mode (KERASTUNER_ORACLE_IP) hides the oracle from its "
                "workers, so that nothing can be pruned; unset it. Several processes search one "
                "study with run_search.py --engine optuna --workers N."
            )
        super().__init__(
            objective=objective,
            max_trials=max_trials,
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            seed=seed,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        if seed is not None:  # KerasTuner takes 0 for none
            self.seed = self._seed_state = seed
        _refuse_two_conditions(self.hyperparameters.space)
        self._sampler = sampler or _default_sampler()
        self._sampler_seed = own_seed(self._sampler)
        self._pruner = pruner or MedianPruner(n_startup_trials=5, n_warmup_steps=2)
        self._storage = storage
        self._study_name = study_name
        self._study: optuna.Study | None = None
        self._lock = ExitStack()
        self._proposer: Proposer | None = None  # while the project is locked
        self._attempts: dict[str, Attempt] = {}

    @property
    def study(self) -> optuna.Study:
        """The study; it is made when first asked for.

        Raises:
            ValueError: The storage cannot be opened, or the study there has another objective.
        """
        if self._study is None:
            try:
                with lock_project(self._project_dir):
                    return self._open()
            except ProjectInUseError:  # whoever searches it has mended it
                self._study = self._load()
        return self._study

    def attempt(self, trial_id: str) -> Attempt:
        """The running attempt of a trial.

        Raises:
            ValueError: This trial does not run.
        """
        if trial_id not in self._attempts:
            running = ", ".join(self._attempts) or "none"
            raise ValueError(f"trial {trial_id!r} does not run; running: {running}.")
        return self._attempts[trial_id]

    def report(self, trial_id: str, value: float, step: int, *, is_last: bool = False) -> bool:
        """Record the objective after a step, such as an epoch.

        Args:
            trial_id: `trial_id` of a trial that runs.
            value: The objective.
            step: Above those before, 0 or more; one that is not is passed over.
            is_last: Whether no other step follows, so that pruning would save nothing.

        Returns:
            Whether the pruner wants the trial stopped now. It then counts as pruned, whatever
            `run_trial` returns or raises.

        Raises:
            ValueError: This trial does not run.
        """
        with self._locked():
            may_prune = not is_last and not isinstance(self.objective, MultiObjective)
            return self.attempt(trial_id).report(float(value), step, may_prune=may_prune)

    def begin(self) -> Proposer:
        """Take up the study where the project left it; `create_trial` does so, if need be.

        Nobody else can then search the project until the search ends or is interrupted.

        Returns:
            Who draws its trials.

        Raises:
            RuntimeError: Somebody else searches the project.
            ValueError: The study belongs to another project.
        """
        if self._proposer is None:
            self._lock = lock_project(self._project_dir)
            try:
                self._proposer = self._take_up()
            except BaseException:
                self._lock.close()
                raise
        return self._proposer

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """See `keras_tuner.Oracle`: values of a new trial, or STOPPED if nothing is left."""
        attempt = self.begin().propose(trial_id, self.hyperparameters.space)
        if attempt is None:
            return {"status": TrialStatus.STOPPED, "values": None}
        self._run(trial_id, attempt)
        return {"status": TrialStatus.RUNNING, "values": attempt.hyperparameters.peek().values}

    def create_trial(self, tuner_id: str) -> Trial:
        """See `keras_tuner.Oracle`.

        Raises:
            RuntimeError: Somebody else searches the project.
            ValueError: The study belongs to another project.
        """
        with self._locked():
            self.begin()
            left = self.ongoing_trials.get(tuner_id)
            if left is not None and left.trial_id not in self._attempts:  # a search was interrupted
                del self.ongoing_trials[tuner_id]
                if left.trial_id not in self.end_order:
                    self._retry_queue.append(left.trial_id)
            if self._retry_queue and tuner_id not in self.ongoing_trials:
                self._run_again(self.trials[self._retry_queue[-1]])
            try:
                trial = super().create_trial(tuner_id)
            except BaseException as error:
                self.interrupt(error)
                raise
            if trial.status == TrialStatus.STOPPED:
                self._let_go()
            if trial.status == TrialStatus.RUNNING:
                trial.hyperparameters = self._attempts[trial.trial_id].hyperparameters
            return trial

    def end_trial(self, trial: Trial | str, status: str = TrialStatus.COMPLETED) -> None:
        """See `keras_tuner.Oracle`.

        Args:
            trial: The trial; its id, as older programs give it, needs the status too.
            status: Of a trial that is given by its id.

        Raises:
            RuntimeError: Too many trials failed in a row, or a trial named a hyperparameter though
                `allow_new_entries` is False.
        """
        if isinstance(trial, str):
            trial = Trial(None, trial, status)
        with self._locked():
            attempt = self.attempt(trial.trial_id)
            try:
                trial.hyperparameters = attempt.hyperparameters.finish()
                if trial.status == TrialStatus.INVALID and gave_up(trial):
                    attempt.pruned = bool(attempt.reported)
                    trial.status = TrialStatus.FAILED  # at once: another try would end likewise
                if attempt.pruned:
                    self._complete_pruned(trial, attempt)
                super().end_trial(trial)
                attempt.describe()
                self._tell(self.trials[trial.trial_id], attempt.trial.number)
            except BaseException as error:
                self.interrupt(error)
                raise
            del self._attempts[trial.trial_id]
            if self.trials[trial.trial_id].status == TrialStatus.FAILED:
                try:
                    self._stop_after_failures()
                except RuntimeError:
                    self._let_go()
                    raise

    def interrupt(self, error: BaseException) -> None:
        """Let the study know that its running trials will not end; their values are tried again.

        Args:
            error: Why; kept with the trials.
        """
        for trial_id in list(self._attempts):
            attempt = self._attempts.pop(trial_id)
            number = attempt.trial.number
            with suppress(Exception):  # the error in hand matters more
                if recording.has_ended(self.study, number):
                    continue
                if trial_id in self.end_order:
                    self._save_trial(self.trials[trial_id])
                    self._tell(self.trials[trial_id], number)
                    continue
                attempt.hyperparameters.finish()
                attempt.describe()
                reason = f"interrupted ({recording.in_one_line(error)})"
                recording.fail(self.study, number, reason)
        self._let_go()

    def delete_study(self) -> None:
        """Delete this project's study from its storage, if it is there."""
        self._delete_study_of(self.project)

    def delete_overwritten(self) -> None:
        """Delete the study of a project whose folder `overwrite=True` has deleted."""
        project = self._take_overwritten()
        if project is not None:
            self._delete_study_of(project)

    def get_best_trials(self, num_trials: int = 1) -> list[Trial]:
        """The best trials: complete ones, best first, then pruned ones, then failed ones.

        Args:
            num_trials: Most trials to give.
        """
        ended = [t for t in self.trials.values() if t.status != TrialStatus.RUNNING]
        scored = [t for t in ended if t.status == TrialStatus.COMPLETED and t.score is not None]
        scored.sort(key=lambda t: t.score, reverse=self.objective.direction == "max")
        scored.sort(key=lambda t: t.trial_id in self.pruned)  # keeps the order within each part
        return [*scored, *(t for t in ended if t not in scored)][:num_trials]

    def update_space(self, hyperparameters: keras_tuner.HyperParameters) -> None:
        """See `keras_tuner.Oracle`.

        Raises:
            ValueError: A name has two conditions.
            RuntimeError: There are new entries though `allow_new_entries` is False.
        """
        _refuse_two_conditions([*self.hyperparameters.space, *hyperparameters.space])
        super().update_space(hyperparameters)

    def _take_up(self) -> Proposer:
        if self._reload_if_changed():
            self._study = None  # whoever has searched since may have made another one
        study = self._open()
        self.save()
        owner = study.user_attrs.get(_PROJECT)
        if owner != self.project and (owner is not None or self.trials):
            raise ValueError(
                f"study {self._name()!r} does not belong to the project in {self._project_dir}: "
                "give the storage and study_name that it was searched with, or choose another "
                "study_name or project_name."
            )
        study.set_user_attr(_PROJECT, self.project)
        for left in recording.running(study):
            if left.user_attrs.get(_PROJECT) != self.project:
                continue  # it is another program's, and may well run
            trial = self.trials.get(left.user_attrs.get(_TRIAL_ID, ""))
            if trial is None or trial.status == TrialStatus.RUNNING:
                recording.fail(study, left.number, "interrupted")
            else:
                self._tell(trial, left.number)
        seed = self.seed if self._sampler_seed is None else self._sampler_seed
        return Proposer(study, self.project, seed, tune_new_entries=self.tune_new_entries)

    def _let_go(self) -> None:
        """Let others search the project, unless trials of this search still run."""
        if not self._attempts:
            self._proposer = None
            self._lock.close()

    def _open(self) -> optuna.Study:
        """The study; only while nobody else searches the project."""
        self.delete_overwritten()
        if self._storage is None:
            mend_journal(self._project_dir)
        if self._study is None:
            self._study = self._load()
        return self._study

    def _load(self) -> optuna.Study:
        return recording.open_study(
            open_project_storage(self._storage, self._project_dir),
            self._name(),
            objective=self.objective,
            sampler=self._sampler,
            pruner=self._pruner,
        )

    def _delete_study_of(self, project: str) -> None:
        if self._storage is None:
            return  # it lives and dies with the project's folder
        storage = open_project_storage(self._storage, self._project_dir)
        with suppress(KeyError):
            study_id = storage.get_study_id_from_name(self._name())
            if storage.get_study_user_attrs(study_id).get(_PROJECT) == project:
                storage.delete_study(study_id)
        self._study = None

    def _name(self) -> str:
        return self._study_name or str(self._project_name)

    def _save_trial(self, trial: Trial) -> None:
        # Once it has been scored, by whatever a subclass makes of that.
        attempt = self._attempts.get(trial.trial_id)
        if attempt is not None and attempt.pruned and trial.status == TrialStatus.COMPLETED:
            self.pruned.add(trial.trial_id)
            trial.message = f"Pruned after step {max(attempt.reported)}."
        super()._save_trial(trial)

    def _run(self, trial_id: str, attempt: Attempt) -> None:
        self._attempts[trial_id] = attempt
        self.numbers[trial_id] = attempt.trial.number

    def _run_again(self, trial: Trial) -> None:
        number = self.numbers[trial.trial_id]
        attempt = self.begin().repeat(number, self.hyperparameters.space)
        self._run(trial.trial_id, attempt)
        trial.hyperparameters = attempt.hyperparameters.peek()  # until KerasTuner has shown it
        # KerasTuner would keep the NaN of a failed attempt, and take that for the score.
        trial.metrics = MetricsTracker()
        trial.score, trial.best_step, trial.message = None, 0, None
        trial.status = TrialStatus.RUNNING
        self.pruned.discard(trial.trial_id)
        self._save_trial(trial)

    def _complete_pruned(self, trial: Trial, attempt: Attempt) -> None:
        if trial.status != TrialStatus.COMPLETED:  # the run was left by an exception
            trial.status, trial.message = TrialStatus.COMPLETED, None
        metrics, name = self.trials[trial.trial_id].metrics, self.objective.name
        if not metrics.exists(name):
            metrics.register(name, self.objective.direction)
            for step, value in attempt.reported.items():
                metrics.update(name, value, step)

    def _tell(self, trial: Trial, number: int) -> None:
        if trial.status != TrialStatus.COMPLETED:
            reason = f"{self.objective.name} is not a number"
            if trial.message:
                reason = trial.message.strip().splitlines()[-1]
            recording.fail(self.study, number, reason, trial.message)
        elif trial.trial_id in self.pruned:
            recording.prune(self.study, number)
        else:
            recording.complete(self.study, number, float(trial.score))


def _require(name: str, value: object, kind: type, allowed: str) -> None:
    if value is not None and not isinstance(value, kind):
        raise ValueError(f"{name} must be {allowed}; got {value!r}.")


def _require_count(name: str, value: object, least: int) -> None:
    if not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be {least} or more; got {value!r}.")


def _refuse_two_conditions(space: Sequence[Any]) -> None:
    conditions: dict[str, Any] = {}
    for hyperparameter in space:
        name = hyperparameter.name
        if conditions.setdefault(name, hyperparameter.conditions) != hyperparameter.conditions:
            raise ValueError(
                f"hyperparameter {name!r} is defined under two conditions; give it two names."
            )


def _default_sampler() -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        # In groups, because parameters that a trial did not use are left out of it.
        return TPESampler(multivariate=True, group=True)

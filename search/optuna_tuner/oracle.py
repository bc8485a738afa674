"""An oracle for KerasTuner that proposes, prunes and records with Optuna."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import takewhile
from numbers import Integral
from threading import current_thread
from typing import Any
from uuid import uuid4

import keras_tuner
import optuna
from keras_tuner.engine.trial import Trial, TrialStatus

# keras_tuner.synchronized, which uses these, never releases its lock after an error.
from keras_tuner.src.engine.oracle import LOCKS, THREADS
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, MedianPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import BaseStorage

from search.optuna_tuner.attempt import Attempt
from search.optuna_tuner.project import OWNER, Project, ProjectInUseError
from search.optuna_tuner.record import TRIAL_ID, Record, own_seed
from spaces.errors import one_line

_STATE = "oracle.json"
# Begins the last line of a traceback of `TrialPruned`. KerasTuner hands an error of `run_trial` to
# an oracle only as the text of its traceback, which is also all that a trial keeps of it for the
# next run of the program.
_GAVE_UP = f"{optuna.TrialPruned.__module__}.{optuna.TrialPruned.__qualname__}"
_PRUNED = "pruned"
_ENDED = (TrialStatus.COMPLETED, TrialStatus.FAILED)
_MAX_KILLS = 3  # of one trial; more would kill each later run of the program, too


class OptunaOracle(keras_tuner.Oracle):  # type: ignore[misc]
    """Optuna's samplers, pruners and studies behind KerasTuner's oracle interface.

    It works with `keras_tuner.Tuner` and its subclasses, `SklearnTuner`, and any `BaseTuner` with
    its own `run_trial`, which prunes by

        if self.oracle.report(trial.trial_id, value, step):
            return value

    or by raising `optuna.TrialPruned`, for which KerasTuner prints a traceback.

    Each run of a trial is an Optuna trial; a retry is another one. It holds the values that the run
    read, its intermediate values, and the user attributes `trial_id` (KerasTuner's), `project` (an
    id), `seconds`, `epochs` (if known), `fixed` (values of `hp.Fixed`), `failure` and `traceback`
    (of a failed run). The default configuration is not tried first; use `Study.enqueue_trial` for
    that.

    A project survives a crash at any moment: state files are replaced whole, and the file of a
    trial, which is written first, overrides what the oracle's file says of it.

    The arguments are those of `OptunaTuner` that do not concern models.

    Attributes:
        pruned: Ids of the trials that were stopped early.

    Raises:
        ValueError: An argument has an unusable value.
        RuntimeError: KerasTuner's multi-worker mode is on.
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
        _require("sampler", sampler, BaseSampler | None, "an object of optuna.samplers, or None")
        _require("pruner", pruner, BasePruner | None, "an object of optuna.pruners, or None")
        is_url = isinstance(storage, str) and "://" in storage
        database = "an Optuna storage, a database URL such as sqlite:///study.db, or None"
        _require("storage", None if is_url else storage, BaseStorage | None, database)
        _require("study_name", study_name, str | None, "a string, or None")
        _require("seed", seed, Integral | None, "an integer, or None")
        _require("max_trials", max_trials, Integral | None, "1 or more, or None", least=1)
        _require("max_retries_per_trial", max_retries_per_trial, Integral, "0 or more", least=0)
        failures = max_consecutive_failed_trials
        _require("max_consecutive_failed_trials", failures, Integral, "1 or more", least=1)
        if "KERASTUNER_ORACLE_IP" in os.environ:
            raise RuntimeError(
                "KerasTuner's multi-worker mode (KERASTUNER_ORACLE_IP) hides the oracle from its "
                "workers, so that nothing can be pruned; unset it. To search with several "
                "processes, use run_search.py --engine optuna --workers N."
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
        self.pruned: set[str] = set()
        self._prunes = not isinstance(objective, list)
        self._sampler = sampler or _default_sampler()
        self._sampler_seed = own_seed(self._sampler)
        self._pruner = pruner or MedianPruner(n_startup_trials=5, n_warmup_steps=2)
        self._storage = storage
        self._study_name = study_name
        self._study: optuna.Study | None = None
        self._id = uuid4().hex  # of the project
        self._overwritten: str | None = None  # id of the project that was found in the folder
        self._known: dict[str, Any] | None = None  # state file as last saved or loaded
        self._lock = ExitStack()
        self._record: Record | None = None  # while the project is locked
        self._attempts: dict[str, Attempt] = {}  # running trials, by trial id

    @property
    def study(self) -> optuna.Study:
        """The study; it is created on first use.

        Raises:
            ValueError: The storage cannot be opened, or the study there has another objective.
        """
        if self._study is None:
            try:
                with self._project.lock():
                    return self._open()
            except ProjectInUseError:  # the other tuner has repaired the journal
                self._study = self._load()
        return self._study

    def attempt(self, trial_id: str) -> Attempt:
        """Return the current run of a trial.

        Raises:
            ValueError: The trial is not running.
        """
        if trial_id not in self._attempts:
            running = ", ".join(self._attempts) or "none"
            raise ValueError(f"trial {trial_id!r} is not running; running: {running}.")
        return self._attempts[trial_id]

    def report(self, trial_id: str, value: float, step: int, *, is_last: bool = False) -> bool:
        """Record the objective after a step, such as an epoch.

        Args:
            trial_id: `trial_id` of a running trial.
            value: The objective.
            step: 0 or more, and above the steps before; other steps are ignored.
            is_last: Whether no other step follows, so that pruning would save nothing.

        Returns:
            Whether the pruner stops the trial. It then counts as pruned, whatever `run_trial`
            returns or raises.

        Raises:
            ValueError: The trial is not running.
        """
        with self._locked():
            may_prune = self._prunes and not is_last
            return self.attempt(trial_id).report(float(value), step, may_prune=may_prune)

    def begin(self) -> Record:
        """Lock the project and continue its study; `create_trial` does so if needed.

        The project is unlocked when the search ends or is interrupted.

        Raises:
            RuntimeError: Another tuner is searching the project.
            ValueError: The study belongs to another project.
        """
        if self._record is None:
            with self._project.lock() as lock:
                self._record = self._continue()
                self._lock = lock.pop_all()
        return self._record

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """See `keras_tuner.Oracle`: values of a new trial, or STOPPED if none are left."""
        attempt = self.begin().begin(trial_id, self.hyperparameters.space)
        if attempt is None:
            return {"status": TrialStatus.STOPPED, "values": None}
        self._attempts[trial_id] = attempt
        return {"status": TrialStatus.RUNNING, "values": attempt.hyperparameters.peek().values}

    def create_trial(self, tuner_id: str) -> Trial:
        """See `keras_tuner.Oracle`.

        Raises:
            RuntimeError: Another tuner is searching the project.
            ValueError: The study belongs to another project.
        """
        with self._locked():
            self.begin()
            try:
                if self._retry_queue and tuner_id not in self.ongoing_trials:
                    self._run_again(self.trials[self._retry_queue[-1]])
                trial = super().create_trial(tuner_id)
            except BaseException as error:
                self.interrupt(error)
                raise
            if trial.status == TrialStatus.STOPPED:
                self._unlock()
            if trial.status == TrialStatus.RUNNING:
                trial.hyperparameters = self._attempts[trial.trial_id].hyperparameters
            return trial

    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Trial:
        """See `keras_tuner.Oracle`; `report` is for single epochs."""
        with self._locked():
            return super().update_trial(trial_id, metrics, step)

    def end_trial(self, trial: Trial | str, status: str = TrialStatus.COMPLETED) -> None:
        """See `keras_tuner.Oracle`.

        Args:
            trial: The trial, or its id, as older programs give it.
            status: Status of a trial that is given by its id.

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
                if _gave_up(trial):
                    attempt.pruned = bool(attempt.reported)
                    trial.status = TrialStatus.FAILED  # a retry would end likewise
                if attempt.pruned:
                    self._complete_pruned(trial, attempt)
                super().end_trial(trial)
                attempt.describe()
                ended, is_pruned = self.trials[trial.trial_id], trial.trial_id in self.pruned
                self.begin().end(attempt.trial.number, ended, pruned=is_pruned)
            except BaseException as error:
                self.interrupt(error)
                raise
            del self._attempts[trial.trial_id]
            if ended.status == TrialStatus.FAILED:
                self._stop_after_failures()

    def interrupt(self, error: BaseException) -> None:
        """End the running trials as interrupted, and unlock the project.

        They are run again, with their values, when the search is continued.

        Args:
            error: The reason; kept with the trials.
        """
        for trial_id, attempt in list(self._attempts.items()):
            del self._attempts[trial_id]
            for tuner_id, trial in list(self.ongoing_trials.items()):
                if trial.trial_id == trial_id:
                    del self.ongoing_trials[tuner_id]
                    if trial_id not in [*self.end_order, *self._retry_queue]:
                        self._retry_queue.append(trial_id)
            with suppress(Exception):  # the error in hand matters more
                if trial_id not in self.end_order:  # otherwise _continue ends it in the study
                    attempt.hyperparameters.finish()
                    attempt.describe()
                    reason = f"interrupted ({one_line(error, typed=True)})"
                    self.begin().fail(attempt.trial.number, reason)
        self._unlock()

    def delete_overwritten(self) -> None:
        """Delete the study of a project whose folder `overwrite=True` has deleted."""
        owner, self._overwritten = self._overwritten, None
        if owner is not None and self._project.read(_STATE) is None:
            self._project.delete_study(owner)
            self._study = None

    def get_best_trials(self, num_trials: int = 1) -> list[Trial]:
        """Return the best trials: complete ones, best first, then pruned ones, then failed ones.

        Args:
            num_trials: Maximum number of trials.
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

    def get_state(self) -> dict[str, Any]:
        """See `keras_tuner.Oracle`."""
        return {**super().get_state(), OWNER: self._id}

    def set_state(self, state: dict[str, Any]) -> None:
        """See `keras_tuner.Oracle`."""
        self._id = state[OWNER]
        super().set_state(state)

    def save(self) -> None:
        """See `keras_tuner.Oracle`; a crash leaves the old state or the new one."""
        self._project.write(_STATE, self.get_state())
        self._known = self._project.read(_STATE)

    def reload(self) -> None:
        """See `keras_tuner.Oracle`; trials that have not ended are queued to be run again.

        Raises:
            RuntimeError: The project belongs to a tuner of another kind.
        """
        self.trials: dict[str, Trial] = {}
        super().reload()
        self._known = self._project.read(_STATE)
        # In order, or equally good trials would change places; as numbers, because ids grow longer
        # with max_trials.
        self.trials = dict(sorted(self.trials.items(), key=lambda item: int(item[0])))
        files = {trial_id: self._project.read(_trial_file(trial_id)) for trial_id in self.trials}
        self.pruned = {trial_id for trial_id, state in files.items() if state and state[_PRUNED]}
        for trial_id, trial in self.trials.items():
            if trial_id not in self.start_order:
                self.start_order.append(trial_id)
            if trial.status in _ENDED and trial_id not in self.end_order:
                self.end_order.append(trial_id)
        unended = [i for i, trial in self.trials.items() if trial.status not in _ENDED]
        self._retry_queue = unended[::-1]  # KerasTuner takes the last one

    @property
    def _project(self) -> Project:
        name = self._study_name or str(self._project_name)
        return Project(self._project_dir, self._storage, name)

    def _open(self) -> optuna.Study:
        """Open the study of the locked project."""
        self.delete_overwritten()
        self._project.repair_journal()
        if self._study is None:
            self._study = self._load()
        return self._study

    def _load(self) -> optuna.Study:
        return self._project.open_study(
            objective=self.objective, sampler=self._sampler, pruner=self._pruner
        )

    def _continue(self) -> Record:
        if self._project.read(_STATE) not in (None, self._known):
            self.reload()  # another tuner has searched since
            self._study = None
        study = self._open()
        self.save()
        owner = study.user_attrs.get(OWNER)
        if owner != self._id and (owner is not None or self.trials):
            raise ValueError(
                f"study {study.study_name!r} does not belong to the project in "
                f"{self._project_dir}: give the storage and study_name that it was searched with, "
                "or choose another study_name or project_name."
            )
        study.set_user_attr(OWNER, self._id)
        seed = self.seed if self._sampler_seed is None else self._sampler_seed
        record = Record(study, self._id, seed, tune_new_entries=self.tune_new_entries)
        for left in record.running():
            trial = self.trials.get(left.user_attrs.get(TRIAL_ID, ""))
            if trial is not None and trial.status != TrialStatus.RUNNING:
                self._save_trial(trial)
                record.end(left.number, trial, pruned=trial.trial_id in self.pruned)
                continue
            kills = record.fail_killed(left)
            if trial is not None and kills >= _MAX_KILLS:
                trial.status = TrialStatus.FAILED
                trial.message = f"The process died {kills} times while this trial ran."
                self._retry_queue.remove(trial.trial_id)
                self.end_order.append(trial.trial_id)
                self._save_trial(trial)
        return record

    def _unlock(self) -> None:
        """Let others search the project, unless trials of this search still run."""
        if not self._attempts:
            self._record = None
            self._lock.close()

    def _run_again(self, trial: Trial) -> None:
        attempt = self.begin().begin_again(trial.trial_id, self.hyperparameters.space)
        self._attempts[trial.trial_id] = attempt
        trial.hyperparameters = attempt.hyperparameters.peek()  # until KerasTuner has shown it
        # KerasTuner would keep the NaN of a failed run and take it for the score.
        trial.metrics = Trial(None).metrics
        trial.score, trial.best_step, trial.message = None, 0, None
        trial.status = TrialStatus.RUNNING
        self.pruned.discard(trial.trial_id)
        self._save_trial(trial)

    def _complete_pruned(self, trial: Trial, attempt: Attempt) -> None:
        trial.status, trial.message = TrialStatus.COMPLETED, None
        metrics, name = self.trials[trial.trial_id].metrics, self.objective.name
        if not metrics.exists(name):  # an exception ended the run
            metrics.register(name, self.objective.direction)
            for step, value in attempt.reported.items():
                metrics.update(name, value, step)

    def _stop_after_failures(self) -> None:
        ended = [self.trials[trial_id] for trial_id in reversed(self.end_order)]
        judged = [trial for trial in ended if not _gave_up(trial)]
        streak = list(takewhile(lambda trial: trial.status == TrialStatus.FAILED, judged))
        if not _gave_up(ended[0]) and len(streak) >= self.max_consecutive_failed_trials:
            self._unlock()
            raise RuntimeError(
                "Number of consecutive failures exceeded the limit of "
                f"{self.max_consecutive_failed_trials}.\n{ended[0].message or ''}"
            )

    # The rest overrides internals of KerasTuner, which has no public method for these steps.

    def _check_consecutive_failures(self) -> None:
        pass  # KerasTuner would raise here, before the trial is saved: see _stop_after_failures

    def _save_trial(self, trial: Trial) -> None:
        # The last call comes after score_trial, which a subclass may override.
        attempt = self._attempts.get(trial.trial_id)
        if attempt is not None and attempt.pruned and trial.status == TrialStatus.COMPLETED:
            self.pruned.add(trial.trial_id)
            trial.message = f"Pruned after step {max(attempt.reported)}."
        state = {**trial.get_state(), _PRUNED: trial.trial_id in self.pruned}
        self._project.write(_trial_file(trial.trial_id), state)

    def _set_project_dir(self, directory: str, project_name: str) -> None:
        super()._set_project_dir(directory, project_name)
        with suppress(ValueError):  # an unreadable file may be about to be overwritten
            self._overwritten = (self._project.read(_STATE) or {}).get(OWNER)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        name = current_thread().name
        if THREADS[self] == name:
            yield
            return
        with LOCKS[self]:
            THREADS[self] = name
            try:
                yield
            finally:
                THREADS[self] = None


def _trial_file(trial_id: str) -> str:
    return f"trial_{trial_id}/trial.json"


def _gave_up(trial: Trial) -> bool:
    """Whether the program raised `optuna.TrialPruned`, which is no crash."""
    lines = (trial.message or "").strip().splitlines()
    return bool(lines) and lines[-1].startswith(_GAVE_UP)


def _require(name: str, value: Any, kind: Any, rule: str, *, least: int | None = None) -> None:
    if not isinstance(value, kind) or (None not in (least, value) and value < least):
        raise ValueError(f"{name} must be {rule}; got {value!r}.")


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
        # In groups, because trials leave out the parameters that they did not read.
        return TPESampler(multivariate=True, group=True)

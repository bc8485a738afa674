"""An oracle whose project survives losing the process, and whose lock survives an error."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import current_thread
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.src import backend, utils
from keras_tuner.src.engine.oracle import LOCKS, THREADS

from search.optuna_tuner.project import write_json

_PROJECT = "project"
_NUMBER = "optuna_number"
_PRUNED = "pruned"
_ENDED = (TrialStatus.COMPLETED, TrialStatus.FAILED)


def gave_up(trial: Trial) -> bool:
    """Whether the program itself raised `optuna.TrialPruned`, which is no crash."""
    lines = (trial.message or "").strip().splitlines()
    return bool(lines) and lines[-1].startswith("optuna.exceptions.TrialPruned")


class DurableOracle(keras_tuner.Oracle):  # type: ignore[misc]
    """Keeps a project in files that are written whole or not at all.

    Each trial's own file decides what has become of it; the oracle's file, written after it, may be
    one step behind.

    Args:
        **kwargs: As for `keras_tuner.Oracle`.

    Attributes:
        project: Distinguishes this project from all others.
        numbers: Number of the Optuna trial that ran each trial last, by KerasTuner's trial id.
        pruned: Ids of the trials that were stopped early.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project = uuid.uuid4().hex
        self.numbers: dict[str, int] = {}
        self.pruned: set[str] = set()
        self._known: dict[str, Any] | None = None  # as last saved or loaded
        self._found: str | None = None  # the project that was there when the tuner was made

    def get_state(self) -> dict[str, Any]:
        """See `keras_tuner.Oracle`."""
        return {**super().get_state(), _PROJECT: self.project}

    def set_state(self, state: dict[str, Any]) -> None:
        """See `keras_tuner.Oracle`."""
        self.project = state[_PROJECT]
        super().set_state(state)

    def save(self) -> None:
        """See `keras_tuner.Oracle`; a crash leaves the state before or after."""
        write_json(self._get_oracle_fname(), self.get_state())
        self._known = self._stored()

    def reload(self) -> None:
        """See `keras_tuner.Oracle`; trials that have not ended wait to be run again.

        Raises:
            RuntimeError: The project is another tuner's.
        """
        self.trials: dict[str, Trial] = {}
        self.numbers, self.pruned = {}, set()
        super().reload()
        self._known = self._stored()
        # In their order, or those that are equally good would change places; as numbers, as more
        # max_trials than before make longer ids.
        self.trials = dict(sorted(self.trials.items(), key=lambda item: int(item[0])))
        for trial_id, trial in self.trials.items():
            stored = utils.load_json(self._trial_file(trial_id))
            self.numbers[trial_id] = stored[_NUMBER]
            if stored[_PRUNED]:
                self.pruned.add(trial_id)
            if trial_id not in self.start_order:
                self.start_order.append(trial_id)
            if trial.status in _ENDED and trial_id not in self.end_order:
                self.end_order.append(trial_id)
        self._retry_queue = [
            trial_id
            for trial_id, trial in reversed(self.trials.items())  # it is taken from its end
            if trial.status not in _ENDED
        ]

    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Trial:
        """See `keras_tuner.Oracle`; for the epochs of a run, see `report`."""
        with self._locked():
            return super().update_trial(trial_id, metrics, step)

    def _reload_if_changed(self) -> bool:
        """Load what others have saved since; only while nobody else searches the project."""
        if self._stored() in (None, self._known):
            return False
        self.reload()
        return True

    def _take_overwritten(self) -> str | None:
        """The project whose folder was deleted after the tuner was made; answered once."""
        found, self._found = self._found, None
        return found if self._stored() is None else None

    def _stored(self) -> dict[str, Any] | None:
        path = self._get_oracle_fname()
        state: dict[str, Any] | None = utils.load_json(path) if backend.io.exists(path) else None
        return state

    def _set_project_dir(self, directory: str, project_name: str) -> None:
        super()._set_project_dir(directory, project_name)
        with suppress(ValueError):  # one that cannot be read may be about to be overwritten
            self._found = (self._stored() or {}).get(_PROJECT)

    def _save_trial(self, trial: Trial) -> None:
        state = {
            **trial.get_state(),
            _NUMBER: self.numbers[trial.trial_id],
            _PRUNED: trial.trial_id in self.pruned,
        }
        write_json(self._trial_file(trial.trial_id), state)

    def _trial_file(self, trial_id: str) -> str:
        return os.path.join(self._get_trial_dir(trial_id), "trial.json")

    def _check_consecutive_failures(self) -> None:
        # KerasTuner would raise here, before anything is saved: see _stop_after_failures.
        pass

    def _stop_after_failures(self) -> None:
        if gave_up(self.trials[self.end_order[-1]]):
            return
        streak = 0
        for trial_id in reversed(self.end_order):
            if self.trials[trial_id].status != TrialStatus.FAILED:
                break
            if gave_up(self.trials[trial_id]):
                continue
            streak += 1
        if streak >= self.max_consecutive_failed_trials:
            raise RuntimeError(
                "Number of consecutive failures exceeded the limit of "
                f"{self.max_consecutive_failed_trials}.\n"
                f"{self.trials[self.end_order[-1]].message or ''}"
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # As keras_tuner.synchronized, which never lets go after an error.
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

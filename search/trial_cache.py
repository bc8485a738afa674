"""What a database holds of a study, read again where it may have changed and nowhere else."""

import copy
import time
from collections.abc import Sequence
from typing import Any, Final

from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.trial import FrozenTrial, TrialState

LOOK_SECONDS: Final = 5.0


class TrialCache(_CachedStorage):
    """Optuna's cache of a database, without its reading all running trials at every call.

    With many workers that reading is nearly all that a coordinator does. Here a trial that this
    process writes is read when it has done so, those of others when that is asked for, and all of
    them within `LOOK_SECONDS`.

    Args:
        storage: The database.
    """

    def __init__(self, storage: RDBStorage) -> None:
        super().__init__(storage)
        self._looked: dict[int, float] = {}  # when all trials of a study were read
        self._ask_of_others = False
        self._written: set[int] = set()  # trials that this process has changed since
        self._own: set[int] = set()  # trials that run here

    def look_at_others(self) -> None:
        """Read with the next call what other processes have done until then."""
        self._ask_of_others = True

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """See `BaseStorage`."""
        known = self._trial_id_to_study_id_and_number.get(trial_id)
        if known is None:
            return super().get_trial(trial_id)
        study_id, number = known
        self._read_trials_from_remote_storage(study_id)
        # Whoever asks for a trial that runs may change what it is given.
        trial = self._studies[study_id].trials[number]
        return trial if trial.state.is_finished() else copy.deepcopy(trial)

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """See `BaseStorage`."""
        try:
            super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
        finally:
            self._read_again(trial_id)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """See `BaseStorage`."""
        try:
            return bool(super().set_trial_state_values(trial_id, state, values))
        finally:
            self._read_again(trial_id)

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """See `BaseStorage`."""
        try:
            super().set_trial_intermediate_value(trial_id, step, intermediate_value)
        finally:
            self._read_again(trial_id)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See `BaseStorage`."""
        try:
            super().set_trial_user_attr(trial_id, key, value)
        finally:
            self._read_again(trial_id)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See `BaseStorage`."""
        try:
            super().set_trial_system_attr(trial_id, key, value)
        finally:
            self._read_again(trial_id)

    def _read_again(self, trial_id: int) -> None:
        with self._lock:
            self._written.add(trial_id)
            self._own.add(trial_id)

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        with self._lock:
            study = self._studies.setdefault(study_id, _StudyInfo())
            now = time.monotonic()
            ids = set(self._written)
            if now - self._looked.get(study_id, -LOOK_SECONDS) >= LOOK_SECONDS:
                self._looked[study_id] = now
                ids |= study.unfinished_trial_ids
            elif self._ask_of_others:
                ids |= study.unfinished_trial_ids - self._own
            elif not ids:
                return
            # Trials get their numbers and ids in the same order, under the database's lock.
            trials = self._backend._get_trials(
                study_id,
                states=None,
                included_trial_ids=ids,
                trial_id_greater_than=study.last_finished_trial_id,
            )
            self._ask_of_others = False
            self._written.clear()
            self._add_trials_to_cache(study_id, trials)
            for trial in trials:
                study.last_finished_trial_id = max(study.last_finished_trial_id, trial._trial_id)
                if trial.state.is_finished():
                    study.unfinished_trial_ids.discard(trial._trial_id)
                else:
                    study.unfinished_trial_ids.add(trial._trial_id)
                if trial.state != TrialState.RUNNING:
                    self._own.discard(trial._trial_id)

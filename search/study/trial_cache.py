"""What a database holds of a study, read again where it may have changed and nowhere else."""

import copy
import functools
import math
import time
from collections.abc import Callable
from typing import Any, Final

from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.trial import FrozenTrial, TrialState

# Less than `search.study.leases` gives a coordinator before it takes its trials: what is known of
# them must not be older than that.
REREAD_SECONDS: Final = 5.0


class TrialCache(_CachedStorage):
    """Optuna's cache of a database, without its reading all running trials at every call.

    With many workers that reading is nearly all that a coordinator does. Here a trial that runs in
    this process is read when it has been written, those of others when that is asked for, and all
    of them every `REREAD_SECONDS`: somebody may end one in a dashboard.

    Args:
        storage: The database.
    """

    def __init__(self, storage: RDBStorage) -> None:
        super().__init__(storage)
        self._read_at: dict[int, float] = {}  # when all of a study was read
        self._asked: set[int] = set()  # studies of which others' trials shall be read
        self._changed: set[int] = set()  # trials that were written since they were read
        self._own: set[int] = set()  # trials that nobody else writes

    def look_at_others(self) -> None:
        """Read with the next call what other processes have done until then."""
        self._asked = set(self._studies)

    def read_all_again(self) -> None:
        """Trust nothing that is known of trials that run: a write may have been cut off."""
        self._read_at.clear()

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """See `BaseStorage`."""
        if trial_id not in self._own:
            return super().get_trial(trial_id)
        study_id, number = self._trial_id_to_study_id_and_number[trial_id]
        self._read_trials_from_remote_storage(study_id)
        # Whoever asks for a trial that runs may change what it is given.
        return copy.deepcopy(self._studies[study_id].trials[number])

    def _has_changed(self, trial_id: int, *, own: bool) -> None:
        with self._lock:
            self._changed.add(trial_id)
            if own:
                self._own.add(trial_id)
            else:
                self._own.discard(trial_id)

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        with self._lock:
            study = self._studies.setdefault(study_id, _StudyInfo())
            of_study = self._trial_id_to_study_id_and_number
            ids = {one for one in self._changed if of_study.get(one, (study_id, 0))[0] == study_id}
            now = time.monotonic()
            read_all = now - self._read_at.get(study_id, -math.inf) >= REREAD_SECONDS
            if read_all:
                ids |= study.unfinished_trial_ids
            elif study_id in self._asked:
                ids |= study.unfinished_trial_ids - self._own
            elif not ids:
                return
            trials = self._backend._get_trials(
                study_id,
                states=None,
                included_trial_ids=ids,
                # Here the last that was read: trials get numbers and ids in the same order, under
                # a lock of the study.
                trial_id_greater_than=study.last_finished_trial_id,
            )
            if read_all:
                self._read_at[study_id] = now
            self._asked.discard(study_id)
            self._changed -= ids
            self._add_trials_to_cache(study_id, trials)
            for trial in trials:
                study.last_finished_trial_id = max(study.last_finished_trial_id, trial._trial_id)
                if trial.state.is_finished():
                    study.unfinished_trial_ids.discard(trial._trial_id)
                else:
                    study.unfinished_trial_ids.add(trial._trial_id)
                if trial.state != TrialState.RUNNING:
                    self._own.discard(trial._trial_id)


def _noted(write: Callable[..., Any], *, own: bool) -> Callable[..., Any]:
    @functools.wraps(write)
    def write_and_note(self: TrialCache, trial_id: int, *args: Any, **kwargs: Any) -> Any:
        try:
            return write(self, trial_id, *args, **kwargs)
        finally:  # what has failed may have been done
            self._has_changed(trial_id, own=own)

    return write_and_note


for _name in ("param", "intermediate_value", "user_attr", "system_attr"):
    _write = f"set_trial_{_name}"
    setattr(TrialCache, _write, _noted(getattr(_CachedStorage, _write), own=True))
# Who wants a waiting trial may not get it, and who lets one wait has it no more.
TrialCache.set_trial_state_values = _noted(  # type: ignore[method-assign]
    _CachedStorage.set_trial_state_values, own=False
)

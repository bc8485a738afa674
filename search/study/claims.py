"""What a coordinator may take of a study: all of it, or what those beside it leave.

Trials get their numbers under the database's lock, and one that ends well is live from its birth:
it waits, runs or is finished. So if each trial with N live ones before it is given up, finished
trials never exceed N, whoever else runs, dies or comes back; and a failed one frees its place.
"""

import time
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from typing import Any, Final

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from search.errors import TakenOverError
from search.study.database import Database
from search.study.leases import OWNER, Leases
from search.study.study import FINISHED, SURPLUS

ATTEMPTS: Final = 3  # a trial that dies so often with those who run it is to blame itself
_LIVE: Final = (*FINISHED, TrialState.RUNNING, TrialState.WAITING)
_LOOK_SECONDS: Final = 1.0
_SURPLUS: Final = {SURPLUS: True, "reason": "one more than the trials that were asked for"}


class Claims:
    """Those of the only coordinator of a study."""

    @property
    def waited_seconds(self) -> float:
        """For a storage that was away, in all."""
        return 0.0

    def stop(self, reason: str) -> None:
        """Wait for nothing any more. Safe in a signal handler."""

    def free(self) -> bool:
        """Whether another trial may be taken now."""
        return True

    def take(self, trial: optuna.Trial) -> bool:
        """Make a new trial one's own; False: it was one too many, and has failed."""
        return True

    def alone(self) -> bool:
        """Whether no trial runs in the hands of others, or waits to be taken."""
        return True

    def look(self, held: Container[int]) -> bool:
        """Whether others may have changed the study; from time to time, what they lost is mended.

        Args:
            held: Numbers of the trials that this process runs.
        """
        return False

    def end(self) -> None:
        """The study holds all its trials: what nobody else still runs is one too many."""


class SharedClaims(Claims):
    """Those of one of several coordinators, or of the first of them.

    Args:
        study: The study.
        database: Where it is.
        leases: Of its coordinators.
        trials: Finished trials that it shall hold in total.
        say: Takes a line for the person.
    """

    def __init__(
        self,
        study: optuna.Study,
        database: Database,
        leases: Leases,
        trials: int,
        say: Callable[[str], None],
    ) -> None:
        self._study = study
        self._database = database
        self._leases = leases
        self._trials = trials
        self._say = say
        self._looked = 0.0
        self._told = False

    @property
    def waited_seconds(self) -> float:
        """See `Claims`."""
        return self._database.waited_seconds

    def stop(self, reason: str) -> None:
        """See `Claims`."""
        self._database.stop(reason)

    def free(self) -> bool:
        """See `Claims`."""
        live = self._live()
        if len(live) < self._trials or any(trial.state == TrialState.WAITING for trial in live):
            return True
        if not self._told:
            self._told = True
            self._say("all trials that are missing are being run; waiting for them to end")
        return False

    def take(self, trial: optuna.Trial) -> bool:
        """See `Claims`."""
        try:
            trial.set_user_attr(OWNER, self._leases.name)
        except UpdateFinishedTrialError:  # another has ended the search just now
            return False
        before = sum(other.number < trial.number for other in self._live())
        if before < self._trials:
            return True
        self._fail(trial._trial_id, _SURPLUS)
        return False

    def alone(self) -> bool:
        """See `Claims`."""
        self._database.look_at_others()
        unfinished = (TrialState.RUNNING, TrialState.WAITING)
        return not self._study.get_trials(deepcopy=False, states=unfinished)

    def look(self, held: Container[int]) -> bool:
        """See `Claims`.

        Raises:
            TakenOverError: Another coordinator took the study while this one stood still.
        """
        if self._leases.taken_over:
            raise TakenOverError(
                f"study {self._study.study_name!r} was taken over by another coordinator while "
                "this one did not answer; the same command with --join helps it."
            )
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return False
        self._looked = now
        self._database.look_at_others()
        for lost in self._leases.lost(held):
            if lost.safe:
                with suppress(UpdateFinishedTrialError):
                    self._database.set_trial_state_values(lost.trial._trial_id, TrialState.WAITING)
            else:
                self._replace(lost.trial)
        return True

    def end(self) -> None:
        """See `Claims`."""
        # Others may have been asked for more trials.
        self._database.look_at_others()
        for trial in self._running():
            if not self._leases.alive(trial.user_attrs.get(OWNER)):
                self._fail(trial._trial_id, _SURPLUS)

    def _live(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=_LIVE)

    def _running(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def _replace(self, trial: FrozenTrial) -> None:
        reason = "its coordinator did not answer any more"
        attempts = [*trial.user_attrs.get("attempts", []), reason]
        params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        attrs: dict[str, Any] = {"attempts": attempts}
        if "baseline" in trial.user_attrs:
            attrs["baseline"] = trial.user_attrs["baseline"]
        # Its number is not used again: whoever ran it may come back to it.
        if self._fail(trial._trial_id, {"reason": reason}) and params and len(attempts) < ATTEMPTS:
            self._study.enqueue_trial(params, user_attrs=attrs)

    def _fail(self, trial_id: int, attrs: Mapping[str, Any]) -> bool:
        try:
            for name, value in {**attrs, "ended": f"failed: {attrs['reason']}"}.items():
                self._database.set_trial_user_attr(trial_id, name, value)
            return self._database.set_trial_state_values(trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:  # another coordinator was faster
            return False

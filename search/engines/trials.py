"""Begin, judge and end the trials of a study, for both engines."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast, final

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from search.command_line.flags import LARGEST
from search.engines.near_best import contains
from search.engines.pruners import PRUNERS, Rungs
from search.errors import StudyError, UnusableError
from search.study.requests import ENQUEUED
from search.study.study import FINISHED, GIVEN, VERDICT, claim, requeue, trial_params
from search.words import rounded
from spaces.errors import one_line

Note = Callable[[str], None]


@final
class StudyTrials:
    """Trials of one study under one sampler and one pruner; higher values are better.

    Args:
        study: The study; its sampler and pruner are set here.
        sampler: Draws the hyperparameters that no waiting trial fixes.
        pruner: A key of `PRUNERS`.
        max_epochs: Maximum epochs of a trial.
        note: Called with a line about a hyperparameter.
        definitions: Hyperparameters that are known beyond those of the study's trials.
    """

    def __init__(
        self,
        study: optuna.Study,
        sampler: BaseSampler,
        pruner: str,
        max_epochs: int,
        *,
        note: Note,
        definitions: Mapping[str, BaseDistribution] = MappingProxyType({}),
    ) -> None:
        self._study = study
        self._note = note
        self._noted: set[str] = set()
        self._definitions = dict(definitions)
        for known in study.get_trials(deepcopy=False):
            for name, distribution in known.distributions.items():
                self._definitions.setdefault(name, distribution)
        rungs = Rungs.of(max_epochs)
        self._judged_epochs = frozenset(PRUNERS[pruner].epochs(rungs))
        study.sampler = sampler
        study.pruner = PRUNERS[pruner].make(rungs)
        self._rung_notes = _RungNotes(study)
        # Pruners write through the study that they get. Optuna has no public way to give a study,
        # with its sampler and pruner, another storage.
        self._judged = copy.copy(study)
        self._judged._storage = cast(BaseStorage, self._rung_notes)
        self._reported: dict[int, set[int]] = {}  # epochs of earlier attempts, by trial number
        self._given: dict[int, Mapping[str, Any]] = {}
        self._asked: dict[int, set[str]] = {}  # names of hyperparameters, by trial number
        self._numbers = {
            configuration_key(trial_params(trial)): trial.number
            for trial in study.get_trials(deepcopy=False, states=FINISHED)
        }
        self._failed: set[int] = set()  # numbers of the trials that failed in this run

    def waiting(self) -> list[FrozenTrial]:
        """Return the enqueued and requeued trials."""
        return self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))

    def begin(self) -> optuna.Trial:
        """Start a waiting trial, those enqueued from outside first, or a new one without any."""
        enqueued = [trial for trial in self.waiting() if ENQUEUED in trial.user_attrs]
        trial = claim(self._study, enqueued[0]) if enqueued else self._study.ask()
        # Read after it began: another process may have enqueued it since.
        begun = self._study.get_trials(deepcopy=False)[trial.number]
        self._reported[trial.number] = set(begun.intermediate_values)
        self._given[trial.number] = begun.user_attrs.get(GIVEN, {})
        return trial

    def suggest(
        self, trial: optuna.Trial, name: str, distribution: BaseDistribution
    ) -> CategoricalChoiceType:
        """Return the value of one hyperparameter; the same one when asked again.

        If Optuna does not allow a name to be redefined, the first definition counts, as in
        KerasTuner. A given value that the hyperparameter cannot have is returned, but not recorded
        in Optuna.

        Raises:
            StudyError: The trial was enqueued with a value that the hyperparameter cannot have.
            UnusableError: A study cannot store one of its choices or bounds.
        """
        _check_storable(name, distribution)
        self._asked.setdefault(trial.number, set()).add(name)
        first = self._definitions.setdefault(name, distribution)
        if not _is_compatible(first, distribution):
            self._note_redefinition(trial.number, name, first, distribution)
            distribution = first
        given = self._given.get(trial.number, {})
        if name in given and not contains(distribution, given[name]):
            value: CategoricalChoiceType = given[name]
            return value
        try:
            if isinstance(distribution, CategoricalDistribution):
                return trial.suggest_categorical(name, distribution.choices)
            assert isinstance(distribution, IntDistribution | FloatDistribution)
            low, high = distribution.low, distribution.high
            if isinstance(distribution, IntDistribution):
                return trial.suggest_int(
                    name, int(low), int(high), step=distribution.step, log=distribution.log
                )
            return trial.suggest_float(
                name, low, high, step=distribution.step, log=distribution.log
            )
        except ValueError as error:
            raise StudyError(
                f"hyperparameter {name!r} has different values in study "
                f"{self._study.study_name!r} than in the current space or sampler "
                f"({one_line(error)}). Start another study with --study NAME, or use the earlier "
                "space and sampler."
            ) from error

    def _note_redefinition(
        self, number: int, name: str, first: BaseDistribution, distribution: BaseDistribution
    ) -> None:
        if name in self._noted:
            return
        self._noted.add(name)
        self._note(
            f"trial {number}: hyperparameter {name!r} has {_words(distribution)}, but was first "
            f"defined with {_words(first)}; the first definition counts, as in KerasTuner. To "
            "search both, give them two names; if you have changed the space, start another study "
            "with --study NAME."
        )

    def earlier(self, trial: optuna.Trial, *, may_ask_more: bool = False) -> int | None:
        """Return the number of the first trial with the same configuration; None if it is new.

        One that was enqueued is new also where that trial failed in this run.

        Args:
            trial: A running trial.
            may_ask_more: Whether it may still ask for hyperparameters; it is then compared with
                ended trials only, all of whose hyperparameters are known.
        """
        key = configuration_key({**self._given.get(trial.number, {}), **trial.params})
        if may_ask_more:
            return self._numbers.get(key)
        number = self._numbers.setdefault(key, trial.number)
        if number in self._failed and ENQUEUED in trial.user_attrs:
            self._numbers[key] = number = trial.number
        return None if number == trial.number else number

    def report(self, trial: optuna.Trial, epoch: int, value: float) -> bool:
        """Record the value of an epoch (the first is 1); return whether to stop the trial now.

        With several objectives no trial is stopped.

        An epoch that an earlier attempt of the trial has reported keeps its value and its verdict.
        Only the last of these epochs may lack a verdict, where the attempt was cut off before it.
        """
        earlier = self._reported[trial.number]
        if len(self._study.directions) > 1:
            if epoch not in earlier:
                # Optuna's `report` refuses several objectives, as its pruners do; the epochs are
                # recorded all the same, for the report.
                self._study._storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
            return False
        if epoch not in earlier:
            trial.report(value, epoch)
        if epoch < max(earlier, default=0):
            return False
        return self._verdict(trial, epoch)

    def _verdict(self, trial: optuna.Trial, epoch: int) -> bool:
        """Return whether the pruner stops the trial after its last epoch; it is judged only once.

        When asked again, a pruner would compare the trial with more others, and Optuna's successive
        halving, which notes in the trial which rungs it has passed, would skip them. So its notes
        are first stored together with the verdict, in one write, and then where it reads them.
        """
        storage = self._study._storage  # Optuna has no other way to write what pruners read
        frozen = storage.get_trial(trial._trial_id)
        verdict: dict[str, Any] = frozen.system_attrs.get(VERDICT, {})
        if verdict.get("epoch") != epoch:
            if epoch not in self._judged_epochs:
                return False
            self._rung_notes.taken.clear()
            stop = bool(self._study.pruner.prune(self._judged, frozen))  # NumPy's is not stored
            verdict = {"epoch": epoch, "stop": stop, "notes": dict(self._rung_notes.taken)}
            storage.set_trial_system_attr(trial._trial_id, VERDICT, verdict)
        for key, note in verdict["notes"].items():
            storage.set_trial_system_attr(trial._trial_id, key, note)
        return bool(verdict["stop"])

    def end(
        self,
        trial: optuna.Trial,
        state: TrialState,
        values: float | Sequence[float] | None = None,
    ) -> FrozenTrial:
        """End a running trial; the value of a pruned one is that of its last epoch.

        Raises:
            UpdateFinishedTrialError: It has been ended from outside, as in a dashboard.
        """
        if state == TrialState.FAIL:
            self._failed.add(trial.number)
        else:
            self._register(trial)
        try:
            return self._study.tell(trial, values, state=state)
        except ValueError as error:
            raise UpdateFinishedTrialError(str(error)) from error

    def _register(self, trial: optuna.Trial) -> None:
        """Remember the configuration of a trial that has asked for all it needs.

        Removes the given values for which a user's space has no hyperparameter any more: samplers
        would take them for values outside of the ranges, and leave the trial out.
        """
        given = self._given.get(trial.number, {})
        asked = self._asked.get(trial.number, set())
        if not given.keys() <= asked:
            given = {name: value for name, value in given.items() if name in asked}
            trial.set_user_attr(GIVEN, given)
        # As the next run reads it.
        self._numbers.setdefault(configuration_key({**given, **trial.params}), trial.number)

    def requeue(self, trial: optuna.Trial) -> None:
        """Queue a running trial again, under its number and with its hyperparameters."""
        requeue(self._study, trial)


class _RungNotes:
    """A study's storage as a pruner sees it, except that writes are kept in `taken`.

    Attributes:
        taken: Attributes of the judged trial.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._storage = study._storage  # Optuna has no public way to it
        self.taken: dict[str, Any] = {}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keep an attribute."""
        self.taken[key] = value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


def _check_storable(name: str, distribution: BaseDistribution) -> None:
    """Refuse a number that makes a study unreadable, by the rules of `search.study.facts`."""
    if isinstance(distribution, CategoricalDistribution):
        values: Sequence[Any] = distribution.choices
    else:
        assert isinstance(distribution, IntDistribution | FloatDistribution)
        values = (distribution.low, distribution.high)
    for value in values:
        if isinstance(value, int | float) and not abs(value) <= LARGEST:  # NaN included
            raise UnusableError(
                f"hyperparameter {name!r} allows {value}, which a study cannot store: its choices "
                "and bounds must be finite and below 2**63. Change the space; a large number may "
                "stand for no limit."
            )


def _is_compatible(first: BaseDistribution, other: BaseDistribution) -> bool:
    """Return whether a study can have both for one name: ranges may differ, all else may not."""
    if isinstance(first, CategoricalDistribution):
        return first == other
    assert isinstance(first, IntDistribution | FloatDistribution)
    return type(first) is type(other) and first.log == getattr(other, "log", None)


def _words(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return f"the choices {', '.join(map(repr, distribution.choices))}"
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    kind = "whole numbers" if isinstance(distribution, IntDistribution) else "numbers"
    scale = " on a logarithmic scale" if distribution.log else ""
    return f"the {kind} {distribution.low:g} to {distribution.high:g}{scale}"


def configuration_key(params: Mapping[str, Any]) -> str:
    """Return a text that is equal for equal configurations."""
    return json.dumps({name: _rounded(value) for name, value in params.items()}, sort_keys=True)


def is_same(one: Any, other: Any) -> bool:
    """Return whether two values of a hyperparameter are the same, rounding errors aside."""
    return bool(_rounded(one) == _rounded(other))


def _rounded(value: Any) -> Any:
    # Samplers add up steps in several ways: 0.6000000000000001 is 0.6.
    return rounded(value) if isinstance(value, float) else value

"""One run of a trial: its Optuna trial, which is told each hyperparameter that the run reads."""

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras_tuner
import optuna
from keras_tuner.engine import hyperparameters as kinds
from keras_tuner.errors import FatalError, FatalRuntimeError, FatalValueError
from optuna.distributions import BaseDistribution, CategoricalDistribution

from search.training.hyperparameters import TrialHyperParameters, value_of


class Attempt:
    """One run of a trial, as Optuna sees it.

    Values are drawn before the run, as KerasTuner wants to show them, but written only when they
    are read: the study then holds what the model was built with, and nothing else.

    Args:
        study: The study.
        trial: Its running trial, of which nothing is written yet.
        space: The hyperparameters known so far, parents before children.
        wanted: Values that are not to be drawn, by Optuna's names.
        tune_new_entries: Whether hyperparameters first named in the run are drawn; else they take
            their defaults.

    Attributes:
        trial: The Optuna trial.
        params: What was drawn, by Optuna's names.
        hyperparameters: What the run is given.
        epochs: How many have ended, over all executions.
        executions: How many have begun.
        pruned: Whether the pruner has stopped it.
        reported: Value of the objective by step.
    """

    def __init__(
        self,
        study: optuna.Study,
        trial: optuna.Trial,
        space: Iterable[Any],
        *,
        wanted: Mapping[str, Any],
        tune_new_entries: bool,
    ) -> None:
        self.trial = trial
        self.epochs = 0
        self.executions = 0
        self.pruned = False
        self.reported: dict[int, float] = {}
        self.params: dict[str, Any] = {}
        self._study = study
        self._wanted = wanted
        self._drawn = copy.deepcopy(study._storage.get_trial(trial._trial_id))
        self._started = time.monotonic()
        self.hyperparameters = DrawnHyperParameters(self, space, tune_new_entries=tune_new_entries)

    def draw(self, name: str, distribution: BaseDistribution) -> Any:
        """The value of a hyperparameter, wanted or from the sampler; not written to the study."""
        if name in self._wanted and _contains(distribution, self._wanted[name]):
            value = self._wanted[name]
        elif distribution.single():
            value = (
                distribution.choices[0]
                if isinstance(distribution, CategoricalDistribution)
                else distribution.low  # type: ignore[attr-defined]
            )
        elif name in self.trial.relative_params and _contains(
            distribution, self.trial.relative_params[name]
        ):
            value = self.trial.relative_params[name]
        else:
            value = self._study.sampler.sample_independent(
                self._study, self._drawn, name, distribution
            )
        # In plain Python: KerasTuner stores JSON.
        value = distribution.to_external_repr(distribution.to_internal_repr(value))
        self._drawn.params[name] = self.params[name] = value
        self._drawn.distributions[name] = distribution
        return value

    def write(self, name: str, distribution: BaseDistribution) -> Any:
        """Tell the study the value that was drawn.

        Raises:
            FatalValueError: The study knows this name with other values.
            FatalRuntimeError: The storage cannot be written.
        """
        value = self.params[name]
        with _not_the_models():
            try:
                self._study._storage.set_trial_param(
                    self.trial._trial_id, name, distribution.to_internal_repr(value), distribution
                )
            except ValueError as error:
                raise FatalValueError(
                    f"study {self._study.study_name!r} knows hyperparameter {name!r} with other "
                    f"values than the search space gives it now ({error}). Go back to the earlier "
                    "space, or choose another study_name or project_name."
                ) from error
        return value

    def report(self, value: float, step: int, *, may_prune: bool = True) -> bool:
        """Record an intermediate value; True means stop now.

        A step that is not beyond the last one is passed over: a further execution begins anew.

        Raises:
            FatalRuntimeError: The storage or the pruner has failed.
        """
        if not self.pruned and step > max(self.reported, default=-1):
            self.reported[step] = value
            with _not_the_models():
                self.trial.report(value, step)
                self.pruned = may_prune and self.trial.should_prune()
        return self.pruned

    def describe(self) -> None:
        """Tell the study what the run has cost, and what it was given that is not searched."""
        attrs = {
            "seconds": round(time.monotonic() - self._started, 3),
            "epochs": self.epochs,
            "fixed": self.hyperparameters.fixed,
        }
        for name, value in attrs.items():
            if value:
                self.trial.set_user_attr(name, value)


class DrawnHyperParameters(TrialHyperParameters):
    """The hyperparameters of one run, each told to the study when the run first reads it.

    Args:
        attempt: The run.
        space: The hyperparameters known so far, parents before children.
        tune_new_entries: Whether those first named in the run are drawn; else they take their
            defaults.

    Raises:
        FatalValueError: (also when the run names one) A name has two conditions.
    """

    def __init__(self, attempt: Attempt, space: Iterable[Any], *, tune_new_entries: bool) -> None:
        super().__init__(attempt.draw)
        self._attempt = attempt
        self._unread: dict[str, Any] = {}
        self._draws = True
        for hyperparameter in space:
            self._register(hyperparameter)
        self._draws = tune_new_entries
        self._has_read = False
        self.values: dict[str, Any] = _Watched(self.values, self._read)

    def finish(self) -> keras_tuner.HyperParameters:
        """Let go of the study.

        Returns:
            What the run has read; all, if it has read nothing one by one.
        """
        if not self._has_read:
            self._read_all()
        self._draws = False
        unread, self._unread = self._unread, {}
        read = keras_tuner.HyperParameters()
        read.values = {name: self.values[name] for name in self.values if name not in unread}
        read.merge([each for each in self.space if each.name not in unread], overwrite=False)
        return read

    def peek(self) -> keras_tuner.HyperParameters:
        """A copy to look at, as tables and files do: nothing counts as read."""
        return keras_tuner.HyperParameters.from_config(self.get_config())

    def copy(self) -> keras_tuner.HyperParameters:
        """See `keras_tuner.HyperParameters`; nobody sees what is read of a copy: all counts."""
        self._read_all()
        return self.peek()

    def get_config(self) -> dict[str, Any]:
        """See `keras_tuner.HyperParameters`; nothing counts as read."""
        plain = dict(dict.items(self.values))  # any other way would read them
        space = [{"class_name": type(p).__name__, "config": p.get_config()} for p in self.space]
        return {"space": space, "values": plain}

    def __reduce__(self) -> Any:
        # A copy or a pickle is of the values, not of the study.
        self._read_all()
        return keras_tuner.HyperParameters.from_config, (self.get_config(),)

    def _register(self, hyperparameter: Any, overwrite: bool = False) -> Any:
        if not self._draws:
            return keras_tuner.HyperParameters._register(self, hyperparameter, overwrite)
        try:
            value = super()._register(hyperparameter, overwrite)
        except ValueError as error:
            # Any other error would only fail the trial, and the next, and the next.
            raise FatalValueError(str(error)) from error
        if self.is_active(hyperparameter) and not isinstance(hyperparameter, kinds.Fixed):
            self._unread[hyperparameter.name] = hyperparameter
        return value

    def _retrieve(self, hyperparameter: Any) -> Any:
        with _not_the_models():
            value = super()._retrieve(hyperparameter)
        self._read(hyperparameter.name)  # one that is new was not known while it was registered
        return value

    def _read_all(self) -> None:
        for name in list(self._unread):
            self._read(name)

    def _read(self, name: str) -> None:
        if name in self._unread:
            self._has_read = True
            value_of(self._attempt.write, self._unread.pop(name))


class _Watched(dict[str, Any]):
    """Values that say when one of them is read."""

    def __init__(self, values: dict[str, Any], read: Callable[[str], None]) -> None:
        super().__init__(values)
        self._read = read

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        self._read(name)
        return value

    def __iter__(self) -> Iterator[str]:
        # Where this is overridden, dict(values), {**values} and f(**values) go by __getitem__.
        return super().__iter__()

    def __reduce__(self) -> Any:
        return dict, (self.copy(),)

    def get(self, name: str, default: Any = None) -> Any:
        """See `dict`."""
        return self[name] if name in self else default  # noqa: SIM401

    def pop(self, name: str, *default: Any) -> Any:
        """See `dict`."""
        if name in self:
            self._read(name)
        return super().pop(name, *default)

    def items(self) -> Any:
        """See `dict`."""
        return self.copy().items()

    def values(self) -> Any:
        """See `dict`."""
        return self.copy().values()

    def copy(self) -> dict[str, Any]:
        """See `dict`; the copy is not watched."""
        return {name: self[name] for name in self}


@contextmanager
def _not_the_models() -> Iterator[None]:
    # KerasTuner takes any error but a fatal one for a failure of the model that runs.
    try:
        yield
    except FatalError:
        raise
    except Exception as error:
        raise FatalRuntimeError(
            f"Optuna failed, not the model ({type(error).__name__}: {error}). Mend the storage, "
            "sampler or pruner, and run the same program again: the trial is repeated."
        ) from error


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except ValueError:
        return False

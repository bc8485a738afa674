"""One run of a trial: its Optuna trial, and the hyperparameters that the run reads."""

import copy
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras_tuner
import optuna
from keras_tuner.engine import hyperparameters as kinds
from keras_tuner.errors import FatalError, FatalRuntimeError, FatalValueError
from optuna.distributions import BaseDistribution, CategoricalDistribution

from search.errors import SearchError
from search.training.hyperparameters import TrialHyperParameters, value_of
from spaces.errors import one_line


class Attempt:
    """One run of a trial.

    Values are drawn before the run, because KerasTuner shows them first. Each is written to the
    study when the run reads it, so that the study holds what the model was built with.

    Args:
        study: The study.
        trial: Its running trial, still without parameters.
        space: The hyperparameters known so far, parents before children.
        wanted: Values to use in place of drawn ones, by their names in Optuna.
        tune_new_entries: Whether hyperparameters that the run names first are drawn; otherwise
            they take their defaults.

    Attributes:
        trial: The Optuna trial.
        params: The values drawn, by their names in Optuna.
        hyperparameters: The hyperparameters to run with.
        epochs: Number of epochs that have ended, over all executions.
        executions: Number of executions that have begun.
        pruned: Whether the pruner has stopped the run.
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
        # The trial as the sampler sees it: with what was drawn, before it is written.
        self._drawn = copy.deepcopy(study.get_trials(deepcopy=False)[trial.number])
        self._started = time.monotonic()
        self.hyperparameters = DrawnHyperParameters(self, space, tune_new_entries=tune_new_entries)

    def draw(self, name: str, distribution: BaseDistribution) -> Any:
        """Return a value that is wanted, or from the sampler, without writing it to the study."""
        wanted = name in self._wanted
        if wanted and not _contains(distribution, self._wanted[name]):
            wanted = False
            warnings.warn(
                f"trial {self.trial.number} was to run with {name}={self._wanted[name]!r}, which "
                f"is not in {distribution}; another value is drawn.",
                stacklevel=2,
            )
        if wanted:
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
        """Write the drawn value to the study, and return it.

        Raises:
            FatalValueError: The study knows this name with other values.
            FatalRuntimeError: The storage cannot be written.
        """
        value = self.params[name]
        with _fatal_errors():
            try:
                # Trial.suggest_float() and its like would draw another value.
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

        A step that is not above the last one is ignored: a further execution starts again at 1.

        Raises:
            FatalRuntimeError: The storage or the pruner has failed.
        """
        if not self.pruned and step > max(self.reported, default=-1):
            self.reported[step] = value
            with _fatal_errors():
                self.trial.report(value, step)
                self.pruned = may_prune and self.trial.should_prune()
        return self.pruned

    def describe(self) -> None:
        """Write duration, epochs and fixed values to the study, and warn of unused values."""
        attrs = {
            "seconds": round(time.monotonic() - self._started, 3),
            "epochs": self.epochs,
            "fixed": self.hyperparameters.fixed,
        }
        for name, value in attrs.items():
            if value:
                self.trial.set_user_attr(name, value)
        given = self.hyperparameters
        inactive = {each.name for each in given.space if not given.is_active(each)}
        unused = sorted(set(self._wanted) - set(self.params) - inactive)
        if unused:
            warnings.warn(
                f"trial {self.trial.number} was to run with values of {', '.join(unused)}, which "
                f"its search space does not use; it uses {', '.join(self.params)}.",
                stacklevel=2,
            )


class DrawnHyperParameters(TrialHyperParameters):
    """The hyperparameters of one run, each written to the study when the run first reads it.

    KerasTuner has no public hook for that: `hp.Int` and its like end in `_register` and
    `_retrieve`.

    Args:
        attempt: The run.
        space: The hyperparameters known so far, parents before children.
        tune_new_entries: Whether those that the run names first are drawn; otherwise they take
            their defaults.

    Raises:
        FatalValueError: A name has two conditions, here or when the run names it.
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
        self.values: dict[str, Any] = _WatchedDict(self.values, self._read)

    def finish(self) -> keras_tuner.HyperParameters:
        """Stop writing to the study.

        Returns:
            The hyperparameters that the run has read; all, if it has read none singly.
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
        """Return a copy to show or to save; nothing counts as read."""
        return keras_tuner.HyperParameters.from_config(self.get_config())

    def copy(self) -> keras_tuner.HyperParameters:
        """See `keras_tuner.HyperParameters`; all counts as read, as reads of a copy are unseen."""
        self._read_all()
        return self.peek()

    def get_config(self) -> dict[str, Any]:
        """See `keras_tuner.HyperParameters`; nothing counts as read."""
        plain = dict(dict.items(self.values))  # any other way would read them
        space = [{"class_name": type(p).__name__, "config": p.get_config()} for p in self.space]
        return {"space": space, "values": plain}

    def __reduce__(self) -> Any:
        # A deep copy or a pickle holds the values, not the study.
        self._read_all()
        return keras_tuner.HyperParameters.from_config, (self.get_config(),)

    def _register(self, hyperparameter: Any, overwrite: bool = False) -> Any:
        if not self._draws:
            return keras_tuner.HyperParameters._register(self, hyperparameter, overwrite)
        try:
            value = super()._register(hyperparameter, overwrite)
        except (SearchError, ValueError) as error:
            # Any other error would fail this trial only, and then each one that follows.
            raise FatalValueError(str(error)) from error
        if self.is_active(hyperparameter) and not isinstance(hyperparameter, kinds.Fixed):
            self._unread[hyperparameter.name] = hyperparameter
        return value

    def _retrieve(self, hyperparameter: Any) -> Any:
        with _fatal_errors():
            value = super()._retrieve(hyperparameter)
        self._read(hyperparameter.name)  # a new one was not known while it was registered
        return value

    def _read_all(self) -> None:
        for name in list(self._unread):
            self._read(name)

    def _read(self, name: str) -> None:
        if name in self._unread:
            self._has_read = True
            value_of(self._attempt.write, self._unread.pop(name))


class _WatchedDict(dict[str, Any]):
    """A dictionary that calls `read` with each name whose value is read."""

    def __init__(self, values: dict[str, Any], read: Callable[[str], None]) -> None:
        super().__init__(values)
        self._read = read

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        self._read(name)
        return value

    def __iter__(self) -> Iterator[str]:
        # Where this is overridden, dict(values), {**values} and f(**values) use __getitem__.
        return super().__iter__()

    def __reduce__(self) -> Any:
        return dict, (self.copy(),)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401

    def pop(self, name: str, *default: Any) -> Any:
        if name in self:
            self._read(name)
        return super().pop(name, *default)

    def items(self) -> Any:
        return self.copy().items()

    def values(self) -> Any:
        return self.copy().values()

    def copy(self) -> dict[str, Any]:
        return {name: self[name] for name in self}


@contextmanager
def _fatal_errors() -> Iterator[None]:
    # KerasTuner takes any error except a fatal one for a failure of the model.
    try:
        yield
    except FatalError:
        raise
    except Exception as error:
        raise FatalRuntimeError(
            f"Optuna failed, not the model ({one_line(error, typed=True)}). Repair the storage, "
            "sampler or pruner, and run the same program again: the trial is repeated."
        ) from error


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    try:
        # Optuna exports no function that tests this.
        return distribution._contains(distribution.to_internal_repr(value))
    except ValueError:
        return False

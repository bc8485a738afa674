"""Complete given hyperparameters to a point of a user's space, by running its `build`."""

import math
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution

from search.apart import ProcessEndedError, run_apart
from search.errors import SearchError
from search.training.hardware import start_tensorflow
from search.workers.limits import exit_words
from search.workers.process import redirect_output
from spaces import DataShape, SpaceError
from spaces.errors import did_you_mean, one_line


class PointError(SearchError):
    """The values are not a point of the space."""


def point_of(space: str, data: DataShape, values: Mapping[str, Any], log: Path) -> dict[str, Any]:
    """Build a model in a separate process, with given hyperparameters.

    Args:
        space: As for `spaces.load_space`.
        data: As there.
        values: Hyperparameters by name; those left out have the defaults of their questions.
        log: File for the output of that process.

    Returns:
        All hyperparameters that were asked for, as Optuna's parameters.

    Raises:
        SpaceError: The space cannot be loaded.
        PointError: A value is not allowed or not asked for, or `build` fails with them.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        return run_apart(_point_logged, space, data, dict(values), log, name="exploring")
    except ProcessEndedError as error:
        raise PointError(f"its process ended with {exit_words(error.code)} (see {log}).") from error


def _point_logged(space: str, data: DataShape, values: dict[str, Any], log: Path) -> dict[str, Any]:
    redirect_output(log)
    try:
        return _point(space, data, values)
    except (SpaceError, PointError):
        raise
    except (Exception, SystemExit) as error:  # user code: any exception is possible
        traceback.print_exc()
        raise PointError(
            f"build(hp) failed with them, {one_line(error, typed=True)} (see {log})."
        ) from error


def _point(name: str, data: DataShape, given: dict[str, Any]) -> dict[str, Any]:
    start_tensorflow(devices=False)
    from search.training.building import ask_space, own_fit
    from search.training.hyperparameters import TrialHyperParameters, to_params
    from spaces import load_space

    params: dict[str, Any] = {}

    def answer(asked: str, distribution: BaseDistribution) -> Any:
        # It is registered with its default before its value is asked for.
        hyperparameter = hp.space[-1]
        value = given.get(hyperparameter.name, hyperparameter.default)
        if hyperparameter.name in given and not _allows(hyperparameter, value):
            raise PointError(
                f"{hyperparameter.name} is {value!r}; it must be {_rule(hyperparameter)}."
            )
        params.update(to_params({hyperparameter.name: value}, [hyperparameter]))
        return params[asked]

    hp = TrialHyperParameters(answer)
    loaded = load_space(name, data)
    ask_space(loaded, hp)
    for unused in sorted(given.keys() - (hp.values.keys() - hp.fixed.keys())):
        if unused not in hp.values and own_fit(loaded, hp) is not None:
            params[unused] = given[unused]  # its training may ask for it
            continue
        raise PointError(
            f"{unused} has no effect with these values; leave it out."
            f"{did_you_mean(unused, hp.values, cutoff=0.6)}"
        )
    return params


def _allows(hyperparameter: Any, value: Any) -> bool:
    """Return whether one of KerasTuner's hyperparameters can have a value."""
    from keras_tuner.engine import hyperparameters as kinds

    if isinstance(hyperparameter, kinds.Boolean):
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if isinstance(hyperparameter, kinds.Choice):
        return value in hyperparameter.values
    if not isinstance(value, int if isinstance(hyperparameter, kinds.Int) else int | float):
        return False
    if not hyperparameter.min_value <= value <= hyperparameter.max_value:
        return False
    if not hyperparameter.step:
        return True
    if hyperparameter.sampling == "linear":  # a range may have billions of values
        steps = (value - hyperparameter.min_value) / hyperparameter.step
        return math.isclose(steps, round(steps), rel_tol=0, abs_tol=1e-6)
    return any(math.isclose(value, allowed) for allowed in hyperparameter.values)


def _rule(hyperparameter: Any) -> str:
    from keras_tuner.engine import hyperparameters as kinds

    if isinstance(hyperparameter, kinds.Boolean):
        return "true or false"
    if isinstance(hyperparameter, kinds.Choice):
        return f"one of {', '.join(map(str, hyperparameter.values))}"
    kind = "a whole number" if isinstance(hyperparameter, kinds.Int) else "a number"
    step = f" in steps of {hyperparameter.step:g}" if hyperparameter.step else ""
    return f"{kind} from {hyperparameter.min_value:g} to {hyperparameter.max_value:g}{step}"

"""The hyperparameters of a space, found before any trial, as KerasTuner's oracles need them."""

import tempfile
import traceback
from pathlib import Path
from typing import Any

from search.apart import ProcessEndedError, run_apart
from search.errors import SearchError
from search.training.hardware import start_tensorflow
from search.workers.limits import exit_words
from search.workers.process import redirect_output
from spaces import DataShape, SpaceError
from spaces.errors import one_line


class UnexploredError(SearchError):
    """A space cannot be explored.

    Args:
        message: The line for the user.
        reason: Why, in words, without a full stop.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


def explore(space: str, data: DataShape, log: Path) -> list[dict[str, Any]]:
    """Build models in a separate process until every conditional scope was active once.

    Args:
        space: As for `spaces.load_space`.
        data: As there.
        log: File for the output of that process.

    Returns:
        The hyperparameters, as KerasTuner's configs.

    Raises:
        SpaceError: The space cannot be loaded.
        UnexploredError: `build` fails with the space's defaults, or its process ends.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Building may crash, and TensorFlow would take a GPU: not in the coordinator.
        return run_apart(_explore_logged, space, data, log, name="exploring")
    except ProcessEndedError as error:
        reason = f"its process ended with {exit_words(error.code)}"
        raise UnexploredError(
            f"space {space!r} could not be explored before the first trial: {reason}. "
            f"Repeat the command; if it fails again, see {log}.",
            reason,
        ) from error


def _explore_logged(space: str, data: DataShape, log: Path) -> list[dict[str, Any]]:
    redirect_output(log)
    try:
        return _explore(space, data)
    except SpaceError:
        raise
    except (Exception, SystemExit) as error:  # user code: any exception is possible
        traceback.print_exc()
        reason = one_line(error, typed=True)
        raise UnexploredError(
            f"space {space!r}: build(hp) failed while its hyperparameters were collected, "
            f"{reason} (more in {log}). KerasTuner's tuners need them before the first trial; "
            "correct build(hp), or use --engine optuna, which does not.",
            reason,
        ) from error


def _explore(name: str, data: DataShape) -> list[dict[str, Any]]:
    start_tensorflow(devices=False)
    import keras
    import keras_tuner
    from keras_tuner.engine.base_tuner import BaseTuner

    from search.training.building import ask_space
    from spaces import load_space

    space = load_space(name, data)

    def build(hp: Any) -> Any:
        keras.backend.clear_session()
        return ask_space(space, hp)[0]

    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("val_accuracy", "max")
    )
    with tempfile.TemporaryDirectory() as directory:
        # A tuner explores the space when it is made.
        BaseTuner(oracle, build, directory=directory)
    found: list[dict[str, Any]] = oracle.get_space().get_config()["space"]
    return found

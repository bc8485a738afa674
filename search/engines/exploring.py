"""The hyperparameters of a space, found before any trial, as KerasTuner's oracles need them."""

import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from search.errors import SearchError
from search.training.hardware import start_tensorflow
from search.workers.process import redirect_output
from spaces import SpaceError
from spaces.errors import one_line

_Result = TypeVar("_Result")


def explore(space: str, log: Path) -> list[dict[str, Any]]:
    """Build models in a separate process until every conditional scope was active once.

    Args:
        space: As for `spaces.load_space`.
        log: File for the output of that process.

    Returns:
        The hyperparameters, as KerasTuner's configs.

    Raises:
        SpaceError: The space cannot be loaded.
        SearchError: `build` fails with the space's defaults.
    """
    return _in_process(_explore, space, log)


@dataclass(frozen=True, slots=True)
class SpaceSize:
    """How much there is to search.

    Args:
        hyperparameters: Number of hyperparameters with a choice.
        configurations: Number of configurations; None: they are not finite.
    """

    hyperparameters: int
    configurations: int | None


def size_of(space: str, log: Path) -> SpaceSize:
    """Explore a space as `explore` does, and return its size.

    Args:
        space: As for `explore`.
        log: As there.

    Raises:
        SpaceError: As there.
        SearchError: As there.
    """
    return _in_process(_size, space, log)


def _in_process(work: Callable[[str], _Result], space: str, log: Path) -> _Result:
    log.parent.mkdir(parents=True, exist_ok=True)
    # Building may crash, and TensorFlow would take a GPU: not in the coordinator.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, redirect_output, (log,)) as pool:
        try:
            return pool.submit(work, space).result()
        except SpaceError:
            raise
        except BrokenProcessPool as error:
            raise SearchError(
                f"space {space!r}: build(hp) killed its process; see {log}."
            ) from error
        except (Exception, SystemExit) as error:  # user code: any exception is possible
            raise SearchError(
                f"space {space!r}: build(hp) failed while its hyperparameters were collected, "
                f"{one_line(error, typed=True)} (more in {log}). KerasTuner's tuners need them "
                "before the first trial; correct build(hp), or use --engine optuna, which does not."
            ) from error


def _explore(name: str) -> list[dict[str, Any]]:
    start_tensorflow(devices=False)
    import keras
    import keras_tuner
    from keras_tuner.engine.base_tuner import BaseTuner

    from search.training.building import ask_space
    from spaces import load_space

    space = load_space(name)

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


def _size(name: str) -> SpaceSize:
    found = _explore(name)
    import keras_tuner

    from search.engines.untried import count_configurations

    space = keras_tuner.HyperParameters.from_config({"space": found, "values": {}}).space
    asked = {each.name for each in space if type(each).__name__ != "Fixed"}
    return SpaceSize(len(asked), count_configurations(space))

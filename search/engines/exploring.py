"""The hyperparameters of a space, found before any trial, as KerasTuner's oracles need them."""

import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from search.errors import SearchError
from search.training.hardware import start_tensorflow
from search.workers.process import redirect_output
from spaces import SpaceError
from spaces.errors import one_line


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
    log.parent.mkdir(parents=True, exist_ok=True)
    # Building may crash, and TensorFlow would take a GPU: not in the coordinator.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, redirect_output, (log,)) as pool:
        try:
            return pool.submit(_explore, space).result()
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

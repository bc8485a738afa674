"""Find out what a space asks for, before any trial: KerasTuner's oracles want to know."""

import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import keras_tuner

from search.errors import SearchError
from search.workers.process import redirect_output
from spaces import SpaceError

Space = list[dict[str, Any]]


def explore(space: str, log: Path) -> Space:
    """Build models until every conditional scope was active once, in a process of its own.

    Args:
        space: As for `spaces.load_space`.
        log: File that takes what that process prints.

    Returns:
        The hyperparameters, as KerasTuner writes them down.

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
        except Exception as error:  # the space is the user's: anything may come
            reason = " ".join(str(error).split())
            raise SearchError(
                f"space {space!r}: build(hp) failed while its hyperparameters were collected, "
                f"{type(error).__name__}: {reason} (more in {log}). KerasTuner's tuners need to "
                "know them first; mend build(hp), or use --engine optuna, which does not."
            ) from error


def _explore(name: str) -> Space:
    import keras
    from keras_tuner.engine.base_tuner import BaseTuner
    from keras_tuner.oracles import RandomSearchOracle

    from search.training.building import ask_space
    from spaces import load_space

    space = load_space(name)

    def build(hp: Any) -> Any:
        keras.backend.clear_session()
        return ask_space(space, hp)[0]

    oracle = RandomSearchOracle(objective=keras_tuner.Objective("val_accuracy", "max"))
    with tempfile.TemporaryDirectory() as directory:
        # A tuner explores when it is made.
        BaseTuner(oracle, build, directory=directory)
    found: Space = oracle.get_space().get_config()["space"]
    return found

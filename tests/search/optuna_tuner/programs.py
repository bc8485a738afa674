"""Tiny programs for KerasTuner: tuners, build functions and data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import optuna
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from search.optuna_tuner import OptunaOracle

rng = np.random.default_rng(0)
X = rng.random((16, 8, 8)).astype("float32")
Y = rng.integers(0, 2, 16)
FIT: dict[str, Any] = {"validation_data": (X, Y), "batch_size": 16, "verbose": 0}


class FunctionTuner(BaseTuner):
    """Runs `function(hp)` or `function(hp, trial, oracle)` instead of a training."""

    def __init__(
        self, oracle: OptunaOracle, function: Callable[..., Any], folder: Path, **kwargs: Any
    ) -> None:
        self.function = function
        super().__init__(oracle, directory=str(folder), project_name="project", **kwargs)

    def run_trial(self, trial: Trial, *args: Any, **kwargs: Any) -> Any:
        count = self.function.__code__.co_argcount
        return self.function(*(trial.hyperparameters, trial, self.oracle)[:count])

    def load_model(self, trial: Trial) -> Any:
        return trial.hyperparameters.values


def search(function: Callable[..., Any], folder: Path, **kwargs: Any) -> FunctionTuner:
    """Maximize a function, and return the tuner."""
    kwargs.setdefault("objective", keras_tuner.Objective("score", "max"))
    kwargs.setdefault("seed", 0)
    tuner = FunctionTuner(OptunaOracle(**kwargs), function, folder)
    tuner.search(verbose=0)
    return tuner


def states(study: optuna.Study) -> list[str]:
    """The states of a study's trials."""
    return [trial.state.name for trial in study.get_trials(deepcopy=False)]


class StopsAt(BasePruner):
    """Prunes all but the first trial at one step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return trial.number > 0 and trial.last_step == self._step


def layers_and_units(hp: Any) -> float:
    """A network that has a second layer only if `layers` is 2."""
    return float(sum(hp.Choice(f"units_{i}", [1, 2]) for i in range(hp.Int("layers", 1, 2))))


def build(hp: Any) -> keras.Model:
    """A dense network of one or two layers."""
    model = keras.Sequential([keras.Input((8, 8)), keras.layers.Flatten()])
    for index in range(hp.Int("layers", 1, 2)):
        model.add(keras.layers.Dense(hp.Int(f"units_{index}", 2, 6, step=2), activation="relu"))
    model.add(keras.layers.Dense(2, activation="softmax"))
    # Tracing graphs would take longer than all the training.
    model.compile(
        keras.optimizers.SGD(hp.Float("rate", 1e-3, 1e-1, sampling="log")),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        run_eagerly=True,
    )
    return model

"""Optuna's samplers, pruners, storages and dashboard for programs written for KerasTuner.

`OptunaTuner` takes the place of `keras_tuner.RandomSearch` and its like; `OptunaOracle` that of an
oracle, for subclasses of `keras_tuner.Tuner`, `SklearnTuner` and hand-written `run_trial`s.
"""

from search.optuna_tuner.oracle import OptunaOracle
from search.optuna_tuner.tuner import OptunaTuner

__all__ = ["OptunaOracle", "OptunaTuner"]

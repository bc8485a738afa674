"""Optuna's samplers, pruners, storages and dashboard for programs written for KerasTuner.

`OptunaTuner` replaces `keras_tuner.RandomSearch` and its like. `OptunaOracle` replaces an oracle,
for `SklearnTuner`, subclasses of `keras_tuner.Tuner`, and your own `run_trial`.
"""

from search.optuna_tuner.oracle import OptunaOracle
from search.optuna_tuner.tuner import OptunaTuner

__all__ = ["OptunaOracle", "OptunaTuner"]

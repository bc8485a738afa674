"""KerasTuner's tuners by name, without importing KerasTuner: it takes TensorFlow's 5 seconds."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Tuner:
    """An entry of `TUNERS`.

    Args:
        help: Phrase for `--help` and the documentation.
        oracle: Name of its class in `search.engines.oracles`.
        has_budgets: Whether it gives each trial an epoch budget, which replaces the pruner.
        takes_first: Whether it tries given configurations first; a grid has its own order.
    """

    help: str
    oracle: str
    has_budgets: bool = False
    takes_first: bool = True


TUNERS: Final = {
    "hyperband": Tuner(
        "epoch budgets replace the pruner, the best trials continue", "Hyperband", has_budgets=True
    ),
    "bayesian": Tuner("Gaussian process", "BayesianOptimization"),
    "random": Tuner("uniform draws", "RandomSearch"),
    "grid": Tuner(
        "all combinations of KerasTuner's values, without first configurations",
        "GridSearch",
        takes_first=False,
    ),
}

"""The simulated spaces as KerasTuner's hyperparameters; their workers do not import it."""

from typing import Any

import keras_tuner


def _conditional(hp: Any) -> None:
    hp.Int("layers", 0, 3)
    hp.Float("rate", 1e-4, 1e-1, sampling="log")
    for index in range(3):
        with hp.conditional_scope("layers", list(range(index + 1, 4))):
            hp.Int(f"width_{index}", 4, 64, step=4)
    hp.Choice("kind", ["a", "b", "c"])


def _finite(hp: Any) -> None:
    hp.Int("x", 1, 4)
    hp.Choice("kind", ["a", "b", "c"])


def _finite_conditional(hp: Any) -> None:
    hp.Choice("kind", ["plain", "dropout", "noise"])
    with hp.conditional_scope("kind", ["dropout", "noise"]):
        hp.Float("rate", 0.0, 0.4, step=0.1)
    hp.Boolean("wide")


def _unscoped(hp: Any) -> None:
    hp.Int("layers", 1, 2)
    for index in range(2):
        hp.Int(f"width_{index}", 1, 3)


def _fails_while_built(hp: Any) -> None:
    hp.Int("y", 1, 9)
    hp.Int("x", 1, 9)  # a grid changes the last one first


def _finite_failing(hp: Any) -> None:
    hp.Int("x", 1, 3)


def _behaving(hp: Any) -> None:
    hp.Float("x", 0.0, 1.0)


_DECLARED = {
    "conditional": _conditional,
    "finite": _finite,
    "finite conditional": _finite_conditional,
    "unscoped": _unscoped,
    "fails while built": _fails_while_built,
    "finite failing": _finite_failing,
}


def declared(space: str) -> list[dict[str, Any]]:
    """Return the hyperparameters of one of `simulated.SPACES`, as KerasTuner's configs."""
    hp = keras_tuner.HyperParameters()
    _DECLARED.get(space, _behaving)(hp)
    config: list[dict[str, Any]] = hp.get_config()["space"]
    return config

"""The simulated spaces as KerasTuner knows them: their workers do without KerasTuner."""

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


def _fails_while_built(hp: Any) -> None:
    hp.Int("y", 1, 9)
    hp.Int("x", 1, 9)  # a grid changes the last one first


def declared(space: str) -> list[dict[str, Any]]:
    """The hyperparameters of one of `simulated.SPACES`, as KerasTuner writes them down."""
    hp = keras_tuner.HyperParameters()
    if space == "conditional":
        _conditional(hp)
    elif space == "finite":
        _finite(hp)
    elif space == "finite conditional":
        _finite_conditional(hp)
    elif space == "fails while built":
        _fails_while_built(hp)
    elif space == "finite failing":
        hp.Int("x", 1, 3)
    else:
        hp.Float("x", 0.0, 1.0)
    config: list[dict[str, Any]] = hp.get_config()["space"]
    return config

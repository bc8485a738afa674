"""The methods of the comparison, by the names that tables show."""

from dataclasses import dataclass
from typing import Final

OURS: Final = "ours"


@dataclass(frozen=True, slots=True)
class Peer:
    """A method.

    Args:
        module: Module of this package that runs it.
        in_leagues: Whether it is another search in each league; ours is the same in both.
    """

    module: str
    in_leagues: bool = True


PEERS: Final = {
    OURS: Peer("ours", in_leagues=False),
    "KerasTuner Hyperband": Peer("keras_tuner_peers"),
    "KerasTuner BayesianOptimization": Peer("keras_tuner_peers"),
    "Optuna TPE, median pruner": Peer("optuna_peers"),
    "Ray Tune ASHA": Peer("ray_peer"),
    "random search": Peer("optuna_peers"),
    "default merely trained": Peer("default_alone", in_leagues=False),
}
LEAGUES: Final = ("system", "algorithm")

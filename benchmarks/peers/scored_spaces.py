"""The built-in spaces, whose models score themselves after each epoch."""

from dataclasses import asdict
from typing import Any

from benchmarks.peers.scoring import scored
from spaces.baselines import PUBLISHED_FOR
from spaces.cnn import CnnSpace
from spaces.mlp import MlpSpace


class _ScoredSpace:
    def __init__(self, space: Any) -> None:
        self._space = space

    def build(self, hp: Any) -> Any:
        """Build the model of a trial."""
        return scored(self._space.build(hp))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._space, name)


CNN = _ScoredSpace(CnnSpace(**asdict(PUBLISHED_FOR)))
MLP = _ScoredSpace(MlpSpace(**asdict(PUBLISHED_FOR)))

"""The built-in spaces, whose models score themselves after each epoch."""

from typing import Any

from benchmarks.peers.scoring import scored
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


CNN = _ScoredSpace(CnnSpace())
MLP = _ScoredSpace(MlpSpace())

"""The built-in spaces, whose models score themselves after each epoch."""

from dataclasses import fields
from typing import Any

from benchmarks.peers.job import data_shape
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


_DATA = data_shape()
_KNOWN: dict[str, Any] = {part.name: getattr(_DATA, part.name) for part in fields(_DATA)}
CNN = _ScoredSpace(CnnSpace(**_KNOWN))
MLP = _ScoredSpace(MlpSpace(**_KNOWN))

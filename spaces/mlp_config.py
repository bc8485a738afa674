"""A point of the `mlp` space: a frozen configuration, and the questions that make one."""

from dataclasses import dataclass, field
from typing import Any

from spaces.cnn_config import ACTIVATIONS, PLACEMENTS
from spaces.configuration import Configuration, numbered
from spaces.hyperparameters import HyperParameters
from spaces.training_config import TrainingConfig
from spaces.training_space import sample_training


@dataclass(frozen=True, slots=True, kw_only=True)
class MlpConfig(Configuration):
    """All that makes and trains one network of the `mlp` space.

    Args:
        dense: Widths of one to three dense layers, each 16 to 1,024.
        activation: `relu`, `silu` or `elu`.
        batch_norm: Batch normalization of each layer: `none`, or `before` or `after` activation.
        dropout: Dropout rate after each layer; 0 to 0.5 in steps of 0.05.
        training: How the network is trained.

    Raises:
        ValueError: A value lies outside the space.
    """

    dense: tuple[int, ...]
    activation: str = "relu"
    batch_norm: str = "none"
    dropout: float = 0.0
    training: TrainingConfig = field(default_factory=TrainingConfig)

    @classmethod
    def _ask(cls, hp: HyperParameters) -> dict[str, Any]:
        layers = hp.Int("dense_layers", 1, 3, default=2)
        widths = []
        for index in (1, 2, 3):
            with hp.conditional_scope("dense_layers", list(range(index, 4))):
                widths.append(hp.Int(f"dense_{index}", 16, 1024, sampling="log", default=256))
        return {
            "dense": tuple(widths[:layers]),
            "activation": hp.Choice("activation", list(ACTIVATIONS)),
            "batch_norm": hp.Choice("batch_norm", list(PLACEMENTS), default="before"),
            "dropout": hp.Float("dropout", 0.0, 0.5, step=0.05, default=0.2),
            "training": sample_training(hp),
        }

    def _answers(self) -> dict[str, Any]:
        single = {name: getattr(self, name) for name in ("activation", "batch_norm", "dropout")}
        return single | {"dense_layers": len(self.dense)} | numbered("dense", self.dense)

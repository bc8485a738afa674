"""A point of the `mlp` space: a frozen configuration, and the questions that make one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from spaces.cnn_config import ACTIVATIONS, PLACEMENTS
from spaces.hyperparameters import HyperParameters, Replay
from spaces.training_config import TrainingConfig
from spaces.training_space import sample_training, training_answers


@dataclass(frozen=True, slots=True, kw_only=True)
class MlpConfig:
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

    def __post_init__(self) -> None:
        self._replay()

    @classmethod
    def sample(cls, hp: HyperParameters) -> Self:
        """Ask `hp` for a configuration; a question that does not matter is not active."""
        return cls(**_ask(hp))

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Self:
        """Read a configuration from hyperparameter values; see `CnnConfig.from_params`."""
        own = {name: value for name, value in params.items() if not name.startswith("tuner/")}
        replay = Replay(own, "params")
        config = cls.sample(replay)
        replay.refuse_unused(neutral={})
        return config

    def params(self) -> dict[str, Any]:
        """The hyperparameter values by name that make `sample` return this configuration."""
        return self._replay().values

    def _replay(self) -> Replay:
        answers = {name: getattr(self, name) for name in ("activation", "batch_norm", "dropout")}
        answers["dense_layers"] = len(self.dense)
        for index, width in enumerate(self.dense, start=1):
            answers[f"dense_{index}"] = width
        replay = Replay(answers | training_answers(self.training), type(self).__name__)
        _ask(replay)
        replay.refuse_unused(neutral={part.name: part.default for part in fields(self)})
        return replay


def _ask(hp: HyperParameters) -> dict[str, Any]:
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

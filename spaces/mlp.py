"""A small space: dense networks on pixels, quick to search."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

from spaces.cnn_config import ACTIVATIONS, PLACEMENTS
from spaces.hyperparameters import HyperParameters, Replay
from spaces.training_config import TrainingConfig
from spaces.training_space import describe_training, sample_training, training_answers

if TYPE_CHECKING:
    import keras


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


class MlpSpace:
    """Dense networks on pixels; KerasTuner takes `MlpSpace().build` as it is.

    Attributes:
        baselines: The published network of this kind, by name.
        default: A recipe to start from.
    """

    baselines: dict[str, MlpConfig]
    default: MlpConfig

    def __init__(self) -> None:
        self.baselines = {"mlp": MlpConfig(dense=(128,))}
        self.default = MlpConfig.from_params({})

    def build(self, hp: HyperParameters) -> "keras.Model":
        """Build the network that `hp` describes, not compiled; `training` says how to train it."""
        from spaces.mlp_model import build_model

        return build_model(MlpConfig.sample(hp))

    def training(self, hp: HyperParameters) -> TrainingConfig:
        """How the network that `hp` describes is trained."""
        return sample_training(hp)

    def describe(self, params: Mapping[str, Any]) -> str:
        """The configuration that hyperparameter values make, in words, on one line.

        Raises:
            ValueError: A value is out of range, changes nothing or has an unknown name.
        """
        config = MlpConfig.from_params(params)
        parts = [f"dense {width}" for width in config.dense]
        if config.batch_norm != "none":
            parts.append(f"batch norm {config.batch_norm} activation")
        if config.dropout:
            parts.append(f"dropout {config.dropout:.3g} after each dense layer")
        parts.append(config.activation)
        return f"{'; '.join(parts)} | {describe_training(config.training)}"

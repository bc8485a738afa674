"""A small space: dense networks on pixels, quick to search."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spaces.hyperparameters import HyperParameters
from spaces.mlp_config import MlpConfig
from spaces.training_config import TrainingConfig
from spaces.training_space import describe_training, sample_training

if TYPE_CHECKING:
    import keras

__all__ = ["MlpConfig", "MlpSpace"]


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

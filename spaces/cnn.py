"""The main space: convolutional networks, and how each is trained."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spaces.baselines import BASELINES
from spaces.cnn_config import CnnConfig, ConvBlock
from spaces.hyperparameters import HyperParameters
from spaces.training_config import TrainingConfig
from spaces.training_space import describe_training, sample_training

if TYPE_CHECKING:
    import keras

__all__ = ["CnnConfig", "CnnSpace", "ConvBlock"]


class CnnSpace:
    """Convolutional networks for 28x28 images; KerasTuner takes `CnnSpace().build` as it is.

    Attributes:
        baselines: The published systems, by name.
        default: A strong recipe to start from: a residual network of 576k parameters.
    """

    baselines: dict[str, CnnConfig]
    default: CnnConfig

    def __init__(self) -> None:
        self.baselines = {baseline.name: baseline.config for baseline in BASELINES}
        self.default = CnnConfig.from_params({})

    def build(self, hp: HyperParameters) -> "keras.Model":
        """Build the network that `hp` describes, not compiled; `training` says how to train it."""
        # The process that owns the study asks questions only, and must stay free of TensorFlow.
        from spaces.cnn_model import build_model

        return build_model(CnnConfig.sample(hp))

    def training(self, hp: HyperParameters) -> TrainingConfig:
        """How the network that `hp` describes is trained."""
        return sample_training(hp)

    def describe(self, params: Mapping[str, Any]) -> str:
        """The configuration that hyperparameter values make, in words, on one line.

        Raises:
            ValueError: A value is out of range, changes nothing or has an unknown name.
        """
        return describe_cnn(CnnConfig.from_params(params))


def describe_cnn(config: CnnConfig) -> str:
    """The configuration in words, on one line."""
    parts = [_describe_block(block, config.residual) for block in config.blocks]
    if config.blocks:
        size = config.kernel_size
        parts.append(f"{size}x{size} {config.padding}{_batch_norm(config.conv_batch_norm)}")
        if config.conv_dropout:
            parts.append(f"dropout {config.conv_dropout:.3g} after each block")
    parts.append(config.head.replace("_", " "))
    parts += [f"dense {width}" for width in config.dense]
    if config.dense:
        parts[-1] += _batch_norm(config.dense_batch_norm)
    if config.head_dropout:
        each = config.head_dropout_placement == "each"
        place = "after each dense layer" if each else "before the classifier"
        parts.append(f"dropout {config.head_dropout:.3g} {place}")
    parts.append(config.activation)
    return f"{'; '.join(parts)} | {describe_training(config.training)}"


def _describe_block(block: ConvBlock, residual: bool) -> str:
    words = f"conv {block.filters}"
    if block.convs > 1:
        words += f" x{block.convs}" + (" + skip" if residual else "")
    return words if block.pool == "none" else f"{words}, {block.pool} pool"


def _batch_norm(placement: str) -> str:
    return "" if placement == "none" else f", batch norm {placement} activation"

"""Strong configurations of the `cnn` space, which a search tries after its default.

They come from recorded trials: winners of the reference search on 50,000 images
(results/reference), and variants that differ in cost, width, head, optimizer or augmentation. What
wins on other images, or in another time, may be another one, so they are chosen to differ.
"""

from typing import Final

from spaces.cnn import CnnConfig, ConvBlock
from spaces.training import TrainingConfig


def _training(
    *,
    learning_rate: float = 0.012,
    weight_decay: float = 1e-3,
    label_smoothing: float = 0.15,
    optimizer: str = "muon",
    augmentation: str = "flip",
) -> TrainingConfig:
    return TrainingConfig(
        optimizer=optimizer,
        learning_rate=learning_rate,
        schedule="one_cycle",
        weight_decay=weight_decay,
        label_smoothing=label_smoothing,
        weight_averaging=True,
        augmentation=augmentation,
    )


# The default, but for what an entry changes.
_BLOCKS: Final = (
    ConvBlock(filters=16, convs=2),
    ConvBlock(filters=64, pool="average"),
    ConvBlock(filters=64, convs=2),
    ConvBlock(filters=128, convs=2, pool="none"),
)

PORTFOLIO: Final = {
    "small": CnnConfig(
        blocks=(
            ConvBlock(filters=16, convs=2),
            ConvBlock(filters=32, convs=2, pool="average"),
            ConvBlock(filters=64, convs=2, pool="none"),
        ),
        conv_batch_norm="before",
        head="global_max",
        head_dropout=0.1,
        training=_training(),
    ),
    "flatten": CnnConfig(
        blocks=(*_BLOCKS[:3], ConvBlock(filters=128, convs=2, pool="average")),
        conv_batch_norm="before",
        head_dropout=0.25,
        training=_training(learning_rate=7e-3, weight_decay=5e-3),
    ),
    "wide": CnnConfig(
        blocks=(
            ConvBlock(filters=32, convs=2),
            ConvBlock(filters=64),
            ConvBlock(filters=96, convs=2),
            ConvBlock(filters=192, convs=2, pool="none"),
        ),
        conv_batch_norm="before",
        residual=True,
        head="global_average",
        dense=(56,),
        dense_batch_norm="after",
        training=_training(weight_decay=8e-3, label_smoothing=0.2),
    ),
    "shifted": CnnConfig(
        blocks=_BLOCKS,
        conv_batch_norm="before",
        head="global_max",
        training=_training(augmentation="flip_shift"),
    ),
    "adamw": CnnConfig(
        blocks=_BLOCKS,
        conv_batch_norm="before",
        head="global_max",
        head_dropout=0.25,
        training=_training(optimizer="adamw", learning_rate=4e-3, weight_decay=0.02),
    ),
    "residual": CnnConfig(
        blocks=(
            ConvBlock(filters=32),
            ConvBlock(filters=64, convs=2),
            ConvBlock(filters=128, convs=2),
            ConvBlock(filters=128, convs=2, pool="none"),
        ),
        conv_batch_norm="before",
        residual=True,
        head="global_max",
        training=_training(learning_rate=5e-3, weight_decay=0.02, label_smoothing=0.1),
    ),
}

"""Strong configurations of the `cnn` space, which a search tries after its default.

They come from recorded trials: winners of an earlier reference search, on 50,000 images
(results/reference at commit d46ec5f), and variants that differ in cost, width, head, optimizer or
augmentation. They are diverse, because other images, or another time, may need another one.
"""

from dataclasses import replace
from typing import Final

from spaces import DEFAULT
from spaces.cnn import MOST_FILTERS, CnnConfig, ConvBlock
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


# The default for 28 pixels; an entry may change parts of it.
_BLOCKS: Final = (
    ConvBlock(filters=16, convs=2),
    ConvBlock(filters=64, pool="average"),
    ConvBlock(filters=64, convs=2),
    ConvBlock(filters=128, convs=2, pool="none"),
)

_RECIPES: Final = {
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


def portfolio(default: CnnConfig, mirror: bool | None) -> dict[str, CnnConfig]:
    """Return the recipes as points of the space of some images.

    Args:
        default: That of the space, with as many blocks as its images allow.
        mirror: Whether a mirrored image still belongs to its class. If not, no recipe mirrors; if
            that is not known, one recipe is the default without mirroring.
    """
    found = {DEFAULT: default}
    if mirror is None:
        found["unmirrored"] = replace(default, training=default.training.unmirrored())
    for name, recipe in _RECIPES.items():
        training = recipe.training.unmirrored() if mirror is False else recipe.training
        blocks = _fitted(recipe.blocks, default.blocks)
        found[name] = replace(recipe, blocks=blocks, whitened=default.whitened, training=training)
    return found


def _fitted(blocks: tuple[ConvBlock, ...], default: tuple[ConvBlock, ...]) -> tuple[ConvBlock, ...]:
    """Fit the blocks of a recipe for 28 pixels to the images of a default.

    For larger images, it gains the extra blocks of the default, at its start and its end; for
    smaller ones, the last block is left out.
    """
    most = len(default)
    more = most - len(_BLOCKS)
    if more > 0:
        fitted = default[:more] + blocks[more:] + default[len(blocks) : len(blocks) + more]
    else:
        fitted = blocks[:most]
    limits = MOST_FILTERS[most]
    narrow = [
        replace(block, filters=min(block.filters, limit))
        for block, limit in zip(fitted, limits, strict=False)
    ]
    *inner, last = (*narrow, *fitted[len(limits) :])
    pooled = [replace(block, pool="max") if block.pool == "none" else block for block in inner]
    return (*pooled, replace(last, pool=blocks[-1].pool))

"""A point of the `cnn` space: a frozen configuration, and the questions that make one."""

from dataclasses import dataclass, field, fields
from typing import Any, Final

from spaces.configuration import Configuration, numbered
from spaces.hyperparameters import HyperParameters
from spaces.training_config import TrainingConfig
from spaces.training_space import sample_training

MAX_BLOCKS: Final = 4
PLACEMENTS: Final = ("none", "before", "after")
ACTIVATIONS: Final = ("relu", "silu", "elu")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvBlock:
    """Convolutions of one width, then pooling. `CnnConfig` checks it: ranges depend on its place.

    Args:
        filters: Output channels of each convolution.
        convs: Number of convolutions.
        pool: `max` or `average` (2x2, an odd last row or column dropped), or `none`.
    """

    filters: int
    convs: int = 1
    pool: str = "max"


@dataclass(frozen=True, slots=True, kw_only=True)
class CnnConfig(Configuration):
    """All that makes and trains one network of the `cnn` space.

    Args:
        blocks: Up to 4 convolution blocks; without any, the network is dense layers on pixels.
        kernel_size: 3 or 5, of every convolution; 5 with at most two blocks: later maps are small.
        padding: Of the first convolution of each block, `same` or `valid`; the others always keep
            the map's size, so that skips fit. `valid` with at most three blocks: in a fourth the
            map would vanish.
        conv_batch_norm: Batch normalization of each convolution: `none`, or `before` or `after`
            its activation.
        residual: Whether each block of two or more convolutions adds the output of its first to
            that of its last.
        conv_dropout: Dropout rate after each block; 0 to 0.5 in steps of 0.05.
        activation: `relu`, `silu` or `elu`, after each convolution and dense layer.
        head: How maps become a vector: `flatten`, `global_average` or `global_max`.
        dense: Widths of up to two dense layers before the classifier.
        dense_batch_norm: Like `conv_batch_norm`, of each dense layer.
        head_dropout: Dropout rate in the head; 0 to 0.5 in steps of 0.05.
        head_dropout_placement: `last` (only before the classifier) or `each` (after every dense
            layer); the same thing, and written `last`, with fewer than two dense layers.
        training: How the network is trained.

    Raises:
        ValueError: A value lies outside the space, or is set where it changes nothing.
    """

    blocks: tuple[ConvBlock, ...]
    kernel_size: int = 3
    padding: str = "same"
    conv_batch_norm: str = "none"
    residual: bool = False
    conv_dropout: float = 0.0
    activation: str = "relu"
    head: str = "flatten"
    dense: tuple[int, ...] = ()
    dense_batch_norm: str = "none"
    head_dropout: float = 0.0
    head_dropout_placement: str = "last"
    training: TrainingConfig = field(default_factory=TrainingConfig)

    @classmethod
    def _ask(cls, hp: HyperParameters) -> dict[str, Any]:
        return _ask(hp)

    def _answers(self) -> dict[str, Any]:
        single = {
            part.name: getattr(self, part.name)
            for part in fields(self)
            if part.name not in ("blocks", "dense", "training")
        }
        return (
            single
            | {"blocks": len(self.blocks), "dense_layers": len(self.dense)}
            | numbered("filters", tuple(block.filters for block in self.blocks))
            | numbered("convs", tuple(block.convs for block in self.blocks))
            | numbered("pool", tuple(block.pool for block in self.blocks))
            | numbered("dense", self.dense)
        )


def _ask(hp: HyperParameters) -> dict[str, Any]:
    """Ask every question of the space.

    The defaults are a strong recipe to start from: a residual network that pools right after its
    first convolution, with flips only, since shifts pay in longer trainings than a search gives.

    Returns:
        The fields of a `CnnConfig` that matter.
    """
    count = hp.Int("blocks", 0, MAX_BLOCKS, default=4)
    # Large maps cost most, so the first two blocks are narrow and always pool; and widths that fill
    # a CPU's vectors train up to a third faster than those that do not.
    early, late = ["max", "average"], ["max", "average", "none"]
    blocks = (
        _ask_block(hp, 1, filters=[6, 16, 32], convs=2, pools=early),
        _ask_block(hp, 2, filters=[16, 32, 64, 96], convs=2, pools=early),
        _ask_block(hp, 3, filters=[32, 64, 96, 128], convs=3, pools=late),
        _ask_block(hp, 4, filters=[32, 64, 128, 192], convs=3, pools=late),
    )
    with hp.conditional_scope("blocks", [1, 2]):
        kernel_size = hp.Choice("kernel_size", [3, 5])
    with hp.conditional_scope("blocks", [1, 2, 3]):
        padding = hp.Choice("padding", ["same", "valid"])
    with hp.conditional_scope("blocks", [1, 2, 3, 4]):
        conv_batch_norm = hp.Choice("conv_batch_norm", list(PLACEMENTS), default="before")
        residual = hp.Boolean("residual", default=True)
        conv_dropout = hp.Float("conv_dropout", 0.0, 0.5, step=0.05)
        head = hp.Choice("head", ["flatten", "global_average", "global_max"], default="global_max")
    layers = hp.Int("dense_layers", 0, 2)
    with hp.conditional_scope("dense_layers", [1, 2]):
        dense_1 = hp.Int("dense_1", 16, 512, sampling="log", default=128)
        dense_batch_norm = hp.Choice("dense_batch_norm", list(PLACEMENTS))
    with hp.conditional_scope("dense_layers", [2]):
        dense_2 = hp.Int("dense_2", 16, 512, sampling="log", default=64)
        placement = hp.Choice("head_dropout_placement", ["last", "each"])
    asked = {
        "blocks": blocks[:count],
        "kernel_size": kernel_size,
        "padding": padding,
        "conv_batch_norm": conv_batch_norm,
        "residual": residual,
        "conv_dropout": conv_dropout,
        "activation": hp.Choice("activation", list(ACTIVATIONS)),
        "head": head,
        "dense": (dense_1, dense_2)[:layers],
        "dense_batch_norm": dense_batch_norm,
        "head_dropout": hp.Float("head_dropout", 0.0, 0.5, step=0.05),
        "head_dropout_placement": placement,
        "training": sample_training(hp),
    }
    return {name: value for name, value in asked.items() if value is not None}


def _ask_block(
    hp: HyperParameters, index: int, *, filters: list[int], convs: int, pools: list[str]
) -> ConvBlock:
    with hp.conditional_scope("blocks", list(range(index, MAX_BLOCKS + 1))):
        width = min(16 * 2**index, 128)
        return ConvBlock(
            filters=hp.Choice(f"filters_{index}", filters, default=width),
            convs=hp.Int(f"convs_{index}", 1, convs, default=min(index, 2)),
            pool=hp.Choice(f"pool_{index}", pools, default="max" if index < MAX_BLOCKS else "none"),
        )

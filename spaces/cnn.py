"""The main space: convolutional networks, and how each is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

from spaces.configuration import Configuration, HyperParameters, numbered
from spaces.training import TrainingConfig

if TYPE_CHECKING:
    import keras

MAX_BLOCKS: Final = 4
PLACEMENTS: Final = ("none", "before", "after")
ACTIVATIONS: Final = ("relu", "silu", "elu")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvBlock:
    """Convolutions of one width, then pooling; `CnnConfig` checks the values.

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
    """A network of the `cnn` space and how to train it.

    A field's default switches it off; the default of its question belongs to the recipe that a
    search starts from.

    Args:
        blocks: Up to 4 convolution blocks; without any, the network is dense layers on pixels.
        kernel_size: 3 or 5, of every convolution; 5 with at most two blocks: later maps are small.
        padding: `same` or `valid`, of the first convolution of each block; the others always keep
            the size of the map, so that skips fit. `valid` with at most three blocks: in a fourth
            the map would vanish.
        conv_batch_norm: Batch normalization of each convolution: `none`, or `before` or `after`
            its activation.
        residual: Add the output of the first convolution of a block to that of its last, in
            blocks of two or more convolutions.
        conv_dropout: Dropout rate after each block; 0 to 0.5 in steps of 0.05.
        activation: `relu`, `silu` or `elu`, after each convolution and dense layer.
        head: How maps become a vector: `flatten`, `global_average` or `global_max`.
        dense: Widths of up to two dense layers before the classifier.
        dense_batch_norm: Like `conv_batch_norm`, for each dense layer.
        head_dropout: Dropout rate in the head; 0 to 0.5 in steps of 0.05.
        head_dropout_placement: `last` (only before the classifier) or `each` (after every dense
            layer); always `last` with fewer than two dense layers, where both mean the same.
        training: How the network is trained.
    """

    # With these, none of the 50 trials of the reference search was among its ten best.
    _unsampled: ClassVar[Mapping[str, Sequence[Any]]] = {
        "blocks": (0, 1),
        "kernel_size": (5,),
        "padding": ("valid",),
        "conv_batch_norm": ("none",),
        **TrainingConfig.unsampled,
    }

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
        # The defaults are a strong recipe for its cost: narrow where maps are large, and trained at
        # a high rate. It only flips images: shifts pay in longer trainings than those of a search.
        values: dict[str, Any] = {}
        count = hp.Int("blocks", 2, MAX_BLOCKS, default=4)
        # Large maps cost most, so the first two blocks are narrow and always pool; widths that
        # fill a CPU's vectors train up to a third faster than others.
        early, late = ["max", "average"], ["max", "average", "none"]
        blocks = (
            _ask_block(hp, 1, [6, 16, 32], early, convs=2, default=ConvBlock(filters=16, convs=2)),
            _ask_block(
                hp,
                2,
                [16, 32, 64, 96],
                early,
                convs=2,
                default=ConvBlock(filters=64, pool="average"),
            ),
            _ask_block(
                hp, 3, [32, 64, 96, 128], late, convs=3, default=ConvBlock(filters=64, convs=2)
            ),
            _ask_block(
                hp,
                4,
                [32, 64, 128, 192],
                late,
                convs=3,
                default=ConvBlock(filters=128, convs=2, pool="none"),
            ),
        )
        values["blocks"] = blocks[:count]
        with hp.conditional_scope("blocks", [1, 2]):
            values["kernel_size"] = hp.Choice("kernel_size", [3])
        with hp.conditional_scope("blocks", [1, 2, 3]):
            values["padding"] = hp.Choice("padding", ["same"])
        with hp.conditional_scope("blocks", [1, 2, 3, 4]):
            values["conv_batch_norm"] = hp.Choice(
                "conv_batch_norm", ["before", "after"], default="before"
            )
            values["residual"] = hp.Boolean("residual")
            values["conv_dropout"] = hp.Float("conv_dropout", 0.0, 0.5, step=0.05)
            values["head"] = hp.Choice(
                "head", ["flatten", "global_average", "global_max"], default="global_max"
            )
        layers = hp.Int("dense_layers", 0, 2)
        with hp.conditional_scope("dense_layers", [1, 2]):
            dense_1 = hp.Int("dense_1", 16, 512, sampling="log", default=128)
            values["dense_batch_norm"] = hp.Choice("dense_batch_norm", list(PLACEMENTS))
        with hp.conditional_scope("dense_layers", [2]):
            dense_2 = hp.Int("dense_2", 16, 512, sampling="log", default=64)
            values["head_dropout_placement"] = hp.Choice("head_dropout_placement", ["last", "each"])
        values["dense"] = (dense_1, dense_2)[:layers]
        values["activation"] = hp.Choice("activation", list(ACTIVATIONS))
        values["head_dropout"] = hp.Float("head_dropout", 0.0, 0.5, step=0.05, default=0.25)
        values["training"] = TrainingConfig.sample(hp)
        return values

    def _layer_answers(self) -> dict[str, Any]:
        return (
            {"blocks": len(self.blocks), "dense_layers": len(self.dense)}
            | numbered(asdict(block) for block in self.blocks)
            | numbered({"dense": width} for width in self.dense)
        )

    def _layer_words(self) -> list[str]:
        return [_describe_block(block) for block in self.blocks] + [
            f"dense {width}" for width in self.dense
        ]


class CnnSpace:
    """Convolutional networks for 28x28 images; KerasTuner accepts `CnnSpace().build` as it is.

    Attributes:
        baselines: The published systems, by name.
        portfolio: Strong recipes to start from, by name; the first is `default`.
    """

    baselines: dict[str, CnnConfig]
    portfolio: dict[str, CnnConfig]

    def __init__(self) -> None:
        # They are CnnConfigs, so they import this module.
        from spaces.baselines import BASELINES
        from spaces.portfolio import PORTFOLIO

        self.baselines = {baseline.name: baseline.config for baseline in BASELINES}
        self.portfolio = {"default": self.default, **PORTFOLIO}

    @property
    def default(self) -> CnnConfig:
        """The recipe that a search starts from, which the defaults of the questions make."""
        return CnnConfig.from_params({})

    def build(self, hp: HyperParameters) -> "keras.Model":
        """Build the network that `hp` describes, not compiled; `training` says how to train it."""
        # The coordinator only asks the questions, and runs without TensorFlow.
        from spaces.cnn_model import build_model

        return build_model(CnnConfig.sample(hp))

    def training(self, hp: HyperParameters) -> TrainingConfig:
        """Return how to train the network that `hp` describes."""
        return TrainingConfig.sample(hp)

    def describe(self, params: Mapping[str, Any]) -> str:
        """Describe hyperparameter values on one line.

        Raises:
            ValueError: A value is out of range or has no effect, or a name is unknown.
        """
        return CnnConfig.from_params(params).describe()


def _ask_block(
    hp: HyperParameters,
    index: int,
    filters: list[int],
    pools: list[str],
    *,
    convs: int,
    default: ConvBlock,
) -> ConvBlock:
    with hp.conditional_scope("blocks", list(range(index, MAX_BLOCKS + 1))):
        return ConvBlock(
            filters=hp.Choice(f"filters_{index}", filters, default=default.filters),
            convs=hp.Int(f"convs_{index}", 1, convs, default=default.convs),
            pool=hp.Choice(f"pool_{index}", pools, default=default.pool),
        )


def _describe_block(block: ConvBlock) -> str:
    words = f"conv {block.filters}"
    if block.convs > 1:
        words += f" x{block.convs}"
    return words if block.pool == "none" else f"{words}, {block.pool} pool"

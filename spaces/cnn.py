"""The main space: convolutional networks, and how each is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from spaces import DataShape, PixelStatistics, SpaceError
from spaces.configuration import Configuration, HyperParameters, numbered
from spaces.training import TrainingConfig

if TYPE_CHECKING:
    import keras

MAX_BLOCKS: Final = 6
_SMALLEST: Final = 16  # pixels
_LARGEST: Final = 224
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


# By number of blocks; trained at a high rate, each is a strong recipe for its cost. That of four
# blocks was found on images of 28 pixels; the others follow it, narrow where maps are large.
_DEFAULT: Final = {
    3: (
        ConvBlock(filters=16, convs=2),
        ConvBlock(filters=64, pool="average"),
        ConvBlock(filters=128, convs=2, pool="none"),
    ),
    4: (
        ConvBlock(filters=16, convs=2),
        ConvBlock(filters=64, pool="average"),
        ConvBlock(filters=64, convs=2),
        ConvBlock(filters=128, convs=2, pool="none"),
    ),
    5: (
        ConvBlock(filters=16),
        ConvBlock(filters=32, pool="average"),
        ConvBlock(filters=64, convs=2),
        ConvBlock(filters=128, convs=2),
        ConvBlock(filters=192, convs=2, pool="none"),
    ),
    6: (
        ConvBlock(filters=16),
        ConvBlock(filters=32),
        ConvBlock(filters=64, pool="average"),
        ConvBlock(filters=64, convs=2),
        ConvBlock(filters=128, convs=2),
        ConvBlock(filters=192, convs=2, pool="none"),
    ),
}
# By block. Widths that fill a CPU's vectors train up to a third faster than others.
_FILTERS: Final = (
    [6, 16, 32],
    [16, 32, 64, 96],
    [32, 64, 96, 128],
    [32, 64, 128, 192],
    [64, 128, 192, 256],
    [64, 128, 192, 256],
)
_CONVS: Final = (2, 2, 3, 3, 3, 3)
# Most filters of the first blocks, by number of blocks: more blocks mean larger maps.
MOST_FILTERS: Final = {3: (), 4: (), 5: (16, 64), 6: (16, 32, 64)}


@dataclass(frozen=True, slots=True, kw_only=True)
class CnnConfig(Configuration):
    """A network of the `cnn` space and how to train it.

    The default of a field switches it off; the default of its question is part of the recipe that
    a search starts from.

    Args:
        blocks: Up to 6 convolution blocks; without any, the network is dense layers on pixels.
        whitened: A first layer, which is not trained, whitens patches of 2x2 pixels; without effect
            where the covariance of patches is not known.
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
    whitened: bool = False
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
    def _ask(cls, hp: HyperParameters, data: DataShape | None) -> dict[str, Any]:
        blocks = _ask_blocks(hp, data)
        values: dict[str, Any] = {"blocks": blocks}
        # Points of earlier versions have no value, which means that they are not whitened.
        if data is None or data.knows_patches:
            values["whitened"] = hp.Boolean("whitened", default=data is not None)
        with hp.conditional_scope("blocks", [1, 2]):
            values["kernel_size"] = hp.Choice("kernel_size", [3])
        with hp.conditional_scope("blocks", [1, 2, 3]):
            values["padding"] = hp.Choice("padding", ["same"])
        with hp.conditional_scope("blocks", list(range(1, _most_blocks(data) + 1))):
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
        values["training"] = TrainingConfig.sample(hp, data.mirror if data else None)
        return values

    def fitted_to(self, data: DataShape) -> Self:
        """See `Configuration`; where the covariance of patches is not known, it is not whitened."""
        config = self if data.knows_patches else replace(self, whitened=False)
        return Configuration.fitted_to(config, data)

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
    """Convolutional networks; KerasTuner accepts its `build` as it is.

    Args:
        image_shape: Height and width, 16 to 224 pixels each, and channels, 1 or 3, of an image.
        classes: Number of classes.
        mirror: Whether a mirrored image still belongs to its class; None: not known.
        pixels: Statistics by which the network normalizes and whitens its images; None: neither.

    Attributes:
        baselines: The published systems, by name; empty for images of another shape than theirs.
        portfolio: Strong recipes to start from, by name; the first is `default`.

    Raises:
        SpaceError: The images are smaller or larger, or have another number of channels.
    """

    baselines: dict[str, CnnConfig]
    portfolio: dict[str, CnnConfig]

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        classes: int,
        mirror: bool | None = None,
        pixels: PixelStatistics | None = None,
    ) -> None:
        *sides, channels = image_shape
        if min(sides) < _SMALLEST or max(sides) > _LARGEST or channels not in (1, 3):
            raise SpaceError(
                f"space 'cnn' is for images of {_SMALLEST} to {_LARGEST} pixels in height and "
                f"width and of 1 or 3 channels; these have (height, width, channels) = "
                f"{image_shape}. Resize them, or use --space mlp or your own."
            )
        self._data = DataShape(image_shape, classes, mirror, pixels)
        # They are CnnConfigs, so they import this module.
        from spaces.baselines import BASELINES, PUBLISHED_FOR
        from spaces.portfolio import portfolio

        published = BASELINES if image_shape == PUBLISHED_FOR.image_shape else ()
        self.baselines = {baseline.name: baseline.config for baseline in published}
        self.portfolio = portfolio(self.default, mirror)

    @property
    def default(self) -> CnnConfig:
        """The recipe that a search starts from: the default of every question."""
        return CnnConfig.from_params({}, self._data)

    def build(self, hp: HyperParameters) -> "keras.Model":
        """Build the network that `hp` describes, not compiled; `training` says how to train it."""
        # The coordinator only asks the questions, and runs without TensorFlow.
        from spaces.cnn_model import build_model

        data = self._data
        config = CnnConfig.sample(hp, data)
        return build_model(config, data.image_shape, data.classes, data.pixels)

    def training(self, hp: HyperParameters) -> TrainingConfig:
        """Return how to train the network that `hp` describes."""
        return TrainingConfig.sample(hp, self._data.mirror)

    def configuration(self, params: Mapping[str, Any]) -> CnnConfig:
        """Return hyperparameter values, chosen for any images, as a point of this space.

        Raises:
            ValueError: There is none.
        """
        return CnnConfig.from_params(params).fitted_to(self._data)

    def describe(self, params: Mapping[str, Any]) -> str:
        """Describe hyperparameter values on one line.

        Raises:
            ValueError: A value is out of range or has no effect, or a name is unknown.
        """
        return CnnConfig.from_params(params).describe()


def _most_blocks(data: DataShape | None) -> int:
    """Return the number of blocks that leave maps of 3 to 7 pixels, pooled as by default."""
    if data is None:
        return MAX_BLOCKS
    side = min(data.image_shape[:2])
    return 3 + sum(side >= pixels for pixels in (28, 48, 112))


def _ask_blocks(hp: HyperParameters, data: DataShape | None) -> tuple[ConvBlock, ...]:
    most = _most_blocks(data)
    if data is None:  # the points of every size; a missing value is that of four blocks
        fewest, default = 2, _DEFAULT[4] + _DEFAULT[6][4:]
        most_filters: tuple[int, ...] = ()
    else:
        fewest, default, most_filters = max(2, most - 2), _DEFAULT[most], MOST_FILTERS[most]
    count = hp.Int("blocks", fewest, most, default=4 if data is None else most)
    blocks = []
    for index, (filters, convs, block) in enumerate(
        zip(_FILTERS[:most], _CONVS, default, strict=False), start=1
    ):
        # Large maps cost most, so the first blocks are narrow and always pool.
        at_most = most_filters[index - 1] if index <= len(most_filters) else max(filters)
        pools = ["max", "average"] if index <= fewest else ["max", "average", "none"]
        with hp.conditional_scope("blocks", list(range(index, most + 1))):
            blocks.append(
                ConvBlock(
                    filters=hp.Choice(
                        f"filters_{index}",
                        [width for width in filters if width <= at_most],
                        default=block.filters,
                    ),
                    convs=hp.Int(f"convs_{index}", 1, convs, default=block.convs),
                    pool=hp.Choice(f"pool_{index}", pools, default=block.pool),
                )
            )
    return tuple(blocks[:count])


def _describe_block(block: ConvBlock) -> str:
    words = f"conv {block.filters}"
    if block.convs > 1:
        words += f" x{block.convs}"
    return words if block.pool == "none" else f"{words}, {block.pool} pool"

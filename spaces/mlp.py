"""A small space: dense networks on pixels, quick to search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from spaces import DEFAULT, DataShape, PixelStatistics
from spaces.baselines import PUBLISHED_FOR
from spaces.cnn import ACTIVATIONS, PLACEMENTS
from spaces.configuration import Configuration, HyperParameters, numbered
from spaces.training import TrainingConfig

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, slots=True, kw_only=True)
class MlpConfig(Configuration):
    """A network of the `mlp` space and how to train it.

    Args:
        dense: Widths of one to three dense layers, each 16 to 1,024.
        activation: `relu`, `silu` or `elu`.
        batch_norm: Batch normalization of each layer: `none`, or `before` or `after` activation.
        dropout: Dropout rate after each layer; 0 to 0.5 in steps of 0.05.
        training: How the network is trained.
    """

    _unsampled: ClassVar[Mapping[str, Sequence[Any]]] = TrainingConfig.unsampled

    dense: tuple[int, ...]
    activation: str = "relu"
    batch_norm: str = "none"
    dropout: float = 0.0
    training: TrainingConfig = field(default_factory=TrainingConfig)

    @classmethod
    def _ask(cls, hp: HyperParameters, data: DataShape | None) -> dict[str, Any]:
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
            "training": TrainingConfig.sample(hp, data.mirror if data else None),
        }

    def _layer_answers(self) -> dict[str, Any]:
        widths = numbered({"dense": width} for width in self.dense)
        return {"dense_layers": len(self.dense)} | widths

    def _layer_words(self) -> list[str]:
        return [f"dense {width}" for width in self.dense]


class MlpSpace:
    """Dense networks on pixels; KerasTuner accepts its `build` as it is.

    Args:
        image_shape: Height, width and channels of an image.
        classes: Number of classes.
        mirror: Whether a mirrored image still belongs to its class; None: not known.
        pixels: Statistics by which the network normalizes its images; None: not normalized.

    Attributes:
        baselines: The published network of this kind, by name; empty for images of another shape.
        portfolio: The recipe to start from, as `default`.
    """

    baselines: dict[str, MlpConfig]
    portfolio: dict[str, MlpConfig]

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        classes: int,
        mirror: bool | None = None,
        pixels: PixelStatistics | None = None,
    ) -> None:
        self._data = DataShape(image_shape, classes, mirror, pixels)
        published = image_shape == PUBLISHED_FOR.image_shape
        self.baselines = {"mlp": MlpConfig(dense=(128,))} if published else {}
        self.portfolio = {DEFAULT: self.default}

    @property
    def default(self) -> MlpConfig:
        """The recipe that a search starts from: the default of every question."""
        return MlpConfig.from_params({}, self._data)

    def build(self, hp: HyperParameters) -> "keras.Model":
        """Build the network that `hp` describes, not compiled; `training` says how to train it."""
        # The coordinator only asks the questions, and runs without TensorFlow.
        from spaces.mlp_model import build_model

        data = self._data
        config = MlpConfig.sample(hp, data)
        return build_model(config, data.image_shape, data.classes, data.pixels)

    def training(self, hp: HyperParameters) -> TrainingConfig:
        """Return how to train the network that `hp` describes."""
        return TrainingConfig.sample(hp, self._data.mirror)

    def configuration(self, params: Mapping[str, Any]) -> MlpConfig:
        """Return hyperparameter values, chosen for any images, as a point of this space.

        Raises:
            ValueError: There is none.
        """
        return MlpConfig.from_params(params).fitted_to(self._data)

    def describe(self, params: Mapping[str, Any]) -> str:
        """Describe hyperparameter values on one line.

        Raises:
            ValueError: A value is out of range or has no effect, or a name is unknown.
        """
        return MlpConfig.from_params(params).describe()

"""The changes that are measured, by name."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Final
from unittest.mock import patch

from benchmarks.recipe.network import Network
from search.training import optimizers, weights
from spaces.cnn import CnnConfig
from spaces.portfolio import portfolio
from spaces.training import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change to the default recipe as it was when most were measured: not whitened.

    Args:
        config: Returns the changed configuration.
        training: Returns its changed training, which need not be a point of the space.
        network: How its network differs from that which the space builds.
        trainer: Changes the trainer while it is open.
    """

    config: Callable[[CnnConfig], CnnConfig] = lambda config: config
    training: Callable[[TrainingConfig], TrainingConfig] = lambda training: training
    network: Network = field(default_factory=Network)
    trainer: Callable[[], AbstractContextManager[Any]] = nullcontext


def _training(**changes: Any) -> Change:
    return Change(training=lambda training: replace(training, **changes))


def _whitened(config: CnnConfig) -> CnnConfig:
    return replace(config, whitened=True)


def _shifted(training: TrainingConfig) -> TrainingConfig:
    return replace(training, augmentation="flip_shift")


def _rate(factor: float) -> Change:
    return Change(
        training=lambda training: replace(training, learning_rate=training.learning_rate * factor)
    )


class ShortOneCycle(optimizers.OneCycle):
    part = 0.1

    def __call__(self, step: Any) -> Any:
        import keras

        warm_up = max(1, round(self.part * self.total_steps))
        done = keras.ops.cast(step, "float32")
        rising = (done + 1) / warm_up
        falling = (self.total_steps - done) / max(1, self.total_steps - warm_up)
        return self.peak * keras.ops.maximum(0.0, keras.ops.minimum(rising, falling))


class LongOneCycle(ShortOneCycle):
    part = 0.35


class ThreeSteps(optimizers.ConvMuon):
    """Muon with three Newton-Schulz steps in place of five."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ns_steps = 3


class FastOffsets(optimizers.ConvMuon):
    """The offsets of batch normalization learn faster than the kernels."""

    factor = 8.0

    def build(self, variables: Any) -> None:
        super().build(variables)
        self.fast = {
            self._get_variable_index(one) for one in variables if one.path.endswith("/beta")
        }

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if self._get_variable_index(variable) in self.fast:
            learning_rate = learning_rate * self.factor
        super().update_step(gradient, variable, learning_rate)


class FasterOffsets(FastOffsets):
    factor = 32.0


@contextmanager
def _averaged(part: float, most: int) -> Iterator[None]:
    def steps(total_steps: int) -> float:
        return max(1.0, min(most, part * total_steps))

    with ExitStack() as patches:
        for module in (optimizers, weights):
            patches.enter_context(patch.object(module, "averaged_steps", steps))
        yield


def _recipe(name: str, augmentation: str) -> Callable[[CnnConfig], CnnConfig]:
    """Return what replaces the default by another recipe of the portfolio."""

    def changed(config: CnnConfig) -> CnnConfig:
        recipe = portfolio(config, mirror=True)[name]
        return replace(recipe, training=replace(recipe.training, augmentation=augmentation))

    return changed


def _optimizer(kind: type) -> Change:
    return Change(trainer=lambda: patch.object(optimizers, "ConvMuon", kind))


def _schedule(kind: type) -> Change:
    return Change(trainer=lambda: patch.object(optimizers, "OneCycle", kind))


CHANGES: Final[Mapping[str, Change]] = {
    "default": Change(),
    "pool first": Change(network=Network(pool_first=True)),
    "normalized": Change(network=Network(normalized=True)),
    "whitened": Change(config=_whitened),
    "whitened, shift": Change(config=_whitened, training=_shifted),
    "identity": Change(network=Network(identity=True)),
    "momentum 0.6": Change(network=Network(momentum=0.6)),
    "momentum 0.97": Change(network=Network(momentum=0.97)),
    "no conv bias": Change(network=Network(conv_bias=False)),
    "3 Muon steps": _optimizer(ThreeSteps),
    "offsets x8": _optimizer(FastOffsets),
    "offsets x32": _optimizer(FasterOffsets),
    "warm-up 0.1": _schedule(ShortOneCycle),
    "warm-up 0.35": _schedule(LongOneCycle),
    "average 5 %": Change(trainer=lambda: _averaged(0.05, 300)),
    "average 1 %": Change(trainer=lambda: _averaged(0.01, 100)),
    "smoothing 0.1": _training(label_smoothing=0.1),
    "smoothing 0.05": _training(label_smoothing=0.05),
    "smoothing 0.3": _training(label_smoothing=0.3),
    "rate x0.6": _rate(0.6),
    "rate x1.6": _rate(1.6),
    "batch 64": _training(batch_size=64),
    "batch 256": _training(batch_size=256),
    "decay 0.01": _training(weight_decay=0.01),
    "decay 0.05": _training(weight_decay=0.05),
    "shift": _training(augmentation="flip_shift"),
    "shift, erase": _training(augmentation="flip_shift_erase"),
    "whitened, wide, shift": Change(
        config=lambda config: _recipe("wide", "flip_shift")(_whitened(config))
    ),
    "wide, shift": Change(config=_recipe("wide", "flip_shift")),
    "wide, shift, erase": Change(config=_recipe("wide", "flip_shift_erase")),
    "residual, shift": Change(config=_recipe("residual", "flip_shift")),
    "silu": Change(config=lambda config: replace(config, activation="silu")),
    "residual": Change(config=lambda config: replace(config, residual=True)),
    "no head dropout": Change(config=lambda config: replace(config, head_dropout=0.0)),
    "conv dropout 0.1": Change(config=lambda config: replace(config, conv_dropout=0.1)),
}

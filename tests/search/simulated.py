"""Workers whose training is a formula: the same protocol without TensorFlow."""

import math
import os
import random
import time
from typing import Any

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.workers.keras_trainer import WorkerSettings
from search.workers.link import Link
from search.workers.messages import (
    Built,
    Epoch,
    Failed,
    Measure,
    Measured,
    Suggest,
    Timed,
    Train,
    Trained,
)

PNG = b"\x89PNG simulated"


def no_images() -> Any:
    """In place of `search.data.split.load_split`."""


class SimulatedTrainer:
    """In place of `KerasTrainer`; `settings.space` names one of `SPACES`."""

    def __init__(self, link: Link, settings: WorkerSettings) -> None:
        self._link = link
        self._space = SPACES[settings.space]

    def measure(self, order: Measure) -> Measured | Failed:
        _, behaviour = self._space(lambda name, distribution: 0.5)
        if behaviour == "fail":
            return Failed(reason="ValueError: simulated")
        if behaviour == "die":
            os.kill(os.getpid(), 9)
        if behaviour == "hang":
            time.sleep(3600)
        return Measured(images_per_second=100.0, startup_seconds=0.5)

    def run(self, order: Train) -> Trained | Failed:
        began = time.monotonic()

        def suggest(name: str, distribution: Any) -> Any:
            return self._link.ask(Suggest(name, distribution))

        try:
            quality, behaviour = self._space(suggest)
        except ValueError as error:
            return Failed(reason=f"ValueError: {error}")
        built = Built(
            parameters=int(1000 * quality),
            summary="summary",
            description=f"quality {quality:.3f}",
            flops=int(2000 * quality) if "flops" in order.costs else None,
            may_ask_more=behaviour == "ask",
        )
        if not self._link.ask(built):
            return Failed(reason="rejected")
        if "latency" in order.costs and not self._link.ask(Timed({"latency_ms": 10 * quality})):
            return Failed(reason="rejected")
        if behaviour == "ask":
            quality -= 0.01 * suggest("late", IntDistribution(1, 9))
        if behaviour == "fail":
            return Failed(reason="ValueError: simulated", traceback="Traceback ... simulated")
        if behaviour == "die":
            os.kill(os.getpid(), 9)
        if behaviour == "hang":
            time.sleep(3600)
        if behaviour == "freeze":
            os.kill(os.getpid(), 19)
        noise = random.Random(order.seed)
        before = b"%d epochs of quality %r" % (order.initial_epoch, str(quality).encode())
        assert order.checkpoint == (before if order.initial_epoch else None)
        for epoch in range(order.initial_epoch + 1, order.epochs + 1):
            if behaviour == "slow":
                time.sleep(0.2)
            value = quality * (1 - math.exp(-epoch / 3)) + noise.uniform(0, 0.01)
            metrics = {"loss": 1 - value, "accuracy": value, "val_loss": 1, "val_accuracy": value}
            if self._link.ask(Epoch(epoch, metrics)):
                break
        return Trained(
            epochs=epoch - order.initial_epoch,
            seconds=time.monotonic() - began,
            train_seconds=0.0,
            val_seconds=0.0,
            cpu_seconds=0.0,
            images_per_second=100.0,
            curve_png=PNG,
            checkpoint=b"%d epochs of quality %r" % (epoch, str(quality).encode())
            if order.keep_checkpoint
            else None,
        )


def _conditional(suggest: Any) -> tuple[float, str]:
    layers = suggest("layers", IntDistribution(0, 3))
    rate = suggest("rate", FloatDistribution(1e-4, 1e-1, log=True))
    widths = [suggest(f"width_{i}", IntDistribution(4, 64, step=4)) for i in range(layers)]
    kind = suggest("kind", CategoricalDistribution(["a", "b", "c"]))
    quality = 0.9 - 0.05 * abs(math.log10(rate) + 2.5) - 0.03 * abs(layers - 2)
    return quality - 0.0005 * sum(widths) - 0.05 * (kind == "c"), ""


def _finite(suggest: Any) -> tuple[float, str]:
    x = suggest("x", IntDistribution(1, 4))
    kind = suggest("kind", CategoricalDistribution(["a", "b", "c"]))
    return 0.5 + 0.1 * x - 0.05 * (kind == "c"), ""


def _finite_conditional(suggest: Any) -> tuple[float, str]:
    kind = suggest("kind", CategoricalDistribution(["plain", "dropout", "noise"]))
    # No more values than a grid has levels: the whole space is on the grid.
    rate = 0.0 if kind == "plain" else suggest("rate", FloatDistribution(0.0, 0.4, step=0.1))
    wide = suggest("wide", CategoricalDistribution([True, False]))
    return 0.5 + 0.1 * wide - 0.4 * rate, ""


def _unscoped(suggest: Any) -> tuple[float, str]:
    layers = suggest("layers", IntDistribution(1, 2))
    widths = [suggest(f"width_{index}", IntDistribution(1, 3)) for index in range(layers)]
    return 0.5 + 0.01 * sum(widths), ""


def _fails_while_built(suggest: Any) -> tuple[float, str]:
    x = suggest("x", IntDistribution(1, 9))
    if x % 3 == 0:
        raise ValueError("simulated: cannot be built")
    return 0.5 + 0.01 * x + 0.001 * suggest("y", IntDistribution(1, 9)), ""


def _fails_at_its_best(suggest: Any) -> tuple[float, str]:
    x, y = (suggest(name, FloatDistribution(0.0, 1.0)) for name in "xy")
    return 0.9 * x + 0.001 * y, "fail" if x > 0.5 else ""


def _asks_while_it_trains(suggest: Any) -> tuple[float, str]:
    return 0.5 + 0.1 * suggest("x", IntDistribution(1, 2)), "ask"


def _finite_failing(suggest: Any) -> tuple[float, str]:
    return 0.5 + 0.1 * suggest("x", IntDistribution(1, 3)), "fail"


def _mlp(suggest: Any) -> tuple[float, str]:
    """Two questions of the real space, so that a study may mix real and simulated trials."""
    dropout = suggest("dropout", FloatDistribution(0.0, 0.5, step=0.05))
    width = suggest("dense_1", IntDistribution(16, 1024, log=True))
    return 0.9 - 0.2 * dropout - 0.01 * (width > 512), ""


def _behaving(behaviour: str, part: float) -> Any:
    """A space part of which makes its trials behave so."""

    def space(suggest: Any) -> tuple[float, str]:
        x = suggest("x", FloatDistribution(0.0, 1.0))
        return 0.5 + 0.4 * x, behaviour if x < part else ""

    return space


SPACES: dict[str, Any] = {
    "conditional": _conditional,
    "finite": _finite,
    "finite conditional": _finite_conditional,
    "unscoped": _unscoped,
    "fails while built": _fails_while_built,
    "failing at its best": _fails_at_its_best,
    "asks while it trains": _asks_while_it_trains,
    "finite failing": _finite_failing,
    "mlp": _mlp,
    "slow": _behaving("slow", 1.0),
    "failing": _behaving("fail", 1.0),
    "dying": _behaving("die", 1.0),
    "hanging": _behaving("hang", 1.0),
    "freezing": _behaving("freeze", 1.0),
    "sometimes failing": _behaving("fail", 0.4),
    "sometimes dying": _behaving("die", 0.4),
}
# Whatever runs their trials may be killed, by them or by the coordinator.
NEED_PROCESSES = {"dying", "hanging", "freezing", "sometimes dying"}

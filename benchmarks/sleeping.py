"""Workers that sample the `cnn` space and sleep in place of training, without TensorFlow."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.workers.keras_trainer import WorkerSettings
from search.workers.link import Link
from search.workers.messages import Built, Epoch, Failed, Suggest, Train, Trained
from spaces.baselines import PUBLISHED_FOR
from spaces.cnn import CnnConfig


def no_images() -> Any:
    """Return no images: nothing is trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepSettings(WorkerSettings):
    """Settings of a sleeping worker.

    Args:
        epoch_seconds: How long an epoch takes.
    """

    epoch_seconds: float


class SleepingTrainer:
    """Replaces `search.workers.keras_trainer.KerasTrainer`; sleeps in place of training."""

    def __init__(self, link: Link, settings: SleepSettings) -> None:
        self._link = link
        self._epoch_seconds = settings.epoch_seconds

    def run(self, order: Train) -> Trained | Failed:
        """Sleep through one trial."""
        config = CnnConfig.sample(
            Questions(lambda name, distribution: self._link.ask(Suggest(name, distribution))),
            PUBLISHED_FOR,
        )
        rate = config.training.learning_rate
        if not self._link.ask(Built(parameters=0, summary="", description=str(config))):
            return Failed(reason="rejected")
        for epoch in range(1, order.epochs + 1):
            time.sleep(self._epoch_seconds)
            value = 0.9 - 0.1 / epoch - min(0.1, rate)
            metrics = {"loss": 1.0, "accuracy": value, "val_loss": 1.0, "val_accuracy": value}
            if self._link.ask(Epoch(epoch, metrics)):
                break
        seconds = epoch * self._epoch_seconds
        return Trained(
            epochs=epoch,
            seconds=seconds,
            train_seconds=seconds,
            val_seconds=0.0,
            cpu_seconds=0.0,
            images_per_second=0.0,
            curve_png=bytes(20_000),
        )


class Questions:
    """KerasTuner's questions without KerasTuner; see `spaces.configuration.HyperParameters`.

    Args:
        suggest: Gives the value of a name under a distribution.
    """

    def __init__(self, suggest: Callable[[str, BaseDistribution], Any]) -> None:
        self._suggest = suggest
        self._values: dict[str, Any] = {}
        self._conditions: list[tuple[str, list[Any]]] = []

    def Int(
        self,
        name: str,
        min_value: int,
        max_value: int,
        *,
        sampling: str = "linear",
        default: int | None = None,
    ) -> Any:
        return self._ask(name, IntDistribution(min_value, max_value, log=sampling == "log"))

    def Float(
        self,
        name: str,
        min_value: float,
        max_value: float,
        *,
        step: float | None = None,
        sampling: str = "linear",
        default: float | None = None,
    ) -> Any:
        log = sampling == "log"
        return self._ask(name, FloatDistribution(min_value, max_value, step=step, log=log))

    def Choice(self, name: str, values: list[Any], *, default: Any = None) -> Any:
        return self._ask(name, CategoricalDistribution(values))

    def Boolean(self, name: str, default: bool = False) -> Any:
        return self._ask(name, CategoricalDistribution([True, False]))

    @contextmanager
    def conditional_scope(self, parent_name: str, parent_values: list[Any]) -> Iterator[None]:
        self._conditions.append((parent_name, parent_values))
        try:
            yield
        finally:
            self._conditions.pop()

    def _ask(self, name: str, distribution: BaseDistribution) -> Any:
        if any(self._values.get(parent) not in allowed for parent, allowed in self._conditions):
            return None
        self._values[name] = self._suggest(name, distribution)
        return self._values[name]

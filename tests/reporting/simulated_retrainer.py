"""Real worker processes that return a model without training, and so without TensorFlow."""

import io
import os
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from search.workers.keras_trainer import WorkerSettings
from search.workers.link import Link
from search.workers.messages import Built, Epoch, Failed, Images, Train, Trained


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSettings(WorkerSettings):
    """Settings with the folder in which the workers note what they have done."""

    folder: Path


class SimulatedRetrainer:
    """In place of `KerasTrainer`: does what the order's `params` say under `behaviour`."""

    def __init__(self, link: Link, settings: SimulatedSettings) -> None:
        self._link = link
        self._folder = settings.folder

    def run(self, order: Train) -> Trained | Failed:
        assert order.params is not None and order.keep_model
        name, behaviour = order.params["name"], order.params.get("behaviour", "")
        died = self._folder / f"died {name} {order.seed}"
        if behaviour == "fail":
            return Failed(reason="ValueError: simulated")
        if behaviour == "die" or (behaviour == "die once" and not died.exists()):
            died.touch()
            os.kill(os.getpid(), 9)
        assert self._link.ask(Built(parameters=10, summary="", description=""))
        value = float(order.params.get("quality", 0.5)) + 0.001 * (order.seed % 7)
        for epoch in range(1, order.epochs + 1):
            if behaviour == "slow":
                time.sleep(0.2)
            metrics = {"accuracy": value}
            if order.images is Images.TRAINING:
                metrics["val_accuracy"] = value
            self._link.ask(Epoch(epoch, metrics))
        with (self._folder / "log.txt").open("a") as log:
            log.write(f"{name} {order.seed}\n")
        return Trained(
            epochs=order.epochs,
            seconds=1.0,
            train_seconds=1.0,
            val_seconds=0.0,
            cpu_seconds=1.0,
            images_per_second=1.0,
            model=_archive(int(order.params.get("model_bytes", 1))),
        )


def _archive(size: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model.weights.h5", bytes(size))
    return file.getvalue()

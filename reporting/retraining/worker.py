"""The worker's side of a retraining: build, train, keep the model in float32."""

import dataclasses
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from reporting.retraining.order import Retrained, Retraining
from search.messages import Epoch, Failed
from search.worker import Link, WorkerSettings, in_fresh_session, redirect_output, serve


@dataclass(frozen=True, slots=True)
class Order:
    """Coordinator: carry out this retraining, and keep it in this folder."""

    retraining: Retraining
    folder: Path


@dataclass(frozen=True, slots=True)
class Kept:
    """Worker: the retraining is finished, and in its folder."""


def run_retrainer(connection: Connection, settings: WorkerSettings, log: Path) -> None:
    """Serve one coordinator until it is gone; see `search.worker.run_worker`."""
    redirect_output(log)
    serve(connection, lambda link: Retrainer(link, settings))


class Retrainer:
    """Carries out orders on data that is loaded once."""

    def __init__(self, link: Link, settings: WorkerSettings) -> None:
        from search.data import load_split
        from spaces import load_space

        self._link = link
        self._split = load_split(
            settings.data_dir, train_size=settings.train_size, val_size=settings.val_size
        )
        self._space = load_space(settings.space)

    def run(self, order: Order) -> Kept | Failed:
        """Carry out one order to one of its endings."""
        return in_fresh_session(
            lambda: self._train(order.retraining, order.folder),
            order.retraining.precision,
            order.retraining.seed,
        )

    def _train(self, retraining: Retraining, folder: Path) -> Kept | Failed:
        from search.training import set_precision, train

        model, config = self._build(retraining)
        began = time.process_time()
        result = train(
            model,
            config,
            self._split if retraining.part == "train" else _whole(self._split),
            max_epochs=retraining.epochs,
            seed=retraining.seed,
            on_epoch=lambda epoch, metrics: bool(self._link.ask(Epoch(epoch, metrics))),
        )
        cpu_seconds = time.process_time() - began
        if result.ended == "non-finite loss":
            return Failed(reason=f"non-finite loss in epoch {result.epochs + 1}")
        weights = model.get_weights()
        # Weights are float32 anyway; computing in it makes predictions the same on every machine.
        set_precision("float32")
        exported, _ = self._build(retraining)
        exported.set_weights(weights)
        validated = retraining.part == "train"
        Retrained(
            folder=folder,
            seed=retraining.seed,
            parameters=model.count_params(),
            history=result.history if validated else [_trained(row) for row in result.history],
            train_seconds=result.train_seconds,
            cpu_seconds=cpu_seconds,
            val_accuracy=result.history[-1]["val_accuracy"] if validated else None,
        ).save(exported)
        return Kept()

    def _build(self, retraining: Retraining) -> Any:
        from search.building import build_for_training
        from search.hyperparameters import TrialHyperParameters

        return build_for_training(
            self._space,
            TrialHyperParameters(lambda name, distribution: retraining.params[name]),
        )


def _whole(split: Any) -> Any:
    """Both parts to train on. The trainer still validates, on images that it trains on."""
    import numpy as np

    return dataclasses.replace(
        split,
        train_images=np.concatenate([split.train_images, split.val_images]),
        train_labels=np.concatenate([split.train_labels, split.val_labels]),
    )


def _trained(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if not name.startswith("val_")}

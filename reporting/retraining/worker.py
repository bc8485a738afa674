"""The worker's side of a retraining: build, train, keep the model in float32."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reporting.retraining.order import Retrained, Retraining
from search.errors import first_line
from search.study.provenance import commit
from search.training.hardware import machine, versions
from search.workers.messages import Epoch, Failed
from search.workers.process import (
    Link,
    WorkerSettings,
    in_fresh_session,
    load_data_and_space,
)

if TYPE_CHECKING:
    import keras

    from search.data.split import Split
    from search.training.hyperparameters import TrialHyperParameters
    from spaces.training import TrainingConfig


@dataclass(frozen=True, slots=True)
class Order:
    """Coordinator: carry out this retraining, and keep it in this folder."""

    retraining: Retraining
    folder: Path


@dataclass(frozen=True, slots=True)
class Kept:
    """Worker: the retraining is finished, and in its folder."""


@dataclass(frozen=True, slots=True)
class Unwritable:
    """Worker: the retraining is finished, but cannot be kept; nor can any other."""

    reason: str


class Retrainer:
    """Carries out orders on data that is loaded once."""

    def __init__(self, link: Link, settings: WorkerSettings) -> None:
        self._link = link
        self._split, self._space = load_data_and_space(settings)
        self._origin = {"commit": commit(), "machine": machine(), **versions()}

    def run(self, order: Order) -> Kept | Unwritable | Failed:
        """Carry out one order to one of its endings."""
        retraining = order.retraining
        trained = in_fresh_session(
            lambda: self._train(retraining, order.folder), retraining.precision, retraining.seed
        )
        if isinstance(trained, Failed):
            print(trained.traceback, flush=True)  # noqa: T201 - into the worker's log
            return trained
        record, model = trained
        try:
            record.save(model)
        except OSError as error:
            return Unwritable(first_line(error))
        return Kept()

    def _train(
        self, retraining: Retraining, folder: Path
    ) -> tuple[Retrained, "keras.Model"] | Failed:
        from search.training.loop import set_precision, train
        from search.training.own_fit import own_fit

        model, config, hp = self._build(retraining)
        validate = retraining.part == "train"
        began = time.process_time()
        result = train(
            model,
            config,
            self._split if validate else _whole(self._split),
            max_epochs=retraining.epochs,
            seed=retraining.seed,
            validate=validate,
            on_epoch=lambda epoch, metrics: bool(self._link.ask(Epoch(epoch, metrics))),
            fit=own_fit(self._space, hp),
        )
        cpu_seconds = time.process_time() - began
        if result.ended == "non-finite loss":
            return Failed(reason=f"non-finite loss in epoch {result.epochs + 1}")
        weights = model.get_weights()
        # Weights are float32 anyway; computing in it makes predictions the same on every machine.
        set_precision("float32")
        exported, *_ = self._build(retraining)
        exported.set_weights(weights)
        record = Retrained(
            folder=folder,
            seed=retraining.seed,
            parameters=model.count_params(),
            history=result.history,
            train_seconds=result.train_seconds,
            cpu_seconds=cpu_seconds,
            val_accuracy=result.history[-1]["val_accuracy"] if validate else None,
            origin=self._origin,
        )
        return record, exported

    def _build(
        self, retraining: Retraining
    ) -> tuple["keras.Model", "TrainingConfig", "TrialHyperParameters"]:
        from search.training.building import build_for_training
        from search.training.hyperparameters import TrialHyperParameters

        hp = TrialHyperParameters(lambda name, distribution: retraining.params[name])
        return *build_for_training(self._space, hp), hp


def _whole(split: "Split") -> "Split":
    """Both parts to train on."""
    import numpy as np

    return dataclasses.replace(
        split,
        train_images=np.concatenate([split.train_images, split.val_images]),
        train_labels=np.concatenate([split.train_labels, split.val_labels]),
    )

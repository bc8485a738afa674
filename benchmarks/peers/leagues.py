"""Build and train the model of a trial: with stock Keras, or with this project's trainer."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras

from benchmarks.peers import stock
from benchmarks.peers.job import Job, data_shape
from benchmarks.peers.scoring import scored
from search.study.study import trial_seed
from spaces import load_space

OnEpoch = Callable[[int, float], bool]


class League(Protocol):
    """How the trials of a search are built and trained."""

    def build(self, hp: Any) -> Any:
        """Build a model that `train` can train, from KerasTuner's `HyperParameters`."""

    def train(
        self,
        hp: Any,
        model: Any,
        on_epoch: OnEpoch,
        *,
        epochs: int | None = None,
        initial_epoch: int = 0,
        checkpoint: bytes | None = None,
        callbacks: Sequence[Any] = (),
    ) -> bytes | None:
        """Train a model.

        Args:
            hp: What it was built from.
            model: From `build`.
            on_epoch: Called after each epoch with its number (from 1) and validation accuracy;
                returns whether to stop.
            epochs: Last epoch; None: all epochs of a trial.
            initial_epoch: Epochs that were trained before.
            checkpoint: Of the earlier epochs; stock Keras restores weights in other ways.
            callbacks: Keras callbacks of the library, for stock Keras only.

        Returns:
            A checkpoint, of our trainer.
        """


def make_league(job: Job) -> League:
    """Return the league of a job."""
    keras.utils.set_random_seed(job.seed)
    return StockLeague(job) if job.league == "system" else OurLeague(job)


class StockLeague:
    """Stock Keras: its optimizers, `model.fit` and float32."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._space: Any = load_space(job.space, data_shape())

    def build(self, hp: Any) -> Any:
        """See `League`."""
        model = self._space.build(hp)
        steps = -(-self._job.train_size // self._space.training(hp).batch_size)
        stock.compile_model(model, self._space.training(hp), self._job.epochs * steps)
        return scored(model)

    def train(
        self,
        hp: Any,
        model: Any,
        on_epoch: OnEpoch,
        *,
        epochs: int | None = None,
        initial_epoch: int = 0,
        checkpoint: bytes | None = None,
        callbacks: Sequence[Any] = (),
    ) -> None:
        """See `League`."""

        def report(epoch: int, logs: dict[str, float]) -> None:
            if on_epoch(epoch + 1, logs["val_accuracy"]):
                model.stop_training = True

        stock.fit(
            model,
            self._space.training(hp),
            self._job.split(),
            epochs=epochs or self._job.epochs,
            initial_epoch=initial_epoch,
            callbacks=[*callbacks, keras.callbacks.LambdaCallback(on_epoch_end=report)],
        )


class OurLeague:
    """This project's trainer, in its fastest number format."""

    def __init__(self, job: Job) -> None:
        from search.training.hardware import start_tensorflow

        start_tensorflow(devices=False)
        self._job = job
        self._space: Any = load_space(job.space, data_shape())
        self._built = 0

    def build(self, hp: Any) -> Any:
        """See `League`."""
        from search.training.hardware import set_precision

        precision: Any = self._job.precision
        set_precision(precision)
        self._built += 1
        keras.utils.set_random_seed(trial_seed(self._job.seed, self._built))
        return scored(self._space.build(hp))

    def train(
        self,
        hp: Any,
        model: Any,
        on_epoch: OnEpoch,
        *,
        epochs: int | None = None,
        initial_epoch: int = 0,
        checkpoint: bytes | None = None,
        callbacks: Sequence[Any] = (),
    ) -> bytes | None:
        """See `League`."""
        from search.training.loop import Part, train

        last = epochs or self._job.epochs
        return train(
            model,
            self._space.training(hp),
            self._job.split(),
            max_epochs=self._job.epochs,
            seed=trial_seed(self._job.seed, self._built),
            on_epoch=lambda epoch, metrics: on_epoch(epoch, metrics["val_accuracy"]),
            part=Part(
                initial_epoch=initial_epoch,
                epochs=last,
                checkpoint=checkpoint,
                keep_checkpoint=last < self._job.epochs,
            ),
        ).checkpoint

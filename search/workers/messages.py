"""Messages between the coordinator and a worker, over a pipe or a cluster.

A worker starts with `Ready` (or `Unusable`), then waits for `Train` or `Measure`. During a trial it
sends `Suggest`, `Built`, `Timed` and `Epoch`, and waits for one `Answer` after each. The trial ends
with `Trained` or `Failed`, which get no answer; a measurement ends with `Measured` or `Failed`. A
thread sends `Beat` all the time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from optuna.distributions import BaseDistribution


class Images(StrEnum):
    """Images that a model is trained on; the values are part of the keys of kept retrainings."""

    TRAINING = "train"  # the training part, with validation after each epoch
    ALL = "all"  # the training and the validation part together, without validation


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Coordinator: run this trial or retraining.

    Args:
        number: Number of the trial; None for a retraining, which gets no learning curve.
        seed: Random seed, 0 or more.
        max_epochs: Length of the learning-rate schedule.
        epochs: Last epoch to train; counted from the start of the checkpoint's training.
        initial_epoch: Epochs that `checkpoint` already contains.
        checkpoint: `Trained.checkpoint` of the trial to continue.
        keep_checkpoint: Whether to return a checkpoint.
        params: Hyperparameter values by name; None: ask for each with `Suggest`.
        images: Images to train on.
        epoch_size: Training images of an epoch; the next one shows others. None: all.
        keep_model: Whether to return the trained model.
        objective: The history of the training must have `val_OBJECTIVE`.
        teachers: `.keras` files from pixels in [0, 255] to probabilities, whose predictions the
            model learns besides the labels; none for a training on labels alone.
        costs: What to find out about the network before it is trained, beside its parameters:
            `flops`, `latency`.
    """

    number: int | None
    seed: int
    max_epochs: int
    epochs: int
    initial_epoch: int = 0
    checkpoint: bytes | None = None
    keep_checkpoint: bool = False
    params: Mapping[str, Any] | None = None
    images: Images = Images.TRAINING
    epoch_size: int | None = None
    keep_model: bool = False
    objective: str = "accuracy"
    teachers: tuple[bytes, ...] = ()
    costs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measure:
    """Coordinator: train for a moment, to measure the speed.

    It trains the default configuration of a built-in space (`search.sizes.plan_of` says what others
    cost relative to it). In a user's space it trains a random one: the default is often the
    smallest network.

    Args:
        seconds: Time to train after the model is traced.
        seed: Of the random configuration; each worker gets another one.
    """

    seconds: float
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """Coordinator: the suggested value; after `Built` and `Timed`, whether to go on; after `Epoch`,
    whether to stop.
    """

    value: Any


@dataclass(frozen=True, slots=True)
class Ready:
    """Worker: data and space are loaded."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """Worker: the space or the data cannot be used, so no trial can run; it ends."""

    reason: str


@dataclass(frozen=True, slots=True)
class Suggest:
    """Worker: the space asks for this hyperparameter."""

    name: str
    distribution: BaseDistribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Worker: the model is built.

    Args:
        parameters: Number of weights.
        flops: Floating-point operations for one image; None if that was not asked.
        may_ask_more: Whether the training is the space's own, which may ask for hyperparameters.
        summary: Keras' table of layers.
        description: The configuration in words.
        fixed: Hyperparameters for which the space leaves no choice.
        space: All hyperparameters that `build` asked for, in KerasTuner's serialized form.
        unusable: Why a report could not use the model; empty if it can, or was not tried.
    """

    parameters: int
    summary: str
    description: str
    fixed: dict[str, Any] = field(default_factory=dict)
    space: list[dict[str, Any]] = field(default_factory=list)
    unusable: str = ""
    flops: int | None = None
    may_ask_more: bool = False


@dataclass(frozen=True, slots=True)
class Timed:
    """Worker: how long the network takes for its predictions, if that was asked.

    Args:
        attrs: Attributes of the trial; see `search.training.latency`.
        seconds: How long the measurement itself has taken.
    """

    attrs: dict[str, Any]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Epoch:
    """Worker: this epoch, counted from 1, is finished."""

    number: int
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Worker: training ended after all its epochs, or because it was told to stop.

    Args:
        epochs: Number of epochs that this message's trial trained.
        seconds: Wall time of the trial, from `Train` to here, with `Timed.seconds`.
        train_seconds: Wall time in training steps.
        val_seconds: Wall time in validation.
        cpu_seconds: Processor time of the training and validation, user and system.
        images_per_second: Training images per second.
        curve_png: Picture of the learning curve; empty for a retraining.
        checkpoint: State for another trial to continue from, if asked for.
        space: `Built.space` with the hyperparameters that the space's own `fit` asked for.
        model: The model as a `.keras` file that computes in float32, if asked for.
    """

    epochs: int
    seconds: float
    train_seconds: float
    val_seconds: float
    cpu_seconds: float
    images_per_second: float
    curve_png: bytes = b""
    checkpoint: bytes | None = None
    space: list[dict[str, Any]] = field(default_factory=list)
    model: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Worker: the measurement is over.

    Args:
        images_per_second: Training images per second.
        startup_seconds: Time to build and trace the model.
    """

    images_per_second: float
    startup_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Worker: the trial or the measurement cannot be finished."""

    reason: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Beat:
    """Worker: heartbeat."""

    memory_mb: float


@dataclass(frozen=True, slots=True)
class Died:
    """Not sent by a worker: the worker process is gone.

    Args:
        reason: Exit code, signal, timeout or the cluster's words.
        is_own_fault: False if its node was lost or is not used; such deaths do not count as
            failed starts.
    """

    reason: str
    is_own_fault: bool = True


Message = (
    Ready | Unusable | Suggest | Built | Timed | Epoch | Trained | Measured | Failed | Beat | Died
)

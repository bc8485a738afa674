"""What a worker and the coordinator say to each other, over a pipe or over a cluster.

A worker starts with `Ready` (or `Unusable`), then waits for `Train`. During a trial it sends
`Suggest`, `Built` and `Epoch`, and waits for one `Answer` after each; the trial ends with
`Trained` or `Failed`, without an answer. `Beat` comes at any time, from a thread of its own.
"""

from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Coordinator: run this trial.

    Args:
        number: Of the trial.
        seed: Of everything random in it.
        max_epochs: Most epochs of any trial: the length of learning-rate schedules.
        initial_epoch: So many epochs are in `checkpoint` already.
        epochs: Stop after this one, counted from the first of the checkpoint's training.
        checkpoint: `Trained.checkpoint` of the trial that this one goes on with.
        keep_checkpoint: Whether another trial may go on with this one.
    """

    number: int
    seed: int
    max_epochs: int
    epochs: int
    initial_epoch: int = 0
    checkpoint: bytes | None = None
    keep_checkpoint: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """Coordinator: the value asked for; or, after `Built` and `Epoch`, whether to stop here."""

    value: Any


@dataclass(frozen=True, slots=True)
class Ready:
    """Worker: data and space are loaded."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """Worker: no trial can ever run here, because of the space or the data."""

    reason: str


@dataclass(frozen=True, slots=True)
class Suggest:
    """Worker: the space asks for this hyperparameter."""

    name: str
    distribution: BaseDistribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Worker: the model stands.

    Args:
        parameters: Its weights.
        summary: Its layers.
        description: Its configuration in words.
        fixed: Hyperparameters that the space leaves no choice.
        space: All that `build` has asked for, as KerasTuner writes it down.
    """

    parameters: int
    summary: str
    description: str
    fixed: dict[str, Any] = field(default_factory=dict)
    space: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Epoch:
    """Worker: this epoch (the first is 1) is finished."""

    number: int
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Worker: training ended as it should, after all its epochs or because it was told to stop.

    `space` is that of `Built`, with what the training asked for besides.
    """

    epochs: int
    seconds: float
    train_seconds: float
    val_seconds: float
    images_per_second: float
    curve_png: bytes
    checkpoint: bytes | None = None
    space: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Worker: the trial cannot be finished, and why."""

    reason: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Beat:
    """Worker: alive, and using so much memory."""

    memory_mb: float


Message = Ready | Unusable | Suggest | Built | Epoch | Trained | Failed | Beat

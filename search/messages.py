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
    """Coordinator: run this trial."""

    number: int
    seed: int
    max_epochs: int


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
    """Worker: the model stands; `description` says its configuration in words."""

    parameters: int
    summary: str
    description: str
    fixed: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Epoch:
    """Worker: this epoch (the first is 1) is finished."""

    number: int
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Worker: training ended as it should, after all its epochs or because it was told to stop."""

    epochs: int
    seconds: float
    train_seconds: float
    val_seconds: float
    images_per_second: float
    curve_png: bytes


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

"""How far a search is: what the coordinator knows and a display shows."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class RunningTrial:
    """A trial in a worker's hands."""

    number: int
    epoch: int = 0
    val_accuracy: float | None = None


@dataclass(slots=True, kw_only=True)
class Progress:
    """The state of a search at one moment.

    Args:
        target: Finished trials wanted in total.
        max_epochs: Most epochs of one trial.
        complete: Trials that ran all their epochs.
        pruned: Trials that were stopped early.
        failed: Trials without a value.
        running: Those in the workers' hands.
        best: Number and validation accuracy of the best complete trial.
        seconds: Since this run began.
        seconds_left: Estimate; None while nothing is known.
    """

    target: int
    max_epochs: int
    complete: int = 0
    pruned: int = 0
    failed: int = 0
    running: list[RunningTrial] = field(default_factory=list)
    best: tuple[int, float] | None = None
    seconds: float = 0.0
    seconds_left: float | None = None

    @property
    def finished(self) -> int:
        """Complete and pruned trials: what `--trials` counts."""
        return self.complete + self.pruned

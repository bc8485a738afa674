"""One attempt at training a trial: its state in the coordinator, and how it is recorded."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Final

import optuna
from optuna_dashboard import save_note

from search.display import RunningTrial
from search.engines.engine import Budget
from search.length import Running
from search.study.artifacts import NOTED_TRIALS, Artifacts, history_csv, trial_note
from search.study.facts import is_number
from search.study.objective import Objectives, costs_of
from search.study.study import trial_name
from search.words import counted
from search.workers.messages import Built, Epoch, Timed, Trained

_LEAST_SECONDS: Final = 1.0  # of an epoch; shorter epochs vary too much to be compared


@dataclass(slots=True, kw_only=True)
class Attempt:
    """A trial that a worker trains.

    Attributes:
        trial: The trial.
        budget: Epochs that it may train.
        started: Start time on the coordinator's clock, in seconds.
        shown: State for the display.
        attrs: Attributes that the study will store.
        objectives: What the search maximizes, `val_...` of the history, and what it minimizes.
        is_first: Whether it is one of the configurations that are tried first.
        suspended_seconds: How long the search had been suspended when the attempt began.
        losses: Why earlier attempts at this trial lost their workers.
        description: The configuration in words.
        summary: Keras' table of layers.
        history: Metrics of each epoch.
        rejected: Why the coordinator refused the model; empty if it did not.
        pruned: Whether the pruner stopped it.
    """

    trial: optuna.Trial
    budget: Budget
    started: float
    shown: RunningTrial
    attrs: dict[str, Any]
    losses: list[str]
    objectives: Objectives
    is_first: bool = False
    suspended_seconds: float = 0.0
    description: str = ""
    summary: str = ""
    history: list[dict[str, float]] = field(default_factory=list)
    rejected: str = ""
    pruned: bool = False

    @property
    def number(self) -> int:
        """Number of the trial."""
        return self.trial.number

    @property
    def name(self) -> str | None:
        """Where the configuration comes from; None if the engine proposed it."""
        return trial_name(self.trial)

    @property
    def value(self) -> float:
        """Value of the maximized objective after the last epoch, in [0, 1]."""
        return self.history[-1][f"val_{self.objectives.maximized}"]

    @property
    def costs(self) -> dict[str, float]:
        """Costs of the network that are known so far, by key of `COSTS`."""
        return costs_of(self.attrs)

    @property
    def values(self) -> list[float]:
        """The value of each objective."""
        return [self.value, *(self.costs[name] for name in self.objectives.minimized)]

    @property
    def epochs_reached(self) -> int:
        """Epochs trained, with those of the trial that this one continues."""
        return self.budget.initial_epoch + len(self.history)

    def epochs_words(self, max_epochs: int) -> str:
        """Return in words which epochs this attempt has trained, of how many."""
        if not self.budget.initial_epoch:
            return f"{self.epochs_reached} of {max_epochs} epochs"
        first = self.budget.initial_epoch + 1
        return f"epochs {first} to {self.epochs_reached} of {max_epochs}"

    def as_running(self, now: float) -> Running:
        """Return the input of the time estimate; `now`: the coordinator's clock, in seconds."""
        return Running(
            epochs=len(self.history),
            seconds=now - self.started,
            is_first=self.is_first,
            latency_seconds=self.attrs.get("latency_seconds", 0.0),
            budget=self.budget.epochs - self.budget.initial_epoch,
        )

    def take_model(self, built: Built) -> None:
        """Record what the worker reports about the built model."""
        self.description, self.summary = built.description, built.summary
        self.attrs["parameters"] = built.parameters
        if built.flops is not None:
            self.attrs["flops"] = built.flops
        if built.fixed:
            self.attrs["fixed"] = built.fixed

    def take_times(self, timed: Timed) -> None:
        """Record how long predictions take, unless an earlier attempt has measured it."""
        known = self.trial.user_attrs
        for name, value in timed.attrs.items():
            if name not in known:
                self.trial.set_user_attr(name, value)
            self.attrs[name] = known.get(name, value)
        self.attrs["latency_seconds"] = round(timed.seconds, 3)  # of this attempt, as `seconds`

    def take_epoch(self, epoch: Epoch) -> None:
        """Record the metrics of an epoch."""
        self.history.append(epoch.metrics)
        self.shown.epoch, self.shown.value = epoch.number, self.value

    def take_end(
        self, trained: Trained, elapsed_seconds: float, suspended_seconds: float = 0.0
    ) -> None:
        """Record the measurements of a training.

        Args:
            trained: Measurements of the worker.
            elapsed_seconds: Upper limit of the duration; the worker's own count includes time in
                which its messages waited for the storage.
            suspended_seconds: How long the search has been suspended so far, with its workers:
                the pause since the attempt began is taken out of its slowest epoch. (Workers on
                other machines go on, and none of their epochs is so long.)
        """
        slowest = max(self.history, key=lambda epoch: epoch.get("seconds", 0.0))
        longest = slowest.get("seconds", 0.0)
        pause = min(suspended_seconds - self.suspended_seconds, longest)
        if pause > 0 and suspended_seconds - self.suspended_seconds < 1.1 * longest:
            slowest["seconds"] = longest - pause
            train_seconds = max(0.001, trained.train_seconds - pause)
            trained = replace(
                trained,
                seconds=trained.seconds - pause,
                train_seconds=train_seconds,
                images_per_second=trained.images_per_second * trained.train_seconds / train_seconds,
            )
        in_training = trained.train_seconds + trained.val_seconds
        spent = min(trained.seconds, max(in_training, elapsed_seconds))
        self.attrs |= {
            "epochs": trained.epochs,
            "seconds": round(spent, 3),
            "train_seconds": round(trained.train_seconds, 3),
            "val_seconds": round(trained.val_seconds, 3),
            "cpu_seconds": round(trained.cpu_seconds, 3),
            "images_per_second": round(trained.images_per_second, 1),
        }
        accuracy = self.history[-1].get("accuracy", math.nan)
        if is_number(accuracy):  # a space's own `fit` may log none, or NaN
            self.attrs["train_accuracy"] = round(accuracy, 6)
        # TensorFlow compiles in the first epoch.
        seconds = [entry["seconds"] for entry in self.history[1:] if "seconds" in entry]
        if len(seconds) > 1 and min(seconds) >= _LEAST_SECONDS:
            self.attrs["slowest_epoch"] = round(max(seconds) / min(seconds), 3)

    def ending(self, *, at_budget: bool) -> str:
        """Return in words how the training ended; `at_budget`: at the end of an early budget."""
        if at_budget:
            return f"its budget of {counted(self.budget.epochs, 'epoch')} is used up"
        return f"pruned after epoch {self.epochs_reached}" if self.pruned else "complete"

    def attach_files(self, artifacts: Artifacts, trained: Trained | None = None) -> None:
        """Attach the training's files to the trial.

        Args:
            artifacts: Stores the metrics of each epoch and, after a training that ended well, the
                learning curve and the table of layers.
            trained: Measurements of the worker; None: the trial failed.
        """
        if self.history:
            table = history_csv(self.history, self.budget.initial_epoch)
            artifacts.add(self.trial, "history.csv", table)
        if trained is not None:
            artifacts.add(self.trial, "learning_curve.png", trained.curve_png)
            artifacts.add(self.trial, "model.txt", self.summary.encode())

    def record(self, ended: str) -> None:
        """Store all attributes, and the final note.

        Args:
            ended: How the trial ends, in words.
        """
        self.attrs["ended"] = ended
        for name, value in self.attrs.items():
            self.trial.set_user_attr(name, value)
        self.save_note(ended)

    def save_note(self, ended: str) -> None:
        """Show a note in the dashboard; `ended` says how the trial ends, in words."""
        if self.number < NOTED_TRIALS:
            note = trial_note(
                description=self.description,
                name=self.name,
                ended=ended,
                attrs=self.attrs,
            )
            save_note(self.trial, note)

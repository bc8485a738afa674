"""Plan a search and estimate its time, without creating anything."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from optuna.trial import FrozenTrial

from search.display import Display
from search.engines.exploring import UnexploredError, explore
from search.engines.pruners import PRUNERS, Rungs
from search.errors import StoppedError
from search.length import Plan, Speed, TimeLeft, expectation, remaining_words
from search.measuring import Measurement
from search.preparation import (
    comparable_facts,
    connected,
    find_inputs,
    make_workers,
    precision_of,
)
from search.settings import SearchSettings
from search.sizes import (
    fitted_line,
    fitted_sizes,
    known_sizes,
    needs_speed,
    plan_of,
    stored_speed,
    train_size_of,
)
from search.study.storage import quiet_optuna
from search.study.stored import find_study
from search.study.study import FINISHED, check_comparable, known_as, untried
from search.training.hardware import Precision
from search.words import counted
from spaces import DataShape

# Source: `du --apparent-size` of the artifacts and the journal of a study of 10 trials of the `cnn`
# space, 625 kB; learning curves are most of it.
DISK_KB_PER_TRIAL: Final = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """The plan of a search.

    Args:
        settings: Settings of the search, with sizes that are known or fitted.
        plan: Size of the search.
        train_size: Number of training images, of which an epoch may show a part.
        fitted: What `--minutes` allows, in words; None: the sizes were not fitted.
        speed: Speed of the workers; None if it is not known.
        unmeasured: Why the speed is not known.
        seconds: Expected time of the missing trials; None if it is not known.
        finished: Number of finished trials in the study.
        place: Where the workers run, in words.
        precision: Number format in which models train.
        hyperparameters: Number of hyperparameters with a choice; None if the space cannot be
            explored.
        unexplored: Why the space cannot be explored.
        first: Names of the configurations that are tried first and are not finished.
        pruning: Epochs after which trials may be pruned; None: the tuner's budgets decide.
    """

    settings: SearchSettings
    plan: Plan
    train_size: int
    fitted: str | None
    speed: Speed | None
    unmeasured: str
    seconds: float | None
    finished: int
    place: str
    precision: Precision
    hyperparameters: int | None
    unexplored: str
    first: list[str]
    pruning: list[int] | None

    @property
    def expected(self) -> str:
        """How long the search takes, in words."""
        if not self.missing:
            name = self.settings.study_name
            return f"study {name!r} already has its {self.finished} finished trials"
        if self.seconds is None:
            reason = self.unmeasured or "neither a speed nor the time of a trial was measured"
            return f"the duration of the search is unknown: {reason}"
        if self.finished or self.speed is None:
            return remaining_words(self.missing, self.seconds)
        if self.fitted is not None:
            return self.fitted
        return expectation(self.plan, self.speed, self.place, self.precision)

    @property
    def missing(self) -> int:
        """Number of trials to run."""
        return max(0, self.settings.trials - self.finished)

    @property
    def disk_mb(self) -> float:
        """Disk that the missing trials need."""
        return self.missing * DISK_KB_PER_TRIAL / 1_000

    def lines(self) -> Iterator[str]:
        """Yield the plan for a person."""
        yield self.expected
        yield (
            f"each trial: up to {counted(self.plan.epochs, 'epoch')} of {self.plan.epoch_size:,} "
            "images, "
            f"validated on {self.plan.val:,}"
        )
        if self.hyperparameters is None:
            yield f"space: {self.settings.space}, not explored: {self.unexplored}"
        else:
            yield f"space: {self.settings.space}, {self.hyperparameters} hyperparameters"
        yield f"first: {', '.join(self.first) or 'none'}"
        if self.settings.objectives.several:
            yield f"objectives: {self.settings.objective}"
        if self.pruning is None:
            yield f"pruning: the epoch budgets of --tuner {self.settings.algorithm}"
        elif self.pruning:
            yield f"pruning: after epoch {', '.join(map(str, self.pruning))}"
        else:
            yield "pruning: none"
        yield f"disk: about {max(1, round(self.disk_mb))} MB"

    def as_json(self) -> dict[str, Any]:
        """Return the plan for a program."""
        return {
            "study": self.settings.study_name,
            "trials": self.settings.trials,
            "finished": self.finished,
            "epochs": self.plan.epochs,
            "train_size": self.train_size,
            "epoch_size": self.plan.epoch_size,
            "val_size": self.plan.val,
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "expected": self.expected,
            "speed": None if self.speed is None else self.speed.fact,
            "precision": self.precision,
            "space": self.settings.space,
            "hyperparameters": self.hyperparameters,
            "first": self.first,
            "pruning_epochs": self.pruning,
            "disk_mb": round(self.disk_mb, 1),
        }


@quiet_optuna()
def dry_run(settings: SearchSettings, display: Display) -> DryRun:
    """Plan a search, and measure how fast its workers train.

    Args:
        settings: Its settings.
        display: Shows what the user must know about a node.

    Raises:
        SearchError: The search could not run; the message says how to correct it.
        SpaceError: The space does not exist.
    """
    started = time.monotonic()
    inputs = find_inputs(settings)
    settings = inputs.settings
    for line in inputs.notes:
        display.log(line)
    study = find_study(settings.study_name, settings.storage, settings.study_dir)
    inputs = inputs.of_study(study)
    known = known_sizes(settings, study)
    with ExitStack() as opened:
        cluster = opened.enter_context(connected(settings))
        logs = Path(opened.enter_context(tempfile.TemporaryDirectory())) / "logs"
        precision = precision_of(settings, cluster)
        if study is not None and known is not None:
            check_comparable(study, comparable_facts(known, inputs.dataset, precision))
        before = time.monotonic()
        hyperparameters, unexplored = _explored(
            settings.space, inputs.dataset.shape, logs / "exploring.log"
        )
        exploring_seconds = time.monotonic() - before  # which a search does not spend
        finished = [] if study is None else study.get_trials(deepcopy=False, states=FINISHED)
        workers = make_workers(known or settings, inputs, precision, cluster, display, logs)
        opened.callback(workers.close)
        attrs = {} if study is None else study.user_attrs
        speed = stored_speed(attrs, settings, min(workers.count, settings.trials))
        unmeasured, fitted = "", None
        if known is None or (speed is None and needs_speed(study, settings.trials)):
            measurement = Measurement(workers, settings, started, display.log)
            found = measurement.required() if known is None else measurement.run()
            if measurement.stopped_by is not None:
                raise StoppedError(measurement.stopped_by, "in a dry run; nothing was created")
            if isinstance(found, Speed):
                speed = found
            else:
                unmeasured = found.reason
        if known is None:
            assert speed is not None
            spent_seconds = time.monotonic() - started - exploring_seconds
            known = fitted_sizes(settings, speed, inputs, spent_seconds)
            fitted = fitted_line(settings, known, speed, inputs, spent_seconds)
            if study is not None:
                check_comparable(study, comparable_facts(known, inputs.dataset, precision))
    plan = plan_of(known, inputs)
    pruner = PRUNERS[known.pruner_used]
    place = "this machine" if cluster is None else "this cluster"
    return DryRun(
        settings=known,
        plan=plan,
        train_size=train_size_of(known, inputs),
        fitted=fitted if study is None else None,
        speed=speed,
        unmeasured=unmeasured,
        seconds=seconds_left(plan, speed, finished),
        finished=len(finished),
        place=place,
        precision=precision,
        hyperparameters=hyperparameters,
        unexplored=unexplored,
        first=list(untried(inputs.first, finished)),
        pruning=None if known.has_budgets else pruner.epochs(Rungs.of(plan.epochs)),
    )


def seconds_left(plan: Plan, speed: Speed | None, finished: Sequence[FrozenTrial]) -> float | None:
    """Return the expected seconds of the missing trials; None if there is no estimate.

    Args:
        plan: Its size.
        speed: Speed of its workers; None if it is not known.
        finished: Trials that its study holds already.
    """
    missing = plan.trials - len(finished)
    if missing <= 0:
        return 0.0
    if not finished:
        return None if speed is None else plan.seconds(speed)
    left = TimeLeft(plan, speed)
    for trial in finished:
        if "seconds" in trial.user_attrs:
            left.take(trial.user_attrs["seconds"], is_first=known_as(trial) is not None)
    waiting_first = max(0, plan.first - sum(known_as(trial) is not None for trial in finished))
    return left.seconds(
        waiting=missing,
        waiting_first=min(missing, waiting_first),
        running=[],
        workers=1 if speed is None else speed.workers,
    )


def _explored(space: str, data: DataShape, log: Path) -> tuple[int | None, str]:
    try:
        found = explore(space, data, log)
    except UnexploredError as error:
        return None, error.reason
    # A hyperparameter in several scopes has several entries.
    asked = {each["config"]["name"] for each in found if each["class_name"] != "Fixed"}
    return len(asked), ""

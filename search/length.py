"""Estimate how long a search takes, fit its plan to a time, and estimate the time left.

The speed is measured with the space's default configuration; recorded trainings say how much longer
an epoch of other trials takes, and the pruner how many epochs they train.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from search.data.split import VALIDATION_COST
from search.engines.pruners import PRUNERS
from search.errors import SettingsError
from search.words import counted

DEFAULT_EPOCHS: Final = 8
ENOUGH_SEEN: Final = 80_000  # images that a trial sees; with fewer, a network learns little
MOST_DEFAULT_EPOCHS: Final = 100
MOST_FITTED_EPOCHS: Final = 30
FEWEST_EPOCHS: Final = 2
FEWEST_IMAGES: Final = 2_000  # that an epoch shows
# With fewer, validation on up to 10,000 images would cost more than half as much as the training.
ENOUGH_IMAGES: Final = 5_000


# Seconds of an epoch over those of the default, in the `cnn` space. Source: `epoch_cpu_seconds` of
# benchmarks/replay.csv.
FIRST_COST: Final = 1.28  # of the configurations that are tried first
SAMPLED_COST: Final = 1.39
LATENCY_SECONDS: Final = 8.0  # of one measurement of a network's latency: 5 to 10 s
PRIOR_TRIALS: Final = 5.0  # weight of the prior, in sampled trials
_SHORTER_MINUTES: Final = (5, 10, 15, 30, 60, 120, 240, 480)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast workers train the default configuration while all of them train.

    Args:
        workers: Number of workers; 1 or more.
        images_per_second: Training images per second of one worker; above 0.
        startup_seconds: Time to build and trace a model; 0 or more.

    Raises:
        ValueError: A value breaks its rule.
    """

    workers: int
    images_per_second: float
    startup_seconds: float

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"Speed got workers={self.workers}; use 1 or more.")
        if not 0 < self.images_per_second < math.inf:
            raise ValueError(
                f"Speed got images_per_second={self.images_per_second}; use a finite number above "
                "0."
            )
        if not 0 <= self.startup_seconds < math.inf:
            raise ValueError(
                f"Speed got startup_seconds={self.startup_seconds}; use a finite number, 0 or more."
            )

    @property
    def fact(self) -> dict[str, float]:
        """The speed as a study stores it."""
        return {
            "workers": self.workers,
            "images_per_second": round(self.images_per_second, 1),
            "startup_seconds": round(self.startup_seconds, 2),
        }

    @classmethod
    def from_fact(cls, stored: Mapping[str, Any]) -> "Speed":
        """Return the speed that a checked study has stored."""
        return cls(**{key: value for key, value in stored.items() if key != "machine"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The size of a search.

    Args:
        trials: Finished trials; 1 or more.
        first: How many of them are the configurations that are tried first.
        epochs: Maximum epochs of a trial; 1 or more.
        epoch_size: Training images that an epoch shows; 1 or more.
        val: Validation images; 1 or more.
        pruner: What ends trials before their last epoch, a key of `PRUNERS`.
        has_budgets: Whether epoch budgets end them instead, about as that pruner would.
        extra_seconds: Time of each trial besides its training, such as the measurement of its
            latency; 0 or more.
        first_cost: Seconds of an epoch of the configurations that are tried first, over those of
            the default.
        sampled_cost: The same of the other trials.

    Raises:
        ValueError: A number is out of its range.
    """

    trials: int
    first: int
    epochs: int
    epoch_size: int
    val: int
    pruner: str
    has_budgets: bool = False
    extra_seconds: float = 0.0
    first_cost: float = FIRST_COST
    sampled_cost: float = SAMPLED_COST

    def __post_init__(self) -> None:
        if min(self.trials, self.epochs, self.epoch_size, self.val) < 1:
            raise ValueError(f"{self} has a number below 1.")
        if not 0 <= self.first <= self.trials:
            raise ValueError(f"Plan got first={self.first}; use 0 to trials={self.trials}.")

    def trial_seconds(self, speed: Speed, is_first: bool, epochs: float | None = None) -> float:
        """Return the expected seconds of a trial; `epochs`: epochs that it trains."""
        if epochs is None:
            epochs = PRUNERS[self.pruner].expected_epochs(self.epochs, is_first=is_first)
        cost = self.first_cost if is_first else self.sampled_cost
        apart = speed.startup_seconds + self.extra_seconds
        return apart + epochs * cost * self.images / speed.images_per_second

    @property
    def images(self) -> float:
        """Cost of an epoch with its validation, in training images."""
        return self.epoch_size + VALIDATION_COST * self.val

    def whole_seconds(self, speed: Speed) -> float:
        """Return the seconds of a whole training of the default, in one worker."""
        apart = speed.startup_seconds + self.extra_seconds
        return apart + self.epochs * self.images / speed.images_per_second

    def seconds(self, speed: Speed) -> float:
        """Return the expected wall time of the search."""
        seconds = TimeLeft(self, speed).seconds(
            waiting=self.trials, waiting_first=self.first, running=[], workers=speed.workers
        )
        assert seconds is not None
        return seconds


def default_epochs(available: int) -> int:
    """Return the epochs of a trial without `--epochs`.

    8; with fewer than 10,000 training images as many as show 80,000 images, at most 100.

    Args:
        available: Number of available training images; 1 or more.
    """
    return min(MOST_DEFAULT_EPOCHS, max(DEFAULT_EPOCHS, round(ENOUGH_SEEN / available)))


def fit_to(
    minutes: float,
    speed: Speed,
    plan: Plan,
    *,
    train_size: int,
    usual_epochs: int = DEFAULT_EPOCHS,
    epochs: int | None = None,
    epoch_size: int | None = None,
    spent_seconds: float = 0.0,
) -> Plan:
    """Fit the epochs of a search, and the images that each shows, to its time.

    The rule: the usual epochs of as many images as fit. If all images fit, up to 30 epochs; if
    fewer than 5,000 images fit, fewer epochs of 5,000, then 2 epochs of 2,000 images or more.

    Args:
        minutes: Planned wall time of the search; above 0.
        speed: Speed of the workers.
        plan: The search; its epochs and their images are replaced.
        train_size: Number of training images.
        usual_epochs: Epochs of a trial without `--minutes`.
        epochs: Given epochs: only their images are fitted.
        epoch_size: Given number of images: only the epochs are fitted.
        spent_seconds: Seconds that the search has spent before its first trial.

    Raises:
        SettingsError: Not even 2 epochs of 2,000 images fit; the message says what would.
    """
    at_most = max(MOST_FITTED_EPOCHS, usual_epochs)
    fewest = epoch_size or min(FEWEST_IMAGES, train_size)
    smallest = replace(plan, epochs=epochs or FEWEST_EPOCHS, epoch_size=fewest)
    limit = minutes * 60 - spent_seconds

    def fits(epochs: int, images: int) -> bool:
        return replace(plan, epochs=epochs, epoch_size=images).seconds(speed) <= limit

    def most_epochs(low: int, high: int, images: int) -> int | None:
        # More epochs may take less time, where they allow another rung.
        return max((one for one in range(low, high + 1) if fits(one, images)), default=None)

    if not fits(smallest.epochs, smallest.epoch_size):
        raise SettingsError(_too_short(minutes, speed, smallest, spent_seconds))
    if epoch_size is not None:
        most = most_epochs(FEWEST_EPOCHS, at_most, epoch_size) or FEWEST_EPOCHS
        return replace(plan, epochs=most, epoch_size=epoch_size)
    count = (
        epochs
        or most_epochs(usual_epochs, at_most, train_size)
        or most_epochs(FEWEST_EPOCHS, usual_epochs, min(ENOUGH_IMAGES, train_size))
        or FEWEST_EPOCHS
    )
    images = _largest(lambda n: fits(count, n), fewest, train_size)
    if images < train_size:
        images = max(fewest, _round_down(images))
    return replace(plan, epochs=count, epoch_size=images)


def _largest(fits: Callable[[int], bool], low: int, high: int) -> int:
    """Return the largest number in [low, high] that fits; `low` does."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _round_down(images: int) -> int:
    step = 1_000 if images >= 10_000 else 100
    return images // step * step


def _too_short(minutes: float, speed: Speed, smallest: Plan, spent_seconds: float) -> str:
    needed = math.ceil((smallest.seconds(speed) + spent_seconds) / 60)
    size = f"{smallest.epochs} epochs of {smallest.epoch_size:,} images"

    def fits(trials: int) -> bool:
        fewer = replace(smallest, trials=trials, first=min(trials, smallest.first))
        return fewer.seconds(speed) + spent_seconds <= minutes * 60

    fewer = f", or lower --trials to {_largest(fits, 1, smallest.trials)}" if fits(1) else ""
    return (
        f"--minutes is {minutes:g}, but {counted(smallest.trials, 'trial')} of {size} take about "
        f"{needed} min here; raise it to {needed}{fewer}."
    )


def about(seconds: float) -> str:
    """Return an expected time in words, rounded to its accuracy: `about 2 h 40 min`."""
    minutes = seconds / 60
    if minutes < 1.5:
        return f"about {max(10, 10 * round(seconds / 10))} s"
    if minutes < 59.5:
        return f"about {minutes:.0f} min"
    hours, rest = divmod(10 * round(minutes / 10), 60)
    return f"about {hours} h {rest} min" if rest else f"about {hours} h"


def remaining_words(trials: int, seconds: float) -> str:
    """Return in words how long the missing trials of a study will take."""
    return f"{about(seconds)} for {trials:,} more {'trial' if trials == 1 else 'trials'}"


def expectation(plan: Plan, speed: Speed, place: str, precision: str) -> str:
    """Return in words how long a search will take, and how to shorten a long one.

    Args:
        plan: Its size.
        speed: Speed of its workers.
        place: Where they run, in words.
        precision: Number format in which models train.
    """
    seconds = plan.seconds(speed)
    line = (
        f"{about(seconds)} for {counted(plan.trials, 'trial')} on {place} "
        f"({counted(speed.workers, 'worker')}, {precision})"
    )
    shorter = max((m for m in _SHORTER_MINUTES if 60 * m <= seconds / 4), default=None)
    return line if shorter is None else f"{line}; use --minutes {shorter} for a shorter search"


def fitted_words(minutes: float, plan: Plan, speed: Speed, *, train_size: int) -> str:
    """Return in words what `fit_to` has chosen, and why."""
    is_all = plan.epoch_size == train_size
    flags = f"--epochs {plan.epochs}{'' if is_all else f' --epoch-size {plan.epoch_size}'}"
    allowed = (
        f"{counted(speed.workers, 'worker')} {'trains' if speed.workers == 1 else 'train'} about "
        f"{_rounded(speed.images_per_second):,} images/s"
        f"{'' if speed.workers == 1 else ' each'}: {counted(plan.trials, 'trial')} in "
        f"{minutes:g} min allow {plan.epochs} epochs of {'all ' if is_all else ''}"
        f"{plan.epoch_size:,} images"
    )
    seconds = plan.seconds(speed)
    expected = f"{about(seconds)}; " if seconds < 0.8 * 60 * minutes else ""
    return f"{allowed} ({expected}{flags})"


def _rounded(number: float) -> int:
    """Round to two significant digits."""
    return round(float(f"{number:.1e}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A trial that is being trained.

    Args:
        epochs: Epochs that it has finished.
        seconds: Time since it began.
        is_first: Whether it is one of the configurations that are tried first.
        budget: Epochs that it may train; without those of the trial that it continues.
        latency_seconds: Seconds that the measurement of its latency took.
    """

    epochs: int
    seconds: float
    is_first: bool
    budget: int
    latency_seconds: float = 0.0


class TimeLeft:
    """Estimates the time left of a search, from its trials so far and from a prior.

    It compares costs, not trials: a trial pruned after one epoch says little about one that
    runs to its end. Running trials count with their expected cost; otherwise long ones would
    be missing from the evidence.

    Args:
        plan: Size of the search.
        speed: Measured speed; None: there is no estimate before a trial has ended.
    """

    def __init__(self, plan: Plan, speed: Speed | None) -> None:
        self._plan = plan
        self._is_measured = speed is not None
        # Without a speed, only the ratios of expected costs matter.
        self._speed = speed or Speed(workers=1, images_per_second=1.0, startup_seconds=0.0)
        self._seconds = 0.0
        self._planned = 0.0  # expected seconds of the trials that took `_seconds`

    def take(self, seconds: float, *, is_first: bool) -> None:
        """Record a finished trial.

        Args:
            seconds: Time that it took.
            is_first: Whether it is one of the configurations that are tried first.
        """
        self._seconds += seconds
        self._planned += self._expected(is_first)

    def seconds(
        self, *, waiting: int, waiting_first: int, running: Iterable[Running], workers: int
    ) -> float | None:
        """Return the expected time until the end; None while there is nothing to estimate from.

        Args:
            waiting: Trials that have not begun.
            waiting_first: How many of them are configurations that are tried first.
            running: Trials that are being trained.
            workers: Number of workers; 1 or more.
        """
        running = list(running)
        left = [self._seconds_left(trial) for trial in running]
        seconds, planned = self._seconds, self._planned
        for trial, more in zip(running, left, strict=True):
            if more is not None:
                seconds += trial.seconds + more
                planned += self._expected(trial.is_first, trial.budget)
        if self._is_measured:
            prior = PRIOR_TRIALS * self._expected(False)
            seconds, planned = seconds + prior, planned + prior
        if not planned:
            return None
        slower = seconds / planned
        unknown = [
            max(0.0, slower * self._expected(trial.is_first, trial.budget) - trial.seconds)
            for trial, more in zip(running, left, strict=True)
            if more is None
        ]
        lefts = [*unknown, *(more for more in left if more is not None)]
        sampled = max(0, waiting - waiting_first)
        ahead = waiting_first * self._expected(True) + sampled * self._expected(False)
        # At least one waiting trial runs to its end, on a single worker.
        longest = slower * self._plan.whole_seconds(self._speed) if waiting else 0.0
        return max((sum(lefts) + ahead * slower) / workers, *lefts, longest)

    def _expected(self, is_first: bool, budget: int | None = None) -> float:
        own = budget if budget is not None and budget < self._plan.epochs else None
        return self._plan.trial_seconds(self._speed, is_first, own)

    def _seconds_left(self, trial: Running) -> float | None:
        """Return the time left of a running trial, from its own pace; None before an epoch."""
        if not trial.epochs:
            return None
        epochs, plan = float(trial.budget), self._plan
        if not plan.has_budgets:
            epochs = PRUNERS[plan.pruner].expected_epochs(
                plan.epochs, is_first=trial.is_first, done=trial.epochs
            )
        pace = (trial.seconds - trial.latency_seconds) / trial.epochs
        return max(0, epochs - trial.epochs) * pace

"""Checks of a search, while it runs and at its end: what looks wrong, and what to do about it."""

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from search.study.facts import last_settings
from search.study.front import by_value, front, is_refused, value_of
from search.study.objective import objectives_of
from search.study.study import FINISHED, ended_at_budget
from search.words import counted, listed

# Share of a range, on its own scale, that counts as its end.
EDGE: Final = 0.05
_BEST_SHARE: Final = 0.1
_LEAST_BEST: Final = 5
_FEW_INTEGERS: Final = 6
_LEAST_FOR_BOUNDS: Final = 20
_LEAST_FOR_STALLING: Final = 30
_BEGINNING: Final = 0.2
_LEAST_FOR_PRUNING: Final = 20
_MOST_NAMED: Final = 5
_LEAST_FAILURES: Final = 3
_CHANCE: Final = 0.05
_SAVED: Final = 0.05
_GAP: Final = 0.05
_SLOW: Final = 1.5
_LEAST_FOR_SLOWNESS: Final = 6
_LOST: Final = 0.05
_LEAST_SECONDS: Final = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check.

    Args:
        name: What it finds.
        rule: When it finds something, with its thresholds and where they come from.
        advice: What to do then.
        look: Returns what it found, in words with numbers; empty if nothing.
    """

    name: str
    rule: str
    advice: str
    look: Callable[["Trials"], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found.

    Args:
        check: The check.
        words: What it found, with numbers.
    """

    check: Check
    words: str

    def __str__(self) -> str:
        return f"{self.check.name}: {self.words}. {self.check.advice}"


class Trials:
    """The trials of a study as the checks read them.

    Args:
        trials: All trials of the study.
        facts: Attributes of the study.
    """

    def __init__(self, trials: Sequence[FrozenTrial], facts: Mapping[str, Any]) -> None:
        # KerasTuner's Hyperband has no pruner.
        self.prunes = last_settings(facts).get("pruner", "none") != "none"
        objectives = objectives_of(facts)
        self.maximizes_accuracy = objectives.maximized == "accuracy"
        self.has_several_objectives = objectives.several
        self.finished = [trial for trial in trials if trial.state in FINISHED]
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        self.complete = by_value(complete)
        self.front = front(complete) if objectives.several else []
        self.pruned = [
            trial
            for trial in trials
            if trial.state == TrialState.PRUNED and not ended_at_budget(trial)
        ]
        self.failed = [
            trial
            for trial in trials
            if trial.state == TrialState.FAIL
            and "duplicate_of" not in trial.user_attrs
            and not is_refused(trial)
        ]

    @property
    def best(self) -> list[FrozenTrial]:
        """The best tenth of the complete trials, five or more of them, best first.

        With several objectives, the front.
        """
        if self.has_several_objectives:
            return self.front
        return self.complete[: max(_LEAST_BEST, math.ceil(_BEST_SHARE * len(self.complete)))]


def findings(trials: Trials) -> list[Finding]:
    """Return what the checks find, in their order."""
    found = [Finding(check=check, words=check.look(trials)) for check in CHECKS]
    return [finding for finding in found if finding.words]


def narrow_ends(
    low: float, high: float, *, whole: bool, best: int, at_low: int, at_high: int
) -> list[str]:
    """Return the ends of a range that look too narrow, as in `above 0.1`.

    An end does if half of the best trials are there, and at least two: a single one says nothing.
    Counts and rates end at 0 or 1 and cannot be widened there.

    Args:
        low: Smallest value.
        high: Largest value.
        whole: Whether the range is of integers.
        best: Number of best trials.
        at_low: Number of these within `EDGE` of the low end.
        at_high: Number of these within `EDGE` of the high end.
    """
    needed = max(2, math.ceil(best / 2))
    ends = []
    if at_low >= needed and low != 0 and not (whole and low == 1):
        ends.append(f"below {low:g}")
    if at_high >= needed and (whole or high != 1):
        ends.append(f"above {high:g}")
    return ends


def _on_a_bound(trials: Trials) -> str:
    if len(trials.complete) < _LEAST_FOR_BOUNDS:
        return ""
    found = []
    for name, places in sorted(_places(trials.best).items()):
        low, high, whole = _range(trials.best, name)
        ends = narrow_ends(
            low,
            high,
            whole=whole,
            best=len(places),
            # Half of a front is cheap on purpose: small networks are at the low ends of widths.
            at_low=0 if trials.has_several_objectives else sum(place <= EDGE for place in places),
            at_high=sum(place >= 1 - EDGE for place in places),
        )
        found += [f"{name} {end}" for end in ends]
    if not found:
        return ""
    return f"half or more of the best {len(trials.best)} trials point to {listed(found)}"


def _places(trials: Sequence[FrozenTrial]) -> dict[str, list[float]]:
    """Return where the values of each range lie, from 0, its low end, to 1."""
    places: dict[str, list[float]] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            if _is_wide(distribution):
                places.setdefault(name, []).append(_place(distribution, trial.params[name]))
    return places


def _is_wide(distribution: BaseDistribution) -> bool:
    if isinstance(distribution, IntDistribution):
        return distribution.high - distribution.low >= _FEW_INTEGERS
    return isinstance(distribution, FloatDistribution) and distribution.low < distribution.high


def _place(distribution: Any, value: float) -> float:
    low, high = distribution.low, distribution.high
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return float((value - low) / (high - low))


def _range(trials: Sequence[FrozenTrial], name: str) -> tuple[float, float, bool]:
    known: list[Any] = [
        trial.distributions[name] for trial in trials if name in trial.distributions
    ]
    return (
        min(distribution.low for distribution in known),
        max(distribution.high for distribution in known),
        isinstance(known[0], IntDistribution),
    )


def _stalled(trials: Trials) -> str:
    # By chance, all k trials of a front are in the beginning with a probability of about 0.2 to the
    # power of k: a search with several objectives would never look stalled.
    if trials.has_several_objectives:
        return ""
    if len(trials.finished) < _LEAST_FOR_STALLING or not trials.complete:
        return ""
    by_number = sorted(trials.finished, key=lambda trial: trial.number)
    last = by_number[math.ceil(len(by_number) * _BEGINNING) :]
    best = trials.complete[0]
    if best in last:
        return ""
    return f"trial {best.number} is the best, and none of the last {len(last)} trials was better"


def _saved_nothing(trials: Trials) -> str:
    if not trials.prunes or len(trials.finished) < _LEAST_FOR_PRUNING or not trials.complete:
        return ""
    longest = max(_epochs(trial) for trial in trials.complete)
    trained = sum(_epochs(trial) for trial in trials.finished)
    saved = 1 - trained / max(1, longest * len(trials.finished))
    if saved >= _SAVED:
        return ""
    return (
        f"{len(trials.pruned)} of {len(trials.finished)} trials were pruned, which saved "
        f"{max(0.0, saved):.0%} of the epochs"
    )


def _pruned_while_ahead(trials: Trials) -> str:
    if not trials.complete:
        return ""
    curve = trials.complete[0].intermediate_values
    ahead = [
        str(trial.number)
        for trial in trials.pruned
        if trial.intermediate_values
        and (epoch := max(trial.intermediate_values)) in curve
        and trial.intermediate_values[epoch] > curve[epoch]
    ]
    if not ahead:
        return ""
    shown = ahead if len(ahead) <= _MOST_NAMED else [*ahead[:_MOST_NAMED], "others"]
    return (
        f"{counted(len(ahead), 'trial')} ({listed(shown)}) had a higher value when pruned than the "
        f"best trial, {trials.complete[0].number}, after the same epoch"
    )


def _failures_cluster(trials: Trials) -> str:
    if len(trials.failed) < _LEAST_FAILURES:
        return ""
    from scipy.stats import hypergeom  # not at every start

    ended = [*trials.finished, *trials.failed]
    values = sorted(
        {pair for trial in ended for pair in _choices(trial)}, key=lambda pair: (pair[0], str(pair))
    )
    found = []
    for name, value in values:
        asked = [trial for trial in ended if name in trial.params]
        having = [trial for trial in asked if trial.params[name] == value]
        failed = [trial for trial in asked if trial.state == TrialState.FAIL]
        both = sum(trial.state == TrialState.FAIL for trial in having)
        if both < _LEAST_FAILURES or len(having) == len(asked):
            continue
        chance = hypergeom.sf(both - 1, len(asked), len(having), len(failed)) * len(values)
        if chance < _CHANCE:
            found.append(f"{both} of {len(having)} trials with {name} {value} failed")
    return listed(found)


def _choices(trial: FrozenTrial) -> Iterator[tuple[str, Hashable]]:
    """Yield each value of a trial that is one of a few."""
    for name, distribution in trial.distributions.items():
        if isinstance(distribution, CategoricalDistribution) or (
            isinstance(distribution, IntDistribution) and not _is_wide(distribution)
        ):
            yield name, trial.params[name]


def _over_fitted(trials: Trials) -> str:
    if not trials.complete or not trials.maximizes_accuracy:
        return ""
    best = trials.complete[0]
    accuracy = best.user_attrs.get("train_accuracy")
    if accuracy is None or accuracy - value_of(best) <= _GAP:
        return ""
    return (
        f"the best trial, {best.number}, has {accuracy:.2%} on training images and "
        f"{value_of(best):.2%} in validation"
    )


def _slowed_down(trials: Trials) -> str:
    ratios = [
        trial.user_attrs["slowest_epoch"]
        for trial in trials.finished
        if "slowest_epoch" in trial.user_attrs
    ]
    last = sorted(ratios[-max(_LEAST_FOR_SLOWNESS, len(ratios) // 3) :])
    if len(last) < _LEAST_FOR_SLOWNESS or (middle := last[len(last) // 2]) <= _SLOW:
        return ""
    return (
        f"in half of the last {len(last)} trials the slowest epoch took {middle:.1f} times as long "
        "as the fastest, or longer"
    )


def _lost_time(trials: Trials) -> str:
    timed = [trial.user_attrs for trial in trials.finished if "seconds" in trial.user_attrs]
    total = sum(attrs["seconds"] - attrs.get("latency_seconds", 0) for attrs in timed)
    training = sum(attrs.get("train_seconds", 0) + attrs.get("val_seconds", 0) for attrs in timed)
    if total < _LEAST_SECONDS or training >= (1 - _LOST) * total:
        return ""
    return f"{1 - training / total:.0%} of the workers' time was neither training nor validation"


# To add a check: a function above, and its entry here.
CHECKS: Final = (
    Check(
        name="best at an end of a range",
        rule=f"From {_LEAST_FOR_BOUNDS} complete trials: half of the best tenth, and at least two, "
        f"are within {EDGE:.0%} of an end of a range of {_FEW_INTEGERS} integers or more, or of "
        "numbers. Our choice; 0 and 1 of counts and rates do not count. With several objectives "
        "the front replaces the best tenth, and only upper ends count, because small networks "
        "belong on a front.",
        advice="Widen the range in a new study, and start it with --from this one.",
        look=_on_a_bound,
    ),
    Check(
        name="no progress",
        rule=f"From {_LEAST_FOR_STALLING} finished trials: the best is among the first "
        f"{_BEGINNING:.0%}, by number. Our choice: in a random search, where each trial is "
        f"equally likely to be the best, this has a probability of {_BEGINNING:.0%}. With several "
        "objectives it is not checked: a front gains points late even where it hardly improves.",
        advice="More trials like these may not help: retrain the best, or use more epochs or other "
        "ranges.",
        look=_stalled,
    ),
    Check(
        name="pruning saves nothing",
        rule=f"From {_LEAST_FOR_PRUNING} finished trials: the pruner of the last run saved less "
        f"than {_SAVED:.0%} of the epochs. Our choice; KerasTuner's Hyperband has no pruner.",
        advice="Give trials more epochs, so that there is something to save, or use --pruner none.",
        look=_saved_nothing,
    ),
    Check(
        name="pruned while ahead",
        rule="A pruned trial had a higher value than the best trial after the same epoch.",
        advice="It might have won: search again with another --pruner, or look at its curve.",
        look=_pruned_while_ahead,
    ),
    Check(
        name="failures at one value",
        rule=f"{_LEAST_FAILURES} failures or more have a choice in common, with a probability "
        f"below {_CHANCE:.0%} that this is chance (hypergeometric, multiplied by the number of "
        "choices).",
        advice="Look at the reasons of these trials, and take the value out of the space.",
        look=_failures_cluster,
    ),
    Check(
        name="over-fitting",
        rule=f"The accuracy of the best trial in its last epoch is {100 * _GAP:g} points higher on "
        "training images, with their augmentation and dropout, than in validation. Our choice. "
        "Another --objective is not compared.",
        advice="Add augmentation, dropout or weight decay to the space, or use more images.",
        look=_over_fitted,
    ),
    Check(
        name="the machine slowed down",
        rule=f"In half of the last third of the trials, {_LEAST_FOR_SLOWNESS} or more, the slowest "
        f"epoch but the first took over {_SLOW:g} times as long as the fastest. Our choice: epochs "
        "of one trial do the same work; those under a second do not count.",
        advice="Look for other work, heat or swapping (top, vmstat); try fewer --workers.",
        look=_slowed_down,
    ),
    Check(
        name="time outside training",
        rule=f"From {_LEAST_SECONDS // 60} minutes of worker time: over {_LOST:.0%} of it was "
        "neither training nor validation. Our choice.",
        advice="Trials are short, or the storage is slow: use more images or epochs for each, or a "
        "faster disk for --results-dir.",
        look=_lost_time,
    ),
)


def _epochs(trial: FrozenTrial) -> int:
    return max(trial.intermediate_values, default=0)

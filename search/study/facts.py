"""Facts that a study stores beside its trials, and the rules that they must keep.

A study can be damaged, or made by somebody else, so it is checked before it is used.
"""

import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from search.command_line.flags import LARGEST, LARGEST_SIDE, MOST_EPOCHS, SMALLEST_SIDE
from search.data.split import SplitSizes
from search.errors import SettingsError, StudyError
from search.study.objective import COSTS, OBJECTIVES, Objectives, objectives_of
from search.study.requests import ENQUEUED, PAUSE, REQUEST, RUN, STOP
from spaces import SPACE_NAME, PixelStatistics

# Facts that make trials comparable, with the flags that set them; a study never mixes two values.
COMPARABLE: Final = {
    "space": "--space",
    "data": "--data and --image-size (have its files changed?)",
    "split": "--train-size, --val-size and --epoch-size",
    "epochs": "--epochs",
    "precision": "--precision",
    "engine": "--engine",
    "objective": "--objective",
    "mirror": "--mirror or --no-mirror",
}
_MOST_LEVELS: Final = 50  # far below the depth at which Python's own functions give up


def pixels_of(facts: Mapping[str, Any]) -> PixelStatistics | None:
    """Return the statistics for normalizing and whitening images; None: networks do neither.

    Raises:
        StudyError: They are of images with another number of channels: the study is damaged.
    """
    known = facts.get("pixels")
    if known is None:
        return None
    pixels = PixelStatistics.from_facts(known)
    shape = facts.get("dataset", {}).get("image_shape")
    if shape is not None and len(pixels.mean) != (channels := shape[2]):
        raise StudyError(
            f"the study is damaged: pixels has the statistics of {len(pixels.mean)} channels, and "
            f"its images have {channels}. Start another with --study NAME."
        )
    return pixels


def last_settings(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of the last run of a study: they may change from run to run.

    Args:
        facts: Attributes of the study.
    """
    run = (facts.get("runs") or [facts])[-1]
    settings: Mapping[str, Any] = run.get("settings", {})
    return settings


def split_fact(sizes: SplitSizes) -> dict[str, int | None]:
    """Return the sizes as a study stores them, under `split`."""
    return {"train": sizes.train, "val": sizes.val, "epoch_size": sizes.epoch_size}


def split_sizes(stored: Any) -> SplitSizes:
    """Read the sizes that a study stores under `split`.

    Args:
        stored: From `split_fact`, or the sentence of earlier versions.

    Raises:
        StudyError: It is neither.
    """
    train: Any = None
    val: Any = None
    epoch_size: Any = None
    sentence = r"([\d,]{1,15}) validation images, (all other|[\d,]{1,15}) for training$"
    if isinstance(stored, Mapping):
        train, val, epoch_size = map(stored.get, ("train", "val", "epoch_size"))
    elif isinstance(stored, str) and (match := re.search(sentence, stored)):
        numbers = [part.replace(",", "") for part in match.groups()]
        val, train = (int(part) if part.isdecimal() else None for part in numbers)
    given = [one for one in (train, epoch_size) if one is not None]
    if not all(is_whole(one, 1) for one in (val, *given)):
        raise StudyError(
            f"the study's split is {_shown(stored)}; this version cannot read it. Restore the "
            "study from a backup, or name another with --study."
        )
    return SplitSizes(train=train, val=val, epoch_size=epoch_size)


def split_words(sizes: SplitSizes) -> str:
    """Return the sizes in words, for a person."""
    train = "all other" if sizes.train is None else f"{sizes.train:,}"
    shown = "" if sizes.epoch_size is None else f", {sizes.epoch_size:,} of them in each epoch"
    return f"{sizes.val:,} validation images, {train} for training{shown}"


def check_study(study: optuna.Study) -> None:
    """Check everything that a search or a report reads from a study.

    Raises:
        StudyError: A fact or a trial breaks its rule; the message names both.
    """
    with _named(study):
        _check_study(study)


def require_facts(study: optuna.Study, names: Iterable[str]) -> None:
    """Check that a study has facts of these names.

    Raises:
        StudyError: One is missing.
    """
    facts = study.user_attrs
    with _named(study):
        for name in names:
            if name not in facts:
                raise _BrokenRuleError(f"it has no {name!r}")


@contextmanager
def _named(study: optuna.Study) -> Iterator[None]:
    """Name the study whose value breaks a rule."""
    try:
        yield
    except _BrokenRuleError as broken:
        raise StudyError(
            f"study {study.study_name!r} cannot be used: {broken}. It is damaged or was changed by "
            "another program: restore it from a backup, or name another with --study."
        ) from None


class _BrokenRuleError(Exception):
    """A value breaks a rule; the message says which, without a full stop."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule for a value.

    Args:
        words: Continues "it must be".
        allows: Returns whether a value keeps the rule.
    """

    words: str
    allows: Callable[[Any], bool]

    def check(self, what: str, value: Any) -> None:
        if not self.allows(value):
            raise _BrokenRuleError(f"{what} is {_shown(value)}; it must be {self.words}")


def is_whole(value: Any, lowest: int = 0) -> bool:
    """Return whether a value is a whole number, from `lowest` to the largest of 64 bits."""
    return type(value) is int and lowest <= value <= LARGEST


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number of ordinary size."""
    return type(value) in (int, float) and abs(value) <= LARGEST  # neither infinite nor NaN


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | bool) or is_number(value)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_scalar, value.values()))


def _is_speed(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    # Earlier versions stored no machine.
    if value.keys() - {"machine"} != {"workers", "images_per_second", "startup_seconds"}:
        return False
    if not isinstance(value.get("machine", ""), str):
        return False
    workers, images, startup = (
        value[name] for name in ("workers", "images_per_second", "startup_seconds")
    )
    return (
        is_whole(workers, 1)
        and is_number(images)
        and images > 0
        and is_number(startup)
        and startup >= 0
    )


def _are_pixels(value: Any) -> bool:
    if value is None:
        return True
    try:
        PixelStatistics.from_facts(value)
    except (ValueError, TypeError, KeyError, AttributeError):
        return False
    return True


def _is_dataset(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    if value.keys() - {"source"} != {"name", "image_shape", "class_names", "mirror"}:
        return False
    shape, names = value["image_shape"], value["class_names"]
    return (
        isinstance(value["name"], str)
        and isinstance(shape, list)
        and len(shape) == 3
        and all(is_whole(one, 1) for one in shape)
        and isinstance(names, list)
        and all(isinstance(one, str) for one in names)
        and value["mirror"] in (True, False, None)
        and _is_source(value.get("source", {}))
    )


def _is_source(value: Any) -> bool:
    if value == {}:  # not known
        return True
    if not isinstance(value, Mapping) or value.keys() != {"data", "image_size", "mirror"}:
        return False
    size = value["image_size"]
    return (
        isinstance(value["data"], str)
        and (size is None or (is_whole(size, SMALLEST_SIDE) and size <= LARGEST_SIDE))
        and value["mirror"] in (True, False, None)
    )


def _is_objective(value: Any) -> bool:
    try:
        return isinstance(value, str) and Objectives.read(value).text == value
    except SettingsError:
        return False


def _are_quartiles(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value))


def _are_configurations(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_table, value.values()))


def _is_time(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, datetime) and value.tzinfo is None and 1970 <= value.year < 2262


def _is_promotion(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    parent, budget = value.get("promoted_from"), ("initial_epoch", "epochs")
    whole = all(is_whole(value[name]) for name in budget if name in value)
    return whole and (parent is None or (is_whole(parent) and "initial_epoch" in value))


def _is_verdict(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and is_whole(value.get("epoch"), 1)
        and isinstance(value.get("stop"), bool)
        and isinstance(value.get("notes"), Mapping)
        and all(map(is_number, value["notes"].values()))
    )


def _is_request(value: Any) -> bool:
    return value is None or (
        isinstance(value, Mapping)
        and value.get("ask") in (STOP, PAUSE)
        and (value.get("run") is None or isinstance(value["run"], str))
        and "run" in value
    )


def _is_flat(value: Any, levels: int = _MOST_LEVELS) -> bool:
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return True
    return levels > 0 and all(_is_flat(part, levels - 1) for part in value)


_TEXT: Final = _Rule("text", lambda value: isinstance(value, str))
_COUNT: Final = _Rule("a whole number, 0 or more", is_whole)
_NUMBER: Final = _Rule("a finite number", is_number)
_AMOUNT: Final = _Rule("a number, 0 or more", lambda value: is_number(value) and value >= 0)
_LIMIT: Final = _Rule(
    "a number above 0, or null", lambda value: value is None or (is_number(value) and value > 0)
)
_TABLE: Final = _Rule("names with numbers or text", _is_table)
_VALUE: Final = _Rule("a number, text, true, false or null", _is_scalar)
_TIME: Final = _Rule("a date and time without time zone, from 1970 to 2261", _is_time)
_FLAT: Final = _Rule(f"nested in at most {_MOST_LEVELS} levels", _is_flat)

_FACTS: Final[dict[str, _Rule]] = {
    "space": _Rule(
        "the name of a space",
        lambda value: isinstance(value, str) and SPACE_NAME.fullmatch(value) is not None,
    ),
    "data": _TEXT,
    "dataset": _Rule("what is known of a data set", _is_dataset),
    "epochs": _Rule(
        f"a whole number from 1 to {MOST_EPOCHS}", lambda v: is_whole(v, 1) and v <= MOST_EPOCHS
    ),
    "precision": _Rule("float32 or bfloat16", lambda value: value in ("float32", "bfloat16")),
    "engine": _TEXT,
    "mirror": _Rule("true, false or null", lambda value: value in (True, False, None)),
    "pixels": _Rule("statistics of pixels, or null", _are_pixels),
    "from": _Rule("configurations by name", _are_configurations),
    "objective": _Rule(f"{' or '.join(OBJECTIVES)}, and costs: {', '.join(COSTS)}", _is_objective),
    "seed": _COUNT,
    "minutes": _Rule("a number above 0", lambda value: is_number(value) and value > 0),
    "speed": _Rule("a measured speed", _is_speed),
    "settings": _TABLE,
    "versions": _TABLE,
    "commit": _TEXT,
    "machine": _TEXT,
    "command": _TEXT,
    "code": _TEXT,
    RUN: _Rule("text or null", lambda value: value is None or isinstance(value, str)),
    REQUEST: _Rule(f"null, or {STOP} or {PAUSE} to a run", _is_request),
}
_TRIAL_ATTRS: Final[dict[str, _Rule]] = {
    "known_as": _TEXT,
    "given": _TABLE,
    ENQUEUED: _TABLE,
    "epochs": _COUNT,
    "parameters": _COUNT,
    "flops": _COUNT,
    "latency_seconds": _AMOUNT,
    "latency_ms": _AMOUNT,
    "latency_quartiles_ms": _Rule("two numbers", _are_quartiles),
    "batch_latency_ms": _AMOUNT,
    "batch_latency_quartiles_ms": _Rule("two numbers", _are_quartiles),
    "seconds": _AMOUNT,
    "train_seconds": _AMOUNT,
    "val_seconds": _AMOUNT,
    "cpu_seconds": _AMOUNT,
    "images_per_second": _AMOUNT,
    "train_accuracy": _NUMBER,
    "slowest_epoch": _AMOUNT,
    "seed": _COUNT,
    "ended": _TEXT,
    "reason": _TEXT,
    "duplicate_of": _COUNT,
    "keras_tuner": _Rule("the budget of a trial of KerasTuner", _is_promotion),
    "attempts": _Rule(
        "a list of text", lambda v: isinstance(v, list) and all(isinstance(one, str) for one in v)
    ),
}


_TRIAL_SYSTEM_ATTRS: Final = {"verdict": _Rule("a verdict of a pruner", _is_verdict)}


def _check_study(study: optuna.Study) -> None:
    facts = study.user_attrs
    if "split" in facts:
        split_sizes(facts["split"])
    _check_facts("its", facts)
    runs = facts.get("runs", [])
    _Rule("a list of runs", lambda value: isinstance(value, list)).check("its 'runs'", runs)
    for number, run in enumerate(runs):
        _Rule("a run", lambda value: isinstance(value, Mapping)).check(f"its run {number}", run)
        _check_facts(f"run {number}'s", run)
    # Optuna has no public way to read these; the dashboard counts the versions of its notes there.
    for name, value in study._storage.get_study_system_attrs(study._study_id).items():
        if name.endswith("note_ver"):
            _COUNT.check(f"its {_shown(name)}", value)
    objectives = objectives_of(facts)
    names = [direction.name.lower() for direction in study.directions]
    # A study without a space was cut off at its creation, or belongs to another program.
    if names != objectives.directions and "space" in facts:
        raise _BrokenRuleError(
            f"its objectives are {' and '.join(names)}; {objectives.text} needs "
            f"{' and '.join(objectives.directions)}"
        )
    known: dict[str, BaseDistribution] = {}
    for trial in study.get_trials(deepcopy=False):
        _check_trial(trial, len(names))
        for name, distribution in trial.distributions.items():
            first = known.setdefault(name, distribution)
            if first is not distribution and _kind(first) != _kind(distribution):
                raise _BrokenRuleError(
                    f"trial {trial.number} has a hyperparameter {_shown(name)} of another kind "
                    "than earlier trials"
                )


def _check_facts(whose: str, facts: Mapping[str, Any]) -> None:
    _check_attrs(whose, facts, _FACTS)
    settings = facts.get("settings", {})
    for cost in COSTS.values():  # reports choose by the limits of the last run
        _LIMIT.check(f"{whose} setting {cost.limit!r}", settings.get(cost.limit))


def _check_attrs(whose: str, attrs: Mapping[str, Any], rules: Mapping[str, _Rule]) -> None:
    for name, value in attrs.items():
        what = f"{whose} {_shown(name)}"
        _FLAT.check(what, value)
        if name in rules:
            rules[name].check(what, value)


def _check_trial(trial: FrozenTrial, objectives: int) -> None:
    whose = f"trial {trial.number}'s"
    _check_attrs(whose, trial.user_attrs, _TRIAL_ATTRS)
    _check_attrs(whose, trial.system_attrs, _TRIAL_SYSTEM_ATTRS)
    _TIME.check(f"{whose} start", trial.datetime_start)
    _TIME.check(f"{whose} end", trial.datetime_complete)
    values = trial.values or []
    for name, excess in trial.constraints.items():
        _NUMBER.check(f"{whose} constraint {_shown(name)}", excess)
    if len(values) > objectives or (
        trial.state == TrialState.COMPLETE and len(values) != objectives
    ):
        raise _BrokenRuleError(f"trial {trial.number} is {trial.state.name} with values {values}")
    for value in values:
        _NUMBER.check(f"{whose} value", value)
    for epoch, value in trial.intermediate_values.items():
        _COUNT.check(f"an epoch of trial {trial.number}", epoch)
        _NUMBER.check(f"{whose} value after epoch {epoch}", value)
    if trial.params.keys() != trial.distributions.keys():
        raise _BrokenRuleError(f"trial {trial.number} lacks a hyperparameter's value or range")
    for name, value in trial.params.items():
        _TEXT.check(f"a name of {whose} hyperparameters", name)
        _check_param(f"{whose} {_shown(name)}", value, trial.distributions[name])


def _check_param(what: str, value: Any, distribution: BaseDistribution) -> None:
    _VALUE.check(what, value)
    if isinstance(distribution, CategoricalDistribution):
        for choice in distribution.choices:
            _VALUE.check(f"a choice of {what}", choice)
        return
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        raise _BrokenRuleError(f"{what} has a range of type {type(distribution).__name__}")
    _NUMBER.check(what, value)
    for bound in (distribution.low, distribution.high):
        _NUMBER.check(f"a bound of {what}", bound)
    if distribution.log and value <= 0:
        raise _BrokenRuleError(f"{what} is {_shown(value)}; it must be above 0")


def _kind(distribution: BaseDistribution) -> tuple[Any, ...]:
    """Return what two distributions of one hyperparameter must share; their bounds may differ."""
    if isinstance(distribution, CategoricalDistribution):
        return (CategoricalDistribution, distribution.choices)
    return (type(distribution), getattr(distribution, "log", False))


def _shown(value: Any) -> str:
    """Return a value for a message: short, and without control characters."""
    return reprlib.repr(value)

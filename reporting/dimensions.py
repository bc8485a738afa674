"""What each hyperparameter of a study could be, and its place on an axis from 0 to 1."""

from collections.abc import Hashable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from reporting.study_tables import Record

_LONGEST: Final = 14
_MOST_CELLS: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One hyperparameter.

    Args:
        name: Of the hyperparameter.
        choices: All values, in order, of a categorical one; else empty.
        low: Smallest value of a numeric one.
        high: Largest.
        log: Whether it is drawn on a log scale.
        whole: Whether it is an integer.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    @property
    def numeric(self) -> bool:
        """Whether it is drawn from a range."""
        return not self.choices

    def positions(self, values: pd.Series) -> pd.Series:
        """Where values lie between the low end, 0, and the high end, 1; missing stay missing."""
        if self.choices:
            places = {choice: index for index, choice in enumerate(self.choices)}
            last = max(len(self.choices) - 1, 1)
            return values.map(lambda value: places.get(value, np.nan) / last).astype(float)
        numbers = pd.to_numeric(values, errors="coerce").astype(float)
        low, high = self.low, self.high
        if self.log:
            numbers, low, high = np.log(numbers), float(np.log(low)), float(np.log(high))
        return (numbers - low) / (high - low) if high > low else numbers * 0 + 0.5

    def at(self, position: float) -> float:
        """The value of a numeric one at a position, the inverse of `positions`."""
        if self.log:
            return float(self.low * (self.high / self.low) ** position)
        return self.low + (self.high - self.low) * position

    def cells(self, values: pd.Series) -> tuple[pd.Series, list[str]]:
        """Sort values into at most a few cells.

        Returns:
            The index of each value's cell (missing for missing values), and the cells' labels:
            choices, single integers, or ranges of equal width on the dimension's scale.
        """
        if self.choices:
            places = {choice: float(index) for index, choice in enumerate(self.choices)}
            cells = values.map(lambda value: places.get(value, np.nan)).astype(float)
            return cells, [short(choice) for choice in self.choices]
        if self.whole and self.high - self.low < _MOST_CELLS:
            numbers = pd.to_numeric(values, errors="coerce").astype(float)
            return numbers - self.low, [
                str(number) for number in range(int(self.low), int(self.high) + 1)
            ]
        places_ = self.positions(values)
        edges = [self.at(index / _MOST_CELLS) for index in range(_MOST_CELLS + 1)]
        labels = [f"{short(low)} to\n{short(high)}" for low, high in pairwise(edges)]
        return np.floor(places_ * _MOST_CELLS).clip(0, _MOST_CELLS - 1), labels


def dimensions(record: Record) -> dict[str, Dimension]:
    """All hyperparameters that any trial of the study was asked for, by name.

    Ranges and choices are joined where a study knows a name with several.
    """
    found: dict[str, Dimension] = {}
    for trial in record.frozen:
        for name, distribution in trial.distributions.items():
            found[name] = _joined(name, found.get(name), distribution)
    return {name: _in_order(dimension) for name, dimension in found.items()}


def short(value: Hashable) -> str:
    """A value as an axis can show it."""
    if isinstance(value, float):
        return f"{value:.3g}"
    words = str(value)
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"


def brief(name: str, longest: int) -> str:
    """A name of at most that many characters: its beginning and its end tell it from others."""
    if len(name) <= longest:
        return name
    head = (longest - 1) // 3
    return f"{name[:head]}…{name[len(name) - (longest - 1 - head) :]}"


def _joined(name: str, known: Dimension | None, distribution: BaseDistribution) -> Dimension:
    if isinstance(distribution, CategoricalDistribution):
        old = known.choices if known else ()
        if old == distribution.choices and known is not None:
            return known
        new = tuple(choice for choice in distribution.choices if choice not in old)
        return Dimension(name=name, choices=old + new)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if known is not None and known.low <= low and high <= known.high:
        return known
    return Dimension(
        name=name,
        low=low if known is None else min(low, known.low),
        high=high if known is None else max(high, known.high),
        log=distribution.log,
        whole=isinstance(distribution, IntDistribution),
    )


def _in_order(dimension: Dimension) -> Dimension:
    numbers = all(isinstance(choice, int | float) for choice in dimension.choices)
    if dimension.choices and numbers:
        return Dimension(name=dimension.name, choices=tuple(sorted(dimension.choices)))
    return dimension

"""The hyperparameters of a study: their ranges and choices, and where a value lies in them."""

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
from search.escape import printable

_LONGEST: Final = 14
_MOST_CELLS: Final = 6
_MOST_TICKS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One hyperparameter: a range, or a list of choices.

    Args:
        name: Name of the hyperparameter.
        choices: All values of a categorical one, in order; empty for a range.
        low: Smallest value of a range.
        high: Largest value of a range.
        log: Whether the range is sampled on a log scale.
        whole: Whether the range is of integers.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    @property
    def numeric(self) -> bool:
        """Whether it is a range."""
        return not self.choices

    @property
    def few_integers(self) -> bool:
        """Whether it is a range of integers, few enough to show each."""
        return self.numeric and self.whole and self.high - self.low < _MOST_CELLS

    def positions(self, values: pd.Series) -> pd.Series:
        """Return the place of each value between the low end, 0, and the high end, 1."""
        if self.choices:
            places = {choice: index for index, choice in enumerate(self.choices)}
            last = max(len(self.choices) - 1, 1)
            return values.map(lambda value: places.get(value, np.nan) / last).astype(float)
        numbers = pd.to_numeric(values, errors="coerce").astype(float)
        low, high = self.low, self.high
        if self.log:
            numbers, low, high = np.log(numbers), float(np.log(low)), float(np.log(high))
        return (numbers - low) / (high - low) if high > low else numbers * 0 + 0.5

    def cells(self, values: pd.Series) -> tuple[pd.Series, list[str]]:
        """Sort values into a few cells: choices, single integers, or six equal parts of the range.

        Returns:
            The index of each value's cell, NaN for missing values and for those outside of the
            range, which given configurations may have, and the labels of all cells.
        """
        if self.choices:
            places = {choice: float(index) for index, choice in enumerate(self.choices)}
            cells = values.map(lambda value: places.get(value, np.nan)).astype(float)
            return cells, [short(choice) for choice in self.choices]
        if self.few_integers:
            numbers = pd.to_numeric(values, errors="coerce").astype(float)
            inside = numbers.where(numbers.between(self.low, self.high))
            return inside - self.low, [
                str(number) for number in range(int(self.low), int(self.high) + 1)
            ]
        edges = [self._at(index / _MOST_CELLS) for index in range(_MOST_CELLS + 1)]
        labels = [f"{short(low)} to\n{short(high)}" for low, high in pairwise(edges)]
        places = self.positions(values)
        inside = places.where(places.between(-1e-9, 1 + 1e-9))
        # Tolerant of rounding: 0.001 is the end of a cell of 0.0001 to 0.1.
        return np.floor(inside * _MOST_CELLS + 1e-9).clip(0, _MOST_CELLS - 1), labels

    def ticks(self) -> dict[float, str]:
        """Return the labels of an axis from 0 to 1, by their positions."""
        if self.choices:
            values = list(self.choices)
            values = values if len(values) <= _MOST_TICKS else [values[0], values[-1]]
        elif self.few_integers:
            values = list(range(int(self.low), int(self.high) + 1))
        else:
            ends: list[float] = [self.low, self._round(self._at(0.5)), self.high]
            values = [int(end) for end in ends] if self.whole else ends
        positions = self.positions(pd.Series(values, dtype=object))
        return {place: short(value) for place, value in zip(positions, values, strict=True)}

    def _at(self, position: float) -> float:
        """Return the value at a position, the inverse of `positions` for a range."""
        if self.log:
            return float(self.low * (self.high / self.low) ** position)
        return self.low + (self.high - self.low) * position

    def _round(self, value: float) -> float:
        return float(f"{value:.1g}") if self.log else round(value) if self.whole else value


def dimensions(record: Record) -> dict[str, Dimension]:
    """Return the hyperparameters of all trials of a study by name.

    A name with several ranges or lists of choices gets the range or the list that holds them all.
    """
    found: dict[str, Dimension] = {}
    for trial in record.frozen:
        for name, distribution in trial.distributions.items():
            found[name] = _joined(name, found.get(name), distribution)
    return {name: _in_order(dimension) for name, dimension in found.items()}


def short(value: Hashable) -> str:
    """Return a value as an axis can show it."""
    if isinstance(value, float):
        # A column of integers with gaps is one of floats.
        is_whole = value.is_integer() and abs(value) < 1e6
        return str(int(value)) if is_whole else f"{value:.3g}"
    words = _on_one_line(str(value))
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"


def brief(name: str, longest: int) -> str:
    """Return a name as a figure can show it, cut in its middle: its ends tell it from others."""
    name = _on_one_line(name)
    if len(name) <= longest:
        return name
    head = (longest - 1) // 3
    return f"{name[:head]}…{name[len(name) - (longest - 1 - head) :]}"


def _on_one_line(text: str) -> str:
    """Return text as a figure can show it: escapes, as on a terminal, would be taken for text."""
    return " ".join(printable(text).split())


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

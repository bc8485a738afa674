"""Where the best trials of a study lie in its space, and what of the space was tried."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pandas as pd
from scipy.stats import hypergeom

from reporting.dimensions import Dimension, dimensions
from reporting.study_tables import Record

_SHARE: Final = 0.1
_LEAST: Final = 5
# Of the range, on the scale that it is drawn on.
EDGE: Final = 0.05
CHANCE: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceUse:
    """How a search used its space.

    Args:
        best: Numbers of the best complete trials, best first.
        complete: Complete trials there are.
        finished: Complete and pruned trials there are.
        known: The study's hyperparameters by name.
        bounds: One row for each numeric hyperparameter.
        choices: One row for each choice of each categorical one.
    """

    best: list[int]
    complete: int
    finished: int
    known: Mapping[str, Dimension]
    bounds: pd.DataFrame
    choices: pd.DataFrame


def space_use(record: Record) -> SpaceUse:
    """Compare the best 10 % of complete trials (at least 5) with all finished ones."""
    states = record.trials["state"]
    finished = record.trials.index[states.isin(["COMPLETE", "PRUNED"])]
    complete = record.complete.dropna(subset="value")
    best = complete.index[: max(_LEAST, math.ceil(_SHARE * len(complete)))]
    known = dimensions(record)
    varied = [d for d in known.values() if d.numeric and d.low < d.high]
    bounds = [_bounds(d, record.params[d.name], best, finished) for d in varied]
    choices = [
        row
        for d in known.values()
        if not d.numeric
        for row in _choices(d, record.params[d.name], best, finished)
    ]
    return SpaceUse(
        best=[int(number) for number in best],
        complete=len(complete),
        finished=len(finished),
        known=known,
        bounds=pd.DataFrame(
            bounds,
            columns=[
                *("hyperparameter", "low", "high", "log", "best", "best_low", "best_high"),
                *("tried", "tried_low", "tried_high", "widen", "at_zero"),
            ],
        ),
        choices=pd.DataFrame(
            choices,
            columns=[
                *("hyperparameter", "choice", "tried", "asked", "share", "best", "best_asked"),
                *("chance", "verdict"),
            ],
        ),
    )


def _bounds(
    dimension: Dimension, params: pd.Series, best: pd.Index, finished: pd.Index
) -> dict[str, object]:
    places = dimension.positions(params)
    of_best, tried = places.loc[best].dropna(), places.loc[finished].dropna()
    at_low, at_high = int((of_best <= EDGE).sum()), int((of_best >= 1 - EDGE).sum())
    # Half of them, and more than one: a single trial at an end says nothing.
    needed = max(2, math.ceil(len(of_best) / 2))
    ends = [
        f"{word} {_number(dimension, bound)}"
        for word, bound, count in (
            ("below", dimension.low, at_low),
            ("above", dimension.high, at_high),
        )
        if count >= needed and not (word == "below" and bound == 0)
    ]
    return {
        "hyperparameter": dimension.name,
        "low": dimension.low,
        "high": dimension.high,
        "log": dimension.log,
        "best": len(of_best),
        "best_low": at_low,
        "best_high": at_high,
        "tried": len(tried),
        "tried_low": int((tried <= EDGE).sum()),
        "tried_high": int((tried >= 1 - EDGE).sum()),
        "widen": " and ".join(ends),
        "at_zero": dimension.low == 0 and at_low >= needed,
    }


def _choices(
    dimension: Dimension, params: pd.Series, best: pd.Index, finished: pd.Index
) -> list[dict[str, object]]:
    of_best, tried = params.loc[best].dropna(), params.loc[finished].dropna()
    rows: list[dict[str, object]] = []
    for choice in dimension.choices:
        count, among = int((tried == choice).sum()), int((of_best == choice).sum())
        # That so many draws without replacement from the finished trials miss the choice.
        chance = float(hypergeom.pmf(0, len(tried), count, len(of_best))) if len(tried) else 1.0
        rows.append(
            {
                "hyperparameter": dimension.name,
                "choice": choice,
                "tried": count,
                "asked": len(tried),
                "share": count / len(tried) if len(tried) else 0.0,
                "best": among,
                "best_asked": len(of_best),
                "chance": chance,
                "verdict": _verdict(count, among, len(of_best), chance),
            }
        )
    return rows


def _verdict(tried: int, among_best: int, best: int, chance: float) -> str:
    if not tried:
        return "never tried"
    if among_best or not best:
        return ""
    return "candidate to drop" if chance < CHANCE else "too few trials to say"


def _number(dimension: Dimension, value: float) -> str:
    return f"{value:.0f}" if dimension.whole else f"{value:g}"

"""Is the space right: ranges that look too narrow, choices that never won, the next command."""

import math
import re
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.trial import TrialState
from scipy.stats import hypergeom

from reporting.dimensions import Dimension, brief, dimensions, short
from reporting.drawing.style import (
    BLUE,
    GREY,
    MISSING,
    ORANGE,
    is_narrow,
    legend_above,
    new_figure,
    percent,
)
from reporting.evidence import Evidence
from reporting.page.document import Block, Code, Column, Paragraph, Picture, Table
from reporting.study_tables import Record
from search.study.health import EDGE, narrow_ends
from search.study.study import count_states
from search.words import listed

_SHARE: Final = 0.1
_LEAST: Final = 5
_CHANCE: Final = 0.05
_MOST_ROWS: Final = 20
_MOST_DRAWN: Final = 300
_MOST_NAMES: Final = 12
_MOST_COUNTS: Final = 12
_LONGEST_NAME: Final = 28
_LONGEST_NARROW: Final = 17
_TRIALS_FLAG: Final = re.compile(r"(?<!\S)--trials(?:=|\s+)\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeUse:
    """Where trials lie in the range of a numeric hyperparameter.

    Args:
        dimension: The hyperparameter.
        best: Number of best trials that have it.
        best_low: Number of these at the low end.
        best_high: Number of these at the high end.
        tried: Number of finished trials that have it.
        tried_low: Number of these at the low end.
        tried_high: Number of these at the high end.
    """

    dimension: Dimension
    best: int
    best_low: int
    best_high: int
    tried: int
    tried_low: int
    tried_high: int

    @property
    def widen(self) -> str:
        """The ends that look too narrow, as in `above 0.1`; empty if none does.

        A few integers cannot be widened in a meaningful way.
        """
        if self.dimension.few_integers:
            return ""
        ends = narrow_ends(
            self.dimension.low,
            self.dimension.high,
            whole=self.dimension.whole,
            best=self.best,
            at_low=self.best_low,
            at_high=self.best_high,
        )
        return " and ".join(ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceUse:
    """How often one choice was tried, and how often it is among the best.

    Args:
        hyperparameter: Its name.
        choice: Its value.
        tried: Number of finished trials with this choice.
        asked: Number of finished trials with the hyperparameter.
        best: Number of best trials with this choice.
        best_asked: Number of best trials with the hyperparameter.
    """

    hyperparameter: str
    choice: Any
    tried: int
    asked: int
    best: int
    best_asked: int

    @property
    def chance(self) -> float:
        """Probability that none of `best_asked` random finished trials has the choice."""
        if not self.asked:
            return 1.0
        return float(hypergeom.pmf(0, self.asked, self.tried, self.best_asked))

    @property
    def verdict(self) -> str:
        """Verdict on a choice that is never among the best; empty for others."""
        if not self.tried:
            return "never tried"
        if self.best or not self.best_asked:
            return ""
        return "candidate to drop" if self.chance < _CHANCE else "too few trials to say"


def blocks(evidence: Evidence) -> list[Block]:
    """Ranges, choices, and the command that continues the search."""
    record = evidence.record
    # A trial that a later one continued has the same configuration.
    finished = record.finished.index[~record.finished["continued"].astype(bool)]
    complete = record.complete.dropna(subset="value")
    best = complete.index[: max(_LEAST, math.ceil(_SHARE * len(complete)))]
    known = list(dimensions(record).values())
    ranges = [
        _range_use(dimension, record.params[dimension.name], best, finished)
        for dimension in known
        if dimension.numeric and dimension.low < dimension.high
    ]
    choices = [
        use
        for dimension in known
        for use in _choice_uses(dimension, record.params[dimension.name], best, finished)
    ]
    hint = (
        "With so few trials this shows where to look, not what to change."
        if len(complete) < 50
        else "The best trials share what the sampler favours, so check before you change the space."
    )
    written: list[Block] = [
        Paragraph(
            f"The best {len(best)} of {len(complete)} complete trials, compared with all "
            f"{len(finished)} finished configurations. {hint}"
        )
    ]
    if ranges:
        written += [_picture(record, ranges, best, finished), _ranges_table(ranges)]
    if choices:
        written += [Paragraph(_choices_words(choices)), _choices_table(choices)]
    return [*written, *_next(record)]


def _range_use(
    dimension: Dimension, params: pd.Series, best: pd.Index, finished: pd.Index
) -> RangeUse:
    places = dimension.positions(params)
    of_best, tried = places.loc[best].dropna(), places.loc[finished].dropna()
    return RangeUse(
        dimension=dimension,
        best=len(of_best),
        best_low=int((of_best <= EDGE).sum()),
        best_high=int((of_best >= 1 - EDGE).sum()),
        tried=len(tried),
        tried_low=int((tried <= EDGE).sum()),
        tried_high=int((tried >= 1 - EDGE).sum()),
    )


def _choice_uses(
    dimension: Dimension, params: pd.Series, best: pd.Index, finished: pd.Index
) -> list[ChoiceUse]:
    of_best, tried = params.loc[best].dropna(), params.loc[finished].dropna()
    return [
        ChoiceUse(
            hyperparameter=dimension.name,
            choice=choice,
            tried=int((tried == choice).sum()),
            asked=len(tried),
            best=int((of_best == choice).sum()),
            best_asked=len(of_best),
        )
        for choice in dimension.choices
    ]


# Ranges


def _picture(record: Record, ranges: list[RangeUse], best: pd.Index, finished: pd.Index) -> Picture:
    narrow = [use.dimension.name for use in ranges if use.widen]
    shown = sorted(ranges, key=lambda use: not use.widen)[:_MOST_ROWS]
    caption = (
        f"Shaded: the outer {percent(EDGE, 0)} of each range; at the right: the range; small "
        "numbers: how many of the best trials share a place."
    )
    if len(finished) > _MOST_DRAWN:
        caption += f" Drawn: {_MOST_DRAWN} finished trials at random."
    if len(ranges) > len(shown):
        caption += f" {len(ranges) - len(shown)} more hyperparameters are in the table."
    return Picture(
        name="space-bounds",
        finding=f"Half or more of the best trials are at an end of {_some(narrow, 3)}"
        if narrow
        else "No range looks too narrow",
        caption=caption,
        draw=lambda width: _draw(width, record, shown, best, finished),
    )


def _draw(
    width: float, record: Record, shown: list[RangeUse], best: pd.Index, finished: pd.Index
) -> Figure:
    narrow = is_narrow(width)
    figure, axes = new_figure(width, 1.1 + (0.3 if narrow else 0.27) * len(shown))
    axes.axvspan(-0.03, EDGE, color=ORANGE, alpha=0.18, linewidth=0)
    axes.axvspan(1 - EDGE, 1.03, color=ORANGE, alpha=0.18, linewidth=0)
    for height, use in enumerate(reversed(shown)):
        places = use.dimension.positions(record.params[use.dimension.name])
        _strip(axes, height, use.dimension, places.loc[finished], places.loc[best])
    longest = _LONGEST_NARROW if narrow else _LONGEST_NAME
    names = [brief(use.dimension.name, longest) for use in shown]
    axes.set_yticks(range(len(shown)), names[::-1], fontsize=8)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xticks([0, 0.5, 1], ["low end", "middle", "high end"])
    axes.set_xlabel("place in the range" if narrow else "position in the range, on its own scale")
    legend_above(figure)
    return figure


def _strip(
    axes: Axes, height: int, dimension: Dimension, finished: pd.Series, best: pd.Series
) -> None:
    tried, won = finished.dropna(), best.dropna().head(_MOST_DRAWN)
    if len(tried) > _MOST_DRAWN:
        tried = tried.sample(_MOST_DRAWN, random_state=0)
    labels = ("finished trials", "the best") if height == 0 else (None, None)
    axes.plot(tried, np.full(len(tried), height - 0.15), "|", color=GREY, ms=5, label=labels[0])
    axes.plot(
        won, np.full(len(won), height + 0.12), "D", color=BLUE, ms=5, alpha=0.7, label=labels[1]
    )
    shared = won.round(2).value_counts()
    for place, count in shared.items():
        if count > 1 and len(shared) <= _MOST_COUNTS:
            axes.annotate(
                str(count), (place, height + 0.12), (5, 0), textcoords="offset points", fontsize=8
            )
    axes.text(
        1.01,
        height,
        _range_words(dimension),
        fontsize=8,
        va="center",
        transform=axes.get_yaxis_transform(),
    )


def _range_words(dimension: Dimension) -> str:
    return f"{dimension.low:g} to {dimension.high:g}{' (log)' if dimension.log else ''}"


def _ranges_table(ranges: list[RangeUse]) -> Table:
    counts = ("best", "best_low", "best_high", "tried", "tried_low", "tried_high")
    return Table(
        name="space-bounds",
        caption=f"Trials within {percent(EDGE, 0)} of an end of the range",
        note="Widen: where half of the best trials are, and at least two; never a few integers, "
        "nor beyond the 0 or 1 of counts and rates.",
        columns=[
            Column("hyperparameter", "hyperparameter", lambda use: use.dimension.name),
            Column(None, "range", lambda use: _range_words(use.dimension)),
            Column("low", value=lambda use: use.dimension.low),
            Column("high", value=lambda use: use.dimension.high),
            Column("log", value=lambda use: use.dimension.log),
            *(Column(name, value=attrgetter(name)) for name in counts),
            Column(None, "best at low end", lambda use: _share(use.best_low, use.best)),
            Column(None, "all at low end", lambda use: _share(use.tried_low, use.tried)),
            Column(None, "best at high end", lambda use: _share(use.best_high, use.best)),
            Column(None, "all at high end", lambda use: _share(use.tried_high, use.tried)),
            Column("widen", "widen", lambda use: use.widen or None),
        ],
        items=ranges,
        fold=len(ranges) > 12,
    )


def _share(count: int, total: int) -> str:
    return f"{count} of {total} ({percent(count / total, 0)})" if total else MISSING


# Choices


def _choices_words(choices: list[ChoiceUse]) -> str:
    def named(verdict: str) -> list[str]:
        return [f"{u.hyperparameter} {short(u.choice)}" for u in choices if u.verdict == verdict]

    drop, unsure = named("candidate to drop"), named("too few trials to say")
    start = f"{len(drop) or 'None'} of {len(choices)} choices"
    start += " is a candidate to drop" if len(drop) < 2 else " are candidates to drop"
    start += f": {_some(drop, _MOST_NAMES)}" if drop else ""
    return (
        f"{start}. A candidate is never among the best, with a probability below "
        f"{percent(_CHANCE, 0)} that this is chance (hypergeometric, not corrected for the number "
        f"of choices). {len(unsure)} more are never among the best, but were tried too rarely to "
        f"say; {len(named('never tried'))} were never tried."
    )


def _some(names: list[str], most: int) -> str:
    return listed(names if len(names) <= most else [*names[:most], f"{len(names) - most} more"])


def _choices_table(choices: list[ChoiceUse]) -> Table:
    counts = ("tried", "asked", "best", "best_asked", "chance")
    return Table(
        name="space-choices",
        caption="Choices among all finished trials and among the best",
        note="Only trials that have the hyperparameter count.",
        columns=[
            Column("hyperparameter", "hyperparameter", attrgetter("hyperparameter")),
            Column("choice", "choice", attrgetter("choice"), short),
            *(Column(name, value=attrgetter(name)) for name in counts),
            Column(None, "tried", lambda use: _share(use.tried, use.asked)),
            Column(None, "among the best", lambda use: _share(use.best, use.best_asked)),
            Column(
                None,
                "chance of none",
                lambda use: None if use.best or not use.tried else use.chance,
                lambda chance: percent(chance, 0),
            ),
            Column("verdict", "verdict", lambda use: use.verdict or None),
        ],
        items=choices,
        fold=True,
    )


# The next command


def _next(record: Record) -> list[Block]:
    # Of the study itself: this chapter may see its trials as they were early.
    states = count_states(record.study)
    finished = states[TrialState.COMPLETE] + states[TrialState.PRUNED]
    command = record.facts.get("command")
    if not command:
        return [
            Paragraph(
                "The study does not say which command made it. To continue, repeat yours with a "
                "larger --trials."
            )
        ]
    more, text = f"--trials {2 * finished}", str(command)
    text = _TRIALS_FLAG.sub(more, text) if _TRIALS_FLAG.search(text) else f"{text} {more}"
    return [
        Paragraph(
            f"To continue in the same space, up to {2 * finished} finished trials in total (a "
            f"changed space needs a new study: add --study {record.name}-2 --from {record.name}):"
        ),
        Code(text, "console"),
    ]

"""The Pareto front of a search with several objectives, and the winner on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState

from reporting.drawing.axes import (
    MANY_POINTS,
    Label,
    below_words,
    label_points,
    lower_end,
    scatter_accuracies,
    set_accuracy_axis,
    set_cost_axis,
)
from reporting.drawing.style import (
    BLUE,
    GREY,
    VERMILION,
    is_narrow,
    legend_above,
    new_figure,
    percent,
)
from reporting.evidence import Evidence
from reporting.page.document import Block, Column, Paragraph, Picture, Table
from search.study.front import knee, value_of, within
from search.study.objective import COSTS, Cost, costs_of
from search.words import counted, listed

_KNEE: Final = (
    "The knee is the trial of the front that is farthest from the line between the front's ends, "
    "with accuracy and the logarithm of each cost scaled to [0, 1] over the front (of several "
    "costs the mean); ties, as on a front of two, go to the most accurate. Source: Das 1999, "
    "Structural Optimization 18; the logarithm is our choice. "
    "--max-params, --max-flops and --max-latency-ms choose the most accurate trial within them "
    "instead."
)
_NOT_PRUNED: Final = (
    "No trial was pruned: a less accurate network may be the best for its cost. Each point "
    "is a single training of the search: where two accuracies differ by less than those of two "
    "seeds, another training could order them otherwise."
)
_LATENCY: Final = (
    "Latency: one image, or a batch of 500 (fewer large ones), through the network in float32 as "
    "one graph on one core, after a warm-up, without reading pictures; median and quartiles of one "
    "second or more. The search measures each network before its training in a separate process, "
    "while other workers may train on other cores. It is the time of the network alone, which "
    "best_model.keras is too where latency is limited or minimized."
)
_AGAIN: Final = (
    "While it ran nothing else, this report measured the latency of the trials on the "
    "search's front again, and of those that it would retrain. It uses the new times: trials that "
    "are now dominated leave the front. The other trials keep the times of the search."
)
_MOST_NAMED: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class _Points:
    """The complete trials of a search, by one cost.

    Args:
        cost: The cost.
        front: The trials on the front.
        others: The dominated ones.
        chosen: Number of the trial that the rule has chosen; None: not yet.
        is_only_cost: Whether the front is one of accuracy and this cost alone.
    """

    cost: Cost
    front: Sequence[FrozenTrial]
    others: Sequence[FrozenTrial]
    chosen: int | None
    is_only_cost: bool

    def place(self, trial: FrozenTrial) -> float:
        """Return the cost of a trial."""
        return float(trial.user_attrs[self.cost.attr])


def blocks(evidence: Evidence) -> list[Block]:
    """Show the front, the rule, and how cost and accuracy go together."""
    record = evidence.record
    trials = record.front
    if not trials:
        return [Paragraph("The search had one objective, so there is no front.")]
    minimized = record.objectives.minimized
    complete = [trial for trial in record.frozen if trial.state == TrialState.COMPLETE]
    on_front = {trial.number for trial in trials}
    others = [record.timed(trial) for trial in complete if trial.number not in on_front]
    chosen = None if evidence.winner is None else evidence.winner.candidate.number
    written: list[Block] = [Paragraph(_summary(evidence, trials, len(complete)), strong=True)]
    for name in minimized:
        points = _Points(
            cost=COSTS[name],
            front=trials,
            others=others,
            chosen=chosen,
            is_only_cost=len(minimized) == 1,
        )
        written.append(_picture(evidence, points))
    written.append(_table(evidence, trials))
    if not evidence.limits.given:
        written.append(Paragraph(_KNEE))
    written.append(Paragraph(_NOT_PRUNED))
    if any("latency_ms" in trial.user_attrs for trial in trials):
        written.append(Paragraph(f"{_LATENCY} {_AGAIN}" if record.times else _LATENCY))
    return written


def _summary(evidence: Evidence, trials: Sequence[FrozenTrial], complete: int) -> str:
    costs = listed([COSTS[name].noun for name in evidence.record.objectives.minimized])
    text = (
        f"{len(trials)} of {counted(complete, 'complete trial')} are on the Pareto front of "
        f"{evidence.record.measure} against {costs}: no other trial is better in one of these and "
        "worse in none. "
    )
    if evidence.winner is None:
        return f"{text}The winner will be {evidence.rule}."
    number = evidence.winner.candidate.number
    winner = evidence.record.timed(evidence.record.frozen[number])
    most = trials[0]
    text += f"The winner is trial {number}, {evidence.rule}: {percent(value_of(winner))} with "
    text += listed([COSTS[name].shown(cost) for name, cost in costs_of(winner.user_attrs).items()])
    if number == most.number:
        return f"{text}. It is also the most accurate of all."
    if number not in {trial.number for trial in trials}:
        text += (
            "; it is not on the front, but no trial of the front within the limits is as accurate"
        )
    parts = [
        f"{_share(costs_of(winner.user_attrs)[name], costs_of(most.user_attrs)[name])} of its "
        f"{COSTS[name].noun}"
        for name in evidence.record.objectives.minimized
    ]
    return (
        f"{text}. The most accurate, trial {most.number}, has {percent(value_of(most))}; the "
        f"winner has {listed(parts)}."
    )


def _share(part: float, whole: float) -> str:
    return percent(part / whole, 0) if whole else "-"


def _picture(evidence: Evidence, points: _Points) -> Picture:
    values = np.array([value_of(trial) for trial in (*points.front, *points.others)])
    low = lower_end(values, keep=_lowest_kept(points))
    several = "" if points.is_only_cost else " The front is that of all objectives together."
    return Picture(
        name=f"front-{points.cost.attr.replace('_', '-')}",
        finding=_finding(points),
        caption=f"Each point is a complete trial. Blue: the front; grey: trials that another one "
        f"dominates; star: the winner, {evidence.rule}.{several}"
        + below_words(int((values < low).sum())),
        draw=lambda width: _draw(width, points, low, evidence.record.measure),
    )


def _lowest_kept(points: _Points) -> float:
    every = (*points.front, *points.others)  # limits may choose a dominated trial
    return min((value_of(one) for one in every if one.number == points.chosen), default=np.inf)


def _finding(points: _Points) -> str:
    cheapest = min(points.front, key=points.place)
    best, cost = points.front[0], points.cost
    if cheapest.number == best.number:
        return f"Trial {best.number} is the most accurate and has the {cost.least} {cost.noun}"
    return (
        f"From {percent(value_of(cheapest))} with {cost.shown(points.place(cheapest))} to "
        f"{percent(value_of(best))} with {cost.shown(points.place(best))}"
    )


def _draw(width: float, points: _Points, low: float, measure: str) -> Figure:
    figure, axes = new_figure(width, 4.2)
    every = (*points.front, *points.others)
    set_cost_axis(axes, [points.place(trial) for trial in every])
    _scatter(axes, points, points.others, low, color=GREY, alpha=0.5, label="dominated")
    if points.is_only_cost and len(points.front) > 1:
        line = sorted(points.front, key=points.place)
        axes.plot(
            [points.place(trial) for trial in line],
            [value_of(trial) for trial in line],
            drawstyle="steps-post",
            color=BLUE,
            linestyle="--",
            linewidth=0.9,
            zorder=1,
        )
    _scatter(axes, points, points.front, low, color=BLUE, label="front", zorder=3)
    winner = [trial for trial in every if trial.number == points.chosen]
    _scatter(
        axes, points, winner, low, color=VERMILION, marker="*", s=160, label="winner", zorder=4
    )
    set_accuracy_axis(axes, low, max(value_of(trial) for trial in every))
    axes.set_xlabel(f"{points.cost.words} (log scale)")
    axes.set_ylabel(measure)
    legend_above(figure)
    named = [trial for trial in points.front if value_of(trial) >= low]
    if not is_narrow(width) and len(every) <= MANY_POINTS:
        label_points(
            figure,
            axes,
            [
                Label(
                    str(trial.number),
                    points.place(trial),
                    value_of(trial),
                    bold=trial.number == points.chosen,
                )
                for trial in named[:_MOST_NAMED]
            ],
        )
    return figure


def _scatter(
    axes: Axes, points: _Points, trials: Sequence[FrozenTrial], low: float, **look: Any
) -> None:
    if trials:
        places = np.array([points.place(trial) for trial in trials])
        scatter_accuracies(axes, places, np.array(list(map(value_of, trials))), low, **look)


def _table(evidence: Evidence, trials: Sequence[FrozenTrial]) -> Table:
    attrs = [
        name
        for name in ("parameters", "flops", "latency_ms", "batch_latency_ms")
        if any(name in trial.user_attrs for trial in trials)
    ]
    columns = [
        Column("trial", "trial", lambda trial: trial.number),
        Column("value", evidence.record.measure, value_of, percent),
        *_marks(evidence, trials),
    ]
    if "parameters" in attrs:
        columns.append(Column("parameters", "parameters", _attr("parameters"), ",.0f"))
    if "flops" in attrs:
        columns.append(Column("flops", "FLOPs per image", _attr("flops"), ",.0f"))
    if "latency_ms" in attrs:
        columns += _times(evidence)
    return Table(
        name="front",
        caption="The trials of the front, the most accurate first",
        note="Times in milliseconds per image: median, and in brackets the quartiles."
        if "latency_ms" in attrs
        else "",
        columns=columns,
        items=trials,
        most=50,
    )


def _marks(evidence: Evidence, trials: Sequence[FrozenTrial]) -> list[Column]:
    """Return the columns that say which trials keep the rule, and which is the winner."""
    if evidence.limits.given:
        kept = {trial.number for trial in within(trials, evidence.limits)}
        name = "within"
    else:
        kept, name = {knee(trials).number}, "knee"
    chosen = None if evidence.winner is None else evidence.winner.candidate.number
    return [
        Column(name, name, lambda trial: trial.number in kept, _yes),
        Column("winner", "winner", lambda trial: trial.number == chosen, _yes),
    ]


def _times(evidence: Evidence) -> list[Column]:
    """Return the columns of both latencies, in the search and again, with their quartiles."""

    def again(name: str) -> Any:
        return lambda trial: evidence.record.times.get(trial.number, {}).get(name)

    def before(name: str) -> Any:
        return lambda trial: evidence.record.frozen[trial.number].user_attrs.get(name)

    found = []
    sources = [("search", "in the search", before)]
    if evidence.record.times:
        sources.append(("again", "again", again))
    for kind, title in (("latency", "one image"), ("batch_latency", "batch")):
        for suffix, where, get in sources:
            median, quartiles = get(f"{kind}_ms"), get(f"{kind}_quartiles_ms")

            def both(trial: Any, median: Any = median, quartiles: Any = quartiles) -> Any:
                value = median(trial)
                return None if value is None else _Time(value, quartiles(trial))

            found += [
                Column(f"{kind}_ms_{suffix}", None, median),
                Column(None, f"{title}, {where}", both, str),
            ]
    return found


@dataclass(frozen=True, slots=True)
class _Time:
    median: float
    quartiles: Sequence[float] | None

    def __str__(self) -> str:
        if self.quartiles is None:
            return f"{self.median:.3g}"
        low, high = self.quartiles
        return f"{self.median:.3g} ({low:.3g} to {high:.3g})"


def _attr(name: str) -> Any:
    return lambda trial: trial.user_attrs.get(name)


def _yes(value: bool) -> str:
    return "yes" if value else ""

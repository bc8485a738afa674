"""Is the space right: winners at its bounds, choices that never won, and the next command."""

import re
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reporting.analysis.space_use import CHANCE, EDGE, SpaceUse, space_use
from reporting.dimensions import Dimension, brief, short
from reporting.drawing.style import BLUE, GREY, MISSING, ORANGE, listed, new_figure, percent
from reporting.evidence import Evidence
from reporting.page.document import Block, Code, Paragraph, Picture, Table
from reporting.study_tables import Record

_MOST_ROWS: Final = 20
_MOST_TRIED: Final = 300
_LONGEST_NAME: Final = 28
_MOST_COUNTS: Final = 12
_TRIALS_FLAG: Final = re.compile(r"(?<!\S)--trials(?:=|\s+)\S+")


def blocks(evidence: Evidence) -> list[Block]:
    """Bounds, choices, coverage, and how to go on."""
    record = evidence.record
    use = space_use(record)
    written: list[Block] = [
        Paragraph(
            f"The best {len(use.best)} of {use.complete} complete trials against all "
            f"{use.finished} finished ones. {_few(use)}"
        )
    ]
    if len(use.bounds):
        written += [_picture(record, use), _bounds_table(use)]
    else:
        written.append(Paragraph("The space has no numeric hyperparameter, so no bound to widen."))
    if len(use.choices):
        written += [Paragraph(_choices_words(use)), _choices_table(use)]
    else:
        written.append(Paragraph("The space has no choices, so there is none to drop."))
    written += _next(record, use)
    return written


def _few(use: SpaceUse) -> str:
    if 2 * len(use.best) > use.complete:
        return "With so few complete trials nearly all of them are the best: this says little yet."
    if use.complete < 50:
        return "So few winners are a hint where to look, not a reason to change the space."
    return "Winners share what the sampler favoured, so check before changing the space."


def _picture(record: Record, use: SpaceUse) -> Picture:
    widened = use.bounds[use.bounds["widen"] != ""]
    rows = pd.concat([widened, use.bounds[use.bounds["widen"] == ""]]).head(_MOST_ROWS)
    figure, axes = new_figure(1.1 + 0.27 * len(rows))
    finished = record.trials.index[record.trials["state"].isin(["COMPLETE", "PRUNED"])]
    axes.axvspan(-0.03, EDGE, color=ORANGE, alpha=0.18, linewidth=0)
    axes.axvspan(1 - EDGE, 1.03, color=ORANGE, alpha=0.18, linewidth=0)
    for height, name in enumerate(reversed(rows["hyperparameter"].tolist())):
        _strip(axes, height, use.known[name], record.params[name], finished, use.best)
    names = [brief(name, _LONGEST_NAME) for name in rows["hyperparameter"]]
    axes.set_yticks(range(len(rows)), names[::-1], fontsize=8)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xticks([0, 0.5, 1], ["low end", "middle", "high end"])
    axes.set_xlabel("place in the range, on its own scale")
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8)
    finding = "At no bound that could be widened do half of the best trials sit"
    if len(widened):
        finding = f"Half or more of the best sit at a bound of {listed(_first(widened))}"
    left = len(use.bounds) - len(rows)
    return Picture(
        name="space-bounds",
        finding=finding,
        caption=f"Shaded: the outer {percent(EDGE, 0)} at either end, where a range may be too "
        "narrow; at the right its ends; small numbers: how many of the best share a place."
        + (f" Drawn: at most {_MOST_TRIED} of either." if use.finished > _MOST_TRIED else "")
        + (f" {left} more hyperparameters are in the table." if left else ""),
        figure=figure,
    )


def _first(rows: pd.DataFrame) -> list[str]:
    names = [str(name) for name in rows["hyperparameter"]]
    return names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} others"]


def _strip(
    axes: Axes,
    height: int,
    dimension: Dimension,
    params: pd.Series,
    finished: pd.Index,
    best: list[int],
) -> None:
    places = dimension.positions(params)
    tried = places.loc[finished].dropna()
    if len(tried) > _MOST_TRIED:
        tried = tried.sample(_MOST_TRIED, random_state=0)
    won = places.loc[best[:_MOST_TRIED]].dropna()
    label = {True: ("finished trials", "the best"), False: (None, None)}[height == 0]
    axes.plot(tried, np.full(len(tried), height - 0.15), "|", color=GREY, ms=5, label=label[0])
    axes.plot(
        won, np.full(len(won), height + 0.12), "D", color=BLUE, ms=5, alpha=0.7, label=label[1]
    )
    scale = ", log" if dimension.log else ""
    words = f"{_end(dimension, dimension.low)} to {_end(dimension, dimension.high)}{scale}"
    shared = won.round(2).value_counts()
    for place, count in shared.items():
        if count > 1 and len(shared) <= _MOST_COUNTS:
            axes.annotate(
                str(count), (place, height + 0.12), (5, 0), textcoords="offset points", fontsize=6
            )
    axes.text(1.01, height, words, fontsize=7, va="center", transform=axes.get_yaxis_transform())


def _end(dimension: Dimension, value: float) -> str:
    return short(round(value)) if dimension.whole else short(value)


def _bounds_table(use: SpaceUse) -> Table:
    rows = use.bounds
    shown = pd.DataFrame(
        {
            "hyperparameter": rows["hyperparameter"],
            "range": [
                f"{row.low:g} to {row.high:g}{' (log)' if row.log else ''}"
                for row in rows.itertuples()
            ],
            "best at low end": [f"{row.best_low} of {row.best}" for row in rows.itertuples()],
            "all at low end": [_share(row.tried_low, row.tried) for row in rows.itertuples()],
            "best at high end": [f"{row.best_high} of {row.best}" for row in rows.itertuples()],
            "all at high end": [_share(row.tried_high, row.tried) for row in rows.itertuples()],
            "suggestion": [_suggestion(row.widen, row.at_zero) for row in rows.itertuples()],
        }
    )
    return Table(
        name="space-bounds",
        caption=f"Trials within {percent(EDGE, 0)} of a bound, the best beside all finished ones "
        "that have the hyperparameter; a suggestion needs two, and half of the best. A low end of "
        "0 is taken for a natural one",
        shown=shown,
        values=rows,
        fold=len(rows) > 12,
    )


def _suggestion(widen: str, at_zero: bool) -> str:
    words = [f"widen {widen}"] if widen else []
    return ", ".join([*words, "0 is a natural end"] if at_zero else words) or MISSING


def _share(count: int, total: int) -> str:
    return f"{count} of {total} ({percent(count / total, 0)})" if total else MISSING


def _choices_words(use: SpaceUse) -> str:
    def named(verdict: str) -> list[str]:
        rows = use.choices[use.choices["verdict"] == verdict]
        return [f"{row.hyperparameter} {short(row.choice)}" for row in rows.itertuples()]

    drop, unsure, untried = map(
        named, ("candidate to drop", "too few trials to say", "never tried")
    )
    start = f"{len(drop)} of {len(use.choices)} choices are candidates to drop"
    if drop:
        start += f": {listed(drop[:12])}" + (" and others in the table" if drop[12:] else "")
    return (
        f"{start}. A candidate is never among the best, which would happen by luck in fewer than "
        f"{percent(CHANCE, 0)} of draws of as many trials (hypergeometric, each choice by itself: "
        f"of many choices some look so by luck). {len(unsure)} others are never among the best "
        f"either, but were tried too rarely to say, and {len(untried)} were never tried."
    )


def _choices_table(use: SpaceUse) -> Table:
    rows = use.choices
    shown = pd.DataFrame(
        {
            "hyperparameter": rows["hyperparameter"],
            "choice": [short(choice) for choice in rows["choice"]],
            "tried": [_share(row.tried, row.asked) for row in rows.itertuples()],
            "among the best": [f"{row.best} of {row.best_asked}" for row in rows.itertuples()],
            "chance of none": [
                MISSING if row.best or not row.tried else percent(row.chance, 0)
                for row in rows.itertuples()
            ],
            "suggestion": [verdict or MISSING for verdict in rows["verdict"]],
        }
    )
    return Table(
        name="space-choices",
        caption="How often each choice was tried, of the finished trials that were asked, and how "
        "often it is among the best",
        shown=shown,
        values=rows,
        fold=True,
    )


def _next(record: Record, use: SpaceUse) -> list[Block]:
    command = record.facts.get("command")
    if not command:
        return [
            Paragraph(
                "The study does not say which command made it; repeat yours with more "
                "--trials to go on."
            )
        ]
    more = f"--trials {2 * use.finished}"
    text = str(command)
    text = _TRIALS_FLAG.sub(more, text) if _TRIALS_FLAG.search(text) else f"{text} {more}"
    return [
        Paragraph(
            f"To go on in the same space, up to {2 * use.finished} finished trials in all. A "
            "changed space needs a study of its own (--study NAME)."
        ),
        Code(text, "console"),
    ]

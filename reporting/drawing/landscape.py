"""Pictures of several hyperparameters at once, for the chapter on what mattered."""

from itertools import combinations
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter

from reporting.dimensions import Dimension, brief, short
from reporting.drawing.axes import lower_end
from reporting.drawing.style import BLUE, GREY, VERMILION, new_figure, percent
from reporting.page.document import Block, Paragraph, Picture
from reporting.study_tables import Record

_LEAST_PAIRS: Final = 5
_MOST_AXES: Final = 8
_MOST_GREY: Final = 200
_LEAST_BEST: Final = 5
_MOST_BEST: Final = 10
_UNASKED: Final = -0.18
_MAP: Final = "cividis"  # told apart by colour-blind readers, and in grey


def pair_map(record: Record, ordered: list[Dimension]) -> list[Block]:
    """Median accuracy by the two most important numeric hyperparameters that trials share.

    Args:
        record: The search.
        ordered: Hyperparameters, the most important first; others than numeric ones are used where
            fewer than two numeric ones are shared.
    """
    values = record.complete["value"].dropna().astype(float)
    params = record.params.loc[values.index]
    have = params.notna().astype(int)

    def shared(pair: tuple[Dimension, Dimension]) -> bool:
        return int((have[pair[0].name] * have[pair[1].name]).sum()) >= _LEAST_PAIRS

    numeric = [dimension for dimension in ordered if dimension.numeric]
    candidates = [*combinations(numeric, 2), *combinations(ordered, 2)]
    pair = next((pair for pair in candidates if shared(pair)), None)
    if pair is None:
        return [
            Paragraph(
                f"No two hyperparameters are shared by {_LEAST_PAIRS} complete trials, so no pair "
                "is shown."
            )
        ]
    return [_pair_picture(values, params, pair)]


def _pair_picture(
    values: pd.Series, params: pd.DataFrame, pair: tuple[Dimension, Dimension]
) -> Picture:
    across, up = pair
    x, x_labels = across.cells(params[across.name])
    y, y_labels = up.cells(params[up.name])
    grouped = values.groupby([y, x]).agg(["median", "size"])
    medians = np.full((len(y_labels), len(x_labels)), np.nan)
    figure, axes = new_figure(min(1.2 + 0.5 * len(y_labels), 6.0))
    axes.grid(visible=False)
    norm = Normalize(lower_end(grouped["median"]), float(grouped["median"].max()))
    for (row, column), cell in grouped.iterrows():
        medians[int(row), int(column)] = cell["median"]
        dark = float(norm(cell["median"])) < 0.5
        axes.text(
            column,
            row,
            f"{percent(cell['median'], 1)}\nn = {cell['size']:.0f}",
            ha="center",
            va="center",
            fontsize=7,
            color="white" if dark else "black",
        )
    image = axes.imshow(medians, cmap=_MAP, norm=norm, aspect="auto", origin="lower")
    axes.set_xticks(range(len(x_labels)), x_labels, fontsize=7)
    axes.set_yticks(range(len(y_labels)), y_labels, fontsize=7)
    axes.set_xlabel(brief(across.name, 60))
    axes.set_ylabel(brief(up.name, 30))
    bar = figure.colorbar(image, ax=axes, format=PercentFormatter(1.0, symbol=" %"), pad=0.02)
    bar.set_label("median validation accuracy", fontsize=8)
    row, column = grouped["median"].idxmax()
    n = int(grouped.loc[(row, column), "size"])
    words = [
        labels[int(i)].replace("\n", " ") for labels, i in ((x_labels, column), (y_labels, row))
    ]
    return Picture(
        name="importance-pair",
        finding=f"The highest median is at {across.name} {words[0]} and {up.name} {words[1]} "
        f"({n} trial{'s' if n > 1 else ''})",
        caption="Median accuracy of complete trials in each cell and their number; empty cells had "
        "none. Medians of one or two trials say little.",
        figure=figure,
    )


def parallel_coordinates(record: Record, ordered: list[Dimension]) -> Picture:
    """The best complete trials as lines over the most important hyperparameters.

    Args:
        record: The search.
        ordered: Hyperparameters, the most important first.
    """
    shown = ordered[:_MOST_AXES]
    complete = record.complete.dropna(subset="value")
    count = min(max(_LEAST_BEST, round(0.1 * len(complete))), _MOST_BEST, len(complete))
    rows = complete.head(_MOST_GREY)
    places = pd.DataFrame(
        {d.name: d.positions(record.params.loc[rows.index, d.name]) for d in shown}
    )
    unasked = places.isna()
    places = places.fillna(_UNASKED)
    # Lines through the same choice would hide each other.
    shift = np.linspace(-0.025, 0.025, len(rows))
    for dimension in shown:
        if not dimension.numeric:
            places[dimension.name] += shift
    figure, axes = new_figure(4.2)
    axes.grid(visible=False)
    for rank in range(len(rows) - 1, -1, -1):
        _line(axes, places.iloc[rank].to_numpy(float), rank, count, int(rows.index[rank]))
    for index, dimension in enumerate(shown):
        _axis(axes, index, dimension, bool(unasked[dimension.name].any()))
    axes.set_xlim(-0.2, len(shown) - 0.3)
    axes.set_ylim(-0.26 if unasked.to_numpy().any() else -0.08, 1.1)
    names = [_two_lines(brief(dimension.name, 20)) for dimension in shown]
    axes.set_xticks(range(len(shown)), names, fontsize=8)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    values = rows["value"]
    return Picture(
        name="importance-parallel",
        finding=f"The best {count} of {len(complete)} complete trials, "
        f"{percent(values.iloc[count - 1])} to {percent(values.iloc[0])}"
        f"{_agreement(record, rows.index[:count], shown)}",
        caption="One line for each complete trial, over the most important hyperparameters from "
        "left to right; a dot at the foot: not asked for in that trial."
        + (f" Grey: the next best, {_MOST_GREY} in all." if len(complete) > _MOST_GREY else ""),
        figure=figure,
    )


def _two_lines(name: str) -> str:
    """A long name broken at the underscore nearest to its middle."""
    if len(name) <= 12:
        return name
    middle = len(name) // 2
    breaks = [place + 1 for place, sign in enumerate(name[:-1]) if sign == "_"] or [middle]
    place = min(breaks, key=lambda place: abs(place - middle))
    return f"{name[:place]}\n{name[place:]}"


def _agreement(record: Record, best: pd.Index, shown: list[Dimension]) -> str:
    same = []
    for dimension in shown:
        chosen = record.params.loc[best, dimension.name]
        if not dimension.numeric and chosen.notna().all() and chosen.nunique() == 1:
            same.append(f"{dimension.name} {short(chosen.iloc[0])}")
    return f", share {' and '.join(same)}" if same else ", share none of the choices shown"


def _line(axes: Axes, places: np.ndarray, rank: int, count: int, number: int) -> None:
    look: dict[str, Any] = {"color": GREY, "linewidth": 0.6, "alpha": 0.35, "linestyle": "-"}
    label = "other complete trials" if rank == count else None
    if rank == 0:
        look = {"color": VERMILION, "linewidth": 2.4, "alpha": 1.0, "linestyle": "-"}
        label = f"trial {number}, the best"
    elif rank < count:
        look = {"color": BLUE, "linewidth": 1.2, "alpha": 0.8, "linestyle": "--"}
        label = f"the next best {count - 1}" if rank == 1 else None
    axes.plot(range(len(places)), places, label=label, marker=".", markersize=4, **look)


def _axis(axes: Axes, index: int, dimension: Dimension, unasked: bool) -> None:
    axes.vlines(index, 0, 1, color="black", linewidth=0.8)
    if dimension.numeric:
        labels = {place: short(_rounded(dimension, place)) for place in (0.0, 0.5, 1.0)}
    else:
        last = max(len(dimension.choices) - 1, 1)
        labels = {i / last: short(choice) for i, choice in enumerate(dimension.choices)}
    if len(labels) > 12:
        labels = {place: label for place, label in labels.items() if place in (0.0, 1.0)}
    if unasked:
        labels[_UNASKED] = "not asked"
    for place, label in labels.items():
        text = axes.text(index + 0.05, place, label, fontsize=7, va="center", zorder=5)
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def _rounded(dimension: Dimension, place: float) -> float | int:
    value = dimension.at(place)
    return round(value) if dimension.whole else value

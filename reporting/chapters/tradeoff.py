"""What accuracy costs, in parameters and in time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from reporting.drawing.axes import Label, label_beside
from reporting.drawing.style import (
    BLUE,
    GREEN,
    GREY,
    MISSING,
    ORANGE,
    bounds,
    listed,
    new_figure,
    spread,
)
from reporting.evidence import Evidence, Kind, Row
from reporting.page.document import Block, Paragraph, Picture, Table

_STYLES: Final[dict[Kind, tuple[str, str]]] = {
    "tuned": (BLUE, "*"),
    "variant": (GREEN, "D"),
    "baseline": (ORANGE, "o"),
}
_INCHES_A_LABEL: Final = 0.2


@dataclass(frozen=True, slots=True)
class _Point:
    row: Row
    cost: float


def blocks(evidence: Evidence) -> list[Block]:
    """Test accuracy against parameters and against time of prediction."""
    rows = evidence.scored
    written: list[Block] = [Paragraph(evidence.no_test_results)]
    if rows:
        sizes = _points(rows, [row.parameters for row in rows])
        times = _points(rows, [row.milliseconds_per_image for row in rows])
        written = [
            _picture("parameters", "parameters", sizes, rows, "An ensemble holds all its models'."),
            _picture(
                "milliseconds",
                "milliseconds for each image",
                times,
                rows,
                f"Measured in batches of 500 on {evidence.machine}; median over the seeds.",
            ),
            _table(rows, _front(sizes), _front(times)),
        ]
        missing = evidence.gaps
        written += [Paragraph(missing)] if missing else []
    return written


def _points(rows: Sequence[Row], costs: Sequence[float | None]) -> list[_Point]:
    return [
        _Point(row, float(cost))
        for row, cost in zip(rows, costs, strict=True)
        if cost is not None and np.isfinite(cost) and cost > 0
    ]


def _front(points: Sequence[_Point]) -> list[_Point]:
    """The points than which none is both as cheap and more accurate, cheapest first."""
    front: list[_Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.row.accuracy.mean)):
        if not front or point.row.accuracy.mean > front[-1].row.accuracy.mean:
            front.append(point)
    return front


def _picture(
    name: str, label: str, points: Sequence[_Point], rows: Sequence[Row], note: str
) -> Block:
    if not points:
        return Paragraph(f"Of no row the {label} are known.")
    left_out = [row.name for row in rows if row not in [point.row for point in points]]
    front = _front(points)
    height = max(3.8, _INCHES_A_LABEL * len(points) + 1)
    figure, axes = new_figure(height)
    axes.set_xscale("log")
    cheapest, dearest = (pick(point.cost for point in points) for pick in (min, max))
    room = max((dearest / cheapest) ** 0.08, 1.25)
    axes.set_xlim(cheapest / room, dearest * room)
    _draw_points(axes, points)
    if len(front) > 1:
        axes.plot(
            [point.cost for point in front],
            [100 * point.row.accuracy.mean for point in front],
            drawstyle="steps-post",
            color=GREY,
            linestyle="--",
            zorder=1,
        )
    axes.margins(y=0.08)
    label_beside(
        axes,
        [
            Label(point.row.name, point.cost, 100 * point.row.accuracy.mean, bold=point in front)
            for point in points
        ],
        gap=_INCHES_A_LABEL / (height - 1),
    )
    _set_ticks(axes)
    axes.set(xlabel=f"{label} (log scale)", ylabel="test accuracy (%)")
    return Picture(
        name=f"tradeoff-{name}",
        finding=_finding(label, front, len(points)),
        caption=(
            "Star: tuned; open diamonds: its variants; circles: baselines. Bars: 95 % interval of "
            "the mean over seeds, none for n = 1. Dashed, and in bold: the Pareto front of the "
            f"means, untested. {note}" + (f" Not known for {listed(left_out)}." if left_out else "")
        ),
        figure=figure,
    )


def _finding(label: str, front: Sequence[_Point], count: int) -> str:
    names = listed([point.row.name for point in front])
    if count == 1:
        return f"Only {names} has test results"
    if len(front) == 1:
        return f"None of the other {count - 1} rows is better than {names}, or has fewer {label}"
    return f"Pareto front, from fewest {label} to highest accuracy: {names}"


def _draw_points(axes: Axes, points: Sequence[_Point]) -> None:
    for point in points:
        color, marker = _STYLES[point.row.kind]
        accuracy = point.row.accuracy
        if accuracy.low is not None and accuracy.high is not None:
            axes.vlines(point.cost, 100 * accuracy.low, 100 * accuracy.high, color, linewidth=1.2)
        # A variant may lie exactly on `tuned`: open, so that the star shows through.
        size, fill = (14, color) if marker == "*" else (8, "none" if marker == "D" else color)
        axes.plot(point.cost, 100 * accuracy.mean, marker, color=color, ms=size, mfc=fill)


def _set_ticks(axes: Axes) -> None:
    """Plain numbers, few enough to stand side by side."""
    low, high = axes.get_xlim()
    steps = (1.0, 2.0, 5.0) if high / low < 1000 else (1.0,)
    axes.xaxis.set_major_locator(MaxNLocator(5) if high / low < 5 else LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _short(value: float) -> str:
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.4g} {letter}"
    return f"{value:.4g}"


def _table(rows: Sequence[Row], sizes: Sequence[_Point], times: Sequence[_Point]) -> Table:
    ordered = sorted(rows, key=lambda row: -row.accuracy.mean)
    values = pd.DataFrame(
        [
            {
                "row": row.name,
                "n": row.accuracy.n,
                "test accuracy": row.accuracy.mean,
                "parameters": row.parameters,
                "milliseconds": row.milliseconds_per_image,
                "on the front of parameters": row in [point.row for point in sizes],
                "on the front of milliseconds": row in [point.row for point in times],
            }
            for row in ordered
        ]
    )
    fronts = ("on the front of parameters", "on the front of milliseconds")
    shown = pd.DataFrame(
        {
            "row": values["row"],
            "n": values["n"],
            "test accuracy": [spread(row.accuracy) for row in ordered],
            "95 % interval": [bounds(row.accuracy) for row in ordered],
            "parameters": [_number(row.parameters, ",.0f") for row in ordered],
            "ms for each image": [_number(row.milliseconds_per_image, ".3f") for row in ordered],
            "on the front of": [
                " and ".join(
                    front.rsplit(maxsplit=1)[1] for front in fronts if values[front].iloc[index]
                )
                or MISSING
                for index in range(len(ordered))
            ],
        }
    )
    return Table(
        name="tradeoff-costs",
        caption="The same in numbers, the most accurate first; ± is the deviation between seeds.",
        shown=shown,
        values=values,
    )


def _number(value: float | None, form: str) -> str:
    return MISSING if value is None or not np.isfinite(value) else f"{value:{form}}"

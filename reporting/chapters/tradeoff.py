"""Accuracy against cost, in parameters and in prediction time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reporting.dimensions import brief
from reporting.drawing.axes import Label, label_points, set_cost_axis
from reporting.drawing.style import BLUE, GREEN, GREY, ORANGE, new_figure
from reporting.evidence import Evidence, Kind, Row
from reporting.page.document import Block, Paragraph, Picture
from search.words import listed

_STYLES: Final[dict[Kind, tuple[str, str]]] = {
    "tuned": (BLUE, "*"),
    "variant": (GREEN, "D"),
    "baseline": (ORANGE, "o"),
}

_LONGEST_NAME: Final = 40


@dataclass(frozen=True, slots=True)
class _Point:
    row: Row
    cost: float


def blocks(evidence: Evidence) -> list[Block]:
    """Draw test accuracy against parameters and against prediction time."""
    rows = evidence.scored
    if not rows:
        return [Paragraph(evidence.no_test_results)]
    return [
        _picture(
            "parameters",
            "parameters",
            _points(rows, [row.parameters for row in rows]),
            rows,
            "An ensemble has the parameters of all its models.",
        ),
        _picture(
            "milliseconds",
            "milliseconds per image",
            _points(rows, [row.milliseconds_per_image for row in rows]),
            rows,
            f"Measured in batches of at most 500 on {_machines(evidence)}; median over the seeds. "
            "Of several views or models: that of the network alone, times their number.",
        ),
    ]


def _machines(evidence: Evidence) -> str:
    """Name the machines of the prediction times: those that were stored may be from elsewhere."""
    found = sorted({machine for row in evidence.scored for machine in row.machines})
    if len(found) > 1:
        return f"several machines, whose times do not compare ({' | '.join(found)})"
    return found[0] if found else evidence.machine


def _points(rows: Sequence[Row], costs: Sequence[float | None]) -> list[_Point]:
    return [
        _Point(row, float(cost))
        for row, cost in zip(rows, costs, strict=True)
        if cost is not None and np.isfinite(cost) and cost > 0
    ]


def _front(points: Sequence[_Point]) -> list[_Point]:
    """Return the points that no other beats in accuracy at the same or a lower cost, by cost."""
    front: list[_Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.row.accuracy.mean)):
        if not front or point.row.accuracy.mean > front[-1].row.accuracy.mean:
            front.append(point)
    return front


def _picture(
    name: str, label: str, points: Sequence[_Point], rows: Sequence[Row], note: str
) -> Block:
    if not points:
        return Paragraph(f"The {label} of these networks are not known.")
    left_out = [row.name for row in rows if row not in [point.row for point in points]]
    front = _front(points)
    return Picture(
        name=f"tradeoff-{name}",
        finding=_finding(label, front, len(points)),
        caption=(
            f"Star: tuned{_others(rows)}. Bars: 95 % interval of the mean over seeds (none for "
            f"n = 1). Dashed line and bold names: Pareto front of the means. {note}"
            + (f" Not measured for {listed(left_out)}." if left_out else "")
        ),
        draw=lambda width: _draw(width, label, points, front),
    )


def _others(rows: Sequence[Row]) -> str:
    kinds = {row.kind for row in rows}
    variants = "; open diamonds: its variants" if "variant" in kinds else ""
    return variants + ("; circles: baselines" if "baseline" in kinds else "")


def _draw(width: float, label: str, points: Sequence[_Point], front: Sequence[_Point]) -> Figure:
    figure, axes = new_figure(width, max(4.0, 0.28 * len(points)))
    set_cost_axis(axes, [point.cost for point in points])
    _draw_points(axes, points)
    if len(front) > 1:
        axes.plot(
            [point.cost for point in front],
            [100 * point.row.accuracy.mean for point in front],
            drawstyle="steps-post",
            color=GREY,
            linestyle="--",
            linewidth=0.9,
            zorder=1,
        )
    axes.margins(y=0.1)
    axes.set(xlabel=f"{label} (log scale)", ylabel="test accuracy (%)")
    label_points(
        figure,
        axes,
        [
            Label(
                brief(point.row.name, _LONGEST_NAME),
                point.cost,
                100 * point.row.accuracy.mean,
                bold=point in front,
            )
            for point in points
        ],
    )
    return figure


def _finding(label: str, front: Sequence[_Point], count: int) -> str:
    names = "; ".join(point.row.name for point in front)  # which have commas
    if count == 1:
        return f"Only {names} has test results"
    if len(front) == 1:
        return f"{names} has the highest accuracy and the fewest {label}"
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

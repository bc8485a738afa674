"""The chapter on accuracy against cost."""

import dataclasses
from itertools import combinations

import numpy as np
from matplotlib.text import Text

from reporting.chapters import tradeoff
from reporting.drawing.style import NARROW, WIDE
from reporting.evidence import Evidence, Row, make_row
from reporting.plan import Entry
from reporting.scoring import Scores
from tests.reporting.written import drawn, pictures


def with_costs(row: Row, parameters: int, milliseconds: float | None) -> Row:
    runs = [dataclasses.replace(run, parameters=parameters) for run in row.runs]
    return dataclasses.replace(row, runs=runs, milliseconds_per_image=milliseconds)


def test_the_front_has_what_nothing_beats_at_its_cost(evidence: Evidence) -> None:
    costs = {"tuned": (1000, 0.5), "mlp": (10, 0.1), "vgg-cnn": (100, None)}
    rows = [with_costs(row, *costs.get(row.name, (2000, 0.6))) for row in evidence.rows]
    found = pictures(tradeoff.blocks(dataclasses.replace(evidence, rows=rows)))
    means = {row.name: row.accuracy.mean for row in rows if row.kind != "variant"}
    front = ["mlp", *(["vgg-cnn"] if means["vgg-cnn"] > means["mlp"] else []), "tuned"]
    finding = found["tradeoff-parameters"].finding
    named = finding.removeprefix("Pareto front, from fewest parameters to highest accuracy: ")
    assert named.split("; ")[: len(front)] == front
    caption = found["tradeoff-milliseconds"].caption
    assert "Not measured for vgg-cnn." in caption
    assert "in batches of at most 500" in caption


def test_the_machines_are_those_that_measured_the_times(evidence: Evidence) -> None:
    def caption(*machines: str) -> str:
        rows = [
            dataclasses.replace(row, machines=[machines[index % len(machines)]])
            for index, row in enumerate(evidence.rows)
        ]
        made = dataclasses.replace(evidence, rows=rows)
        return pictures(tradeoff.blocks(made))["tradeoff-milliseconds"].caption

    assert "at most 500 on a server, 8 cores; median over" in caption("a server, 8 cores")
    both = "on several machines, whose times do not compare (a laptop | a server); median over"
    assert both in caption("a server", "a laptop")
    labels, run = evidence.rows[0].labels, evidence.rows[0].runs[0]
    scored = [
        (run, Scores(probabilities=np.eye(10)[labels], machine=machine))
        for machine in ("a server", "a laptop", "a server")
    ]
    entry = Entry(name="mlp", params={}, retrainings=[])
    row = make_row(entry, "baseline", scored, labels, "")
    assert row.machines == ["a laptop", "a server"]


def test_labels_do_not_overlap(evidence: Evidence) -> None:
    rows = [
        dataclasses.replace(row, name=f"{row.name}, a rather long name", probabilities=p)
        for row, p in ((row, evidence.rows[0].probabilities) for row in evidence.rows)
    ]
    for picture in pictures(tradeoff.blocks(dataclasses.replace(evidence, rows=rows))).values():
        for width in (WIDE, NARROW):
            axes = drawn(picture, width).axes[0]
            # Of the words alone: an annotation's own extent has its line, too.
            boxes = [Text.get_window_extent(text) for text in axes.texts]
            assert len(boxes) == len(rows)
            assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
            frame = axes.bbox.padded(1)
            assert all(frame.contains(*corner) for box in boxes for corner in box.get_points())


def test_lines_to_names_are_short(evidence: Evidence) -> None:
    for picture in pictures(tradeoff.blocks(evidence)).values():
        axes = drawn(picture).axes[0]
        for name in axes.texts:
            box = Text.get_window_extent(name)
            point = axes.transData.transform(name.xy)
            gap = np.hypot(*(np.clip(point, box.min, box.max) - point))
            assert gap < 0.25 * axes.bbox.height

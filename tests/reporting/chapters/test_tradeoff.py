"""The chapter on accuracy against cost."""

import dataclasses
from itertools import pairwise

from matplotlib.text import Text

from reporting.chapters import tradeoff
from reporting.evidence import Evidence, Row
from tests.reporting.written import pictures


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
    assert named.replace(" and ", ", ").split(", ")[: len(front)] == front
    caption = found["tradeoff-milliseconds"].caption
    assert "Not measured for vgg-cnn." in caption
    assert "in batches of 500" in caption


def test_labels_do_not_overlap(evidence: Evidence) -> None:
    rows = [
        dataclasses.replace(row, name=f"{row.name}, a rather long name", probabilities=p)
        for row, p in ((row, evidence.rows[0].probabilities) for row in evidence.rows)
    ]
    for picture in pictures(tradeoff.blocks(dataclasses.replace(evidence, rows=rows))).values():
        picture.figure.draw_without_rendering()
        # Of the words alone: an annotation's own extent has its line, too.
        boxes = [Text.get_window_extent(text) for text in picture.figure.axes[0].texts]
        heights = sorted((box.y0, box.y1) for box in boxes)
        assert len(heights) == len(rows)
        for (_, upper), (lower, _) in pairwise(heights):
            assert upper <= lower
        assert min(box.y0 for box in boxes) >= 0
        assert max(box.x1 for box in boxes) <= picture.figure.bbox.x1

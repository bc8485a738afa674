"""Batch normalization and dropout: accuracy by placement and by rate, and whether it differs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from scipy.stats import kruskal
from statsmodels.stats.multitest import multipletests

from reporting.dimensions import Dimension, dimensions
from reporting.drawing.axes import below_words
from reporting.drawing.slices import draw_slices, points_below
from reporting.drawing.style import percent
from reporting.evidence import Evidence
from reporting.page.document import Block, Column, Paragraph, Picture, Table
from reporting.statistics import CONFIDENCE
from search.words import listed

_WORDS: Final = ("batch_norm", "dropout")
_MOST_PANELS: Final = 6
# The test's p-value is an approximation for groups of about five or more.
_LEAST_GROUP: Final = 5
_RATES: Final = ((0.0, "0"), (0.2, "up to 0.2"), (0.35, "0.2 to 0.35"), (1.0, "above 0.35"))


def covers(name: str) -> bool:
    """Return whether a hyperparameter belongs to this chapter."""
    return any(word in name for word in _WORDS)


def blocks(evidence: Evidence) -> list[Block]:
    """Accuracy of complete trials by each such hyperparameter, and a test of each."""
    record = evidence.record
    values = record.complete["value"].dropna().astype(float)
    groups = {
        name: _groups(dimension, record.params.loc[values.index, name])
        for name, dimension in dimensions(record).items()
        if covers(name)
    }
    groups = {name: found for name, found in groups.items() if found.places.notna().any()}
    if not groups:
        return [
            Paragraph(
                "No complete trial has a hyperparameter with batch_norm or dropout in its name, "
                "so there is nothing to compare."
            )
        ]
    tests = _tests(values, groups)
    known = dimensions(record)
    shown = [known[name] for name in list(groups)[:_MOST_PANELS]]
    picture = Picture(
        name="regularization",
        finding=_finding(tests),
        caption="Complete trials; short lines: medians; star: the best trial. The other "
        "hyperparameters vary as well, and the sampler favours what did well early, so a "
        "difference is no proof of a cause." + below_words(points_below(record, shown)),
        draw=lambda width: draw_slices(width, record, shown),
    )
    return [picture, _tests_table(tests), _groups_table(values, groups, record.measure)]


@dataclass(frozen=True, slots=True)
class _Groups:
    """Groups of trials by the value of a hyperparameter.

    Args:
        places: By trial, the place of its group among all; NaN where the trial is in none.
        labels: What the groups are called, in order; two may be called the same.
    """

    places: pd.Series
    labels: Sequence[str]


def _groups(dimension: Dimension, params: pd.Series) -> _Groups:
    if not dimension.numeric:
        return _Groups(*dimension.cells(params))
    edges = [-np.inf, *(edge + 1e-9 for edge, _ in _RATES[:-1]), np.inf]
    return _Groups(
        pd.cut(params.astype(float), edges, labels=False), [label for _, label in _RATES]
    )


def _tests(values: pd.Series, groups: Mapping[str, _Groups]) -> pd.DataFrame:
    """Kruskal-Wallis of each hyperparameter over its groups of five or more, corrected by Holm."""
    rows = []
    for name, group in groups.items():
        parts = [part.to_numpy(float) for _, part in values.groupby(group.places)]
        parts = [part for part in parts if len(part) >= _LEAST_GROUP]
        testable = len(parts) > 1 and len(np.unique(np.concatenate(parts))) > 1
        found = kruskal(*parts) if testable else None
        rows.append(
            {
                "hyperparameter": name,
                "groups": len(parts),
                "n": sum(map(len, parts)),
                "H": float(found.statistic) if found else np.nan,
                "p": float(found.pvalue) if found else np.nan,
            }
        )
    tests = pd.DataFrame(rows)
    tested = tests["p"].notna()
    tests["p Holm"] = np.nan
    if tested.any():
        tests.loc[tested, "p Holm"] = multipletests(tests.loc[tested, "p"], method="holm")[1]
    return tests


def _finding(tests: pd.DataFrame) -> str:
    if tests["p"].isna().all():
        return f"Too few complete trials to test: no two groups have {_LEAST_GROUP}"
    different = tests[tests["p Holm"] < 1 - CONFIDENCE]
    if different.empty:
        return "No significant difference by batch normalization or dropout"
    return f"Accuracy differs by {listed(different['hyperparameter'].tolist())}"


def _tests_table(tests: pd.DataFrame) -> Table:
    return Table(
        name="regularization-tests",
        caption=f"Kruskal-Wallis tests between groups of {_LEAST_GROUP} or more complete trials; "
        "a dash: fewer than two such groups, or all accuracies equal",
        columns=[
            Column("hyperparameter", "hyperparameter"),
            Column("groups", "groups"),
            Column("n", "n"),
            Column("H", "H", format=".2f"),
            Column("p", "p", format=".3g"),
            Column("p Holm", "p (Holm)", format=".3g"),
        ],
        items=tests,
    )


def _groups_table(values: pd.Series, groups: Mapping[str, _Groups], measure: str) -> Table:
    frames = []
    for name, group in groups.items():
        frame = values.groupby(group.places).agg(["size", "median", "max"])
        labels = [group.labels[int(place)] for place in frame.index]
        frames.append(frame.assign(group=labels, hyperparameter=name))
    return Table(
        name="regularization-groups",
        caption=f"{measure.capitalize()} of complete trials by group",
        columns=[
            Column("hyperparameter", "hyperparameter"),
            Column("group", "group"),
            Column("complete trials", "complete trials", lambda item: item["size"]),
            Column("median", "median", format=percent),
            Column("best", "best", lambda item: item["max"], percent),
        ],
        items=pd.concat(frames, ignore_index=True),
        fold=True,
    )

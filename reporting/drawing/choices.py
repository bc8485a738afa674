"""Batch normalization and dropout compared, for the chapter on what mattered."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy.stats import kruskal
from statsmodels.stats.multitest import multipletests

from reporting.dimensions import Dimension, brief, short
from reporting.drawing.axes import (
    below_words,
    lower_end,
    scatter_accuracies,
    set_accuracy_axis,
)
from reporting.drawing.style import BLUE, MISSING, ORANGE, listed, new_figure, percent, plain
from reporting.page.document import Block, Paragraph, Picture, Table
from reporting.statistics import CONFIDENCE
from reporting.study_tables import Record

_WORDS: Final = ("batch_norm", "dropout")
_MOST_PANELS: Final = 6
# The test's p-value is an approximation for groups of about five or more.
_LEAST_GROUP: Final = 5
_RATES: Final = ((0.0, "0"), (0.2, "up to 0.2"), (0.35, "0.2 to 0.35"), (1.0, "above 0.35"))


def choice_blocks(record: Record, known: Mapping[str, Dimension]) -> list[Block]:
    """Accuracy of complete trials by placement of batch normalization and by dropout rate.

    Args:
        record: The search.
        known: The study's hyperparameters by name.
    """
    values = record.complete["value"].dropna().astype(float)
    groups = {
        name: _groups(dimension, record.params.loc[values.index, name])
        for name, dimension in known.items()
        if any(word in name for word in _WORDS)
    }
    groups = {name: found for name, found in groups.items() if found.notna().any()}
    if not groups:
        return [
            Paragraph(
                "No complete trial has a hyperparameter on batch normalization or dropout "
                "(batch_norm or dropout in its name), so these are not compared."
            )
        ]
    tests = _tests(values, groups)
    return [_picture(values, groups, tests), _table(values, groups), _test_table(tests)]


def _groups(dimension: Dimension, params: pd.Series) -> pd.Series:
    """The group of each trial as an ordered category; missing where nothing was asked."""
    if not dimension.numeric:
        labels = [short(choice) for choice in dimension.choices]
        cells, _ = dimension.cells(params)
        codes = cells.fillna(-1).astype(int)
        unique = list(dict.fromkeys(labels))
        named = [labels[code] if code >= 0 else None for code in codes]
        return pd.Series(pd.Categorical(named, categories=unique), index=params.index)
    rates = params.astype(float)
    edges = [-np.inf, *(edge + 1e-9 for edge, _ in _RATES[:-1]), np.inf]
    return pd.cut(rates, edges, labels=[label for _, label in _RATES])


def _tests(values: pd.Series, groups: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Kruskal-Wallis of each hyperparameter over its groups of five or more, corrected by Holm."""
    rows = []
    for name, group in groups.items():
        parts = [part.to_numpy(float) for _, part in values.groupby(group, observed=True)]
        parts = [part for part in parts if len(part) >= _LEAST_GROUP]
        told = len(parts) > 1 and len(np.unique(np.concatenate(parts))) > 1
        found = kruskal(*parts) if told else None
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
    told = tests["p"].notna()
    tests["p Holm"] = np.nan
    if told.any():
        tests.loc[told, "p Holm"] = multipletests(tests.loc[told, "p"], method="holm")[1]
    return tests


def _finding(tests: pd.DataFrame) -> str:
    known = tests.dropna(subset="p")
    if known.empty:
        return (
            "Too few complete trials to compare batch normalization and dropout: no two groups "
            f"have {_LEAST_GROUP}"
        )
    shown = known[known["p Holm"] < 1 - CONFIDENCE]
    if shown.empty:
        return "Accuracy is not shown to differ by batch normalization or dropout"
    return f"Accuracy differs by {listed(shown['hyperparameter'].tolist())}"


def _picture(values: pd.Series, groups: Mapping[str, pd.Series], tests: pd.DataFrame) -> Picture:
    shown = dict(list(groups.items())[:_MOST_PANELS])
    low, high = lower_end(values), float(values.max())
    rows = (len(shown) + 1) // 2
    figure, _ = new_figure(0.6 + 2.3 * rows, nrows=rows, ncols=2, squeeze=False, sharey=True)
    below = 0
    for axes, (name, group) in zip(figure.axes, shown.items(), strict=False):
        below += _panel(axes, name, values, group, low)
        set_accuracy_axis(axes, low, high)
    for axes in figure.axes[len(shown) :]:
        axes.set_axis_off()
    for axes in figure.axes[: len(shown) : 2]:
        axes.set_ylabel("validation accuracy")
    return Picture(
        name="importance-choices",
        finding=_finding(tests),
        caption="Complete trials by placement of batch normalization and by dropout rate; lines: "
        "medians. Other hyperparameters vary as well, and the sampler favours what did well "
        "early, so this shows what goes along with accuracy, not what causes it."
        + below_words(below),
        figure=figure,
    )


def _panel(axes: Axes, name: str, values: pd.Series, group: pd.Series, low: float) -> int:
    have = group.dropna()
    codes = have.cat.codes
    y = values.loc[have.index]
    x = codes + np.random.default_rng(0).uniform(-0.2, 0.2, len(codes))
    below = scatter_accuracies(
        axes, x.to_numpy(float), y.to_numpy(float), low, color=BLUE, alpha=0.5
    )
    labels = []
    for code, label in enumerate(have.cat.categories):
        part = y[codes == code]
        labels.append(f"{label}\nn = {len(part)}")
        if len(part):
            axes.hlines(part.median(), code - 0.35, code + 0.35, color=ORANGE, linewidth=2.5)
    axes.set_xticks(range(len(labels)), labels, fontsize=7)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.set_title(brief(name, 40), fontsize=9)
    plain(axes)
    return below


def _table(values: pd.Series, groups: Mapping[str, pd.Series]) -> Table:
    frames = [
        values.groupby(group, observed=True)
        .agg(["size", "median", "max"])
        .rename_axis("group")
        .reset_index()
        .assign(hyperparameter=name)
        for name, group in groups.items()
    ]
    raw = pd.concat([frame.astype({"group": object}) for frame in frames], ignore_index=True)
    raw = raw[["hyperparameter", "group", "size", "median", "max"]].rename(
        columns={"size": "complete trials", "max": "best"}
    )
    shown = raw.assign(
        median=[percent(value) for value in raw["median"]],
        best=[percent(value) for value in raw["best"]],
    )
    return Table(
        name="importance-choices",
        caption="Validation accuracy by batch normalization and dropout",
        shown=shown,
        values=raw,
        fold=True,
    )


def _test_table(tests: pd.DataFrame) -> Table:
    columns = {"H": "{:.2f}", "p": "{:.3g}", "p Holm": "{:.3g}"}
    shown = tests.assign(
        **{
            name: [form.format(value) if np.isfinite(value) else MISSING for value in tests[name]]
            for name, form in columns.items()
        }
    )
    return Table(
        name="importance-tests",
        caption=f"Kruskal-Wallis tests between the groups of {_LEAST_GROUP} or more complete "
        "trials, and p corrected by Holm for their number; a dash: fewer than two such groups, "
        "or all accuracies equal",
        shown=shown,
        values=tests,
    )

"""How well each class is told from the others."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from statsmodels.stats.proportion import proportion_confint

from reporting.drawing.style import MISSING, new_figure, percent
from reporting.evidence import Evidence, Row
from reporting.page.document import Block, Paragraph, Picture, Table
from reporting.statistics import CONFIDENCE
from search.data.classes import CLASS_NAMES

_CLASSES: Final = list(range(len(CLASS_NAMES)))
_PAIRS: Final = 3
Matrix = npt.NDArray[np.float64]


def blocks(evidence: Evidence) -> list[Block]:
    """Precision, recall and confusions of the tuned configuration."""
    tuned = evidence.tuned
    written: list[Block] = (
        [Paragraph(evidence.no_test_results)]
        if tuned is None
        else [
            _table(tuned),
            Paragraph(_confused_pairs(tuned)),
            _confusion_picture(tuned),
            _difference(tuned, evidence.best_baseline),
        ]
    )
    return written


def _table(row: Row) -> Table:
    values = _scores(row)
    interval = [
        MISSING if np.isnan(low) else f"{100 * low:.1f} to {100 * high:.1f} %"
        for low, high in zip(values["recall low"], values["recall high"], strict=True)
    ]
    shown = pd.DataFrame(
        {
            "class": values["class"],
            "precision": [percent(value, 1) for value in values["precision"]],
            "recall": [percent(value, 1) for value in values["recall"]],
            "95 % interval of recall": interval,
            "F1": [percent(value, 1) for value in values["F1"]],
            "support": [f"{count:,}" for count in values["support"]],
        }
    )
    return Table(
        name="classes-scores",
        caption=(
            f"Test images of each class, {_means(row)}. The interval is Wilson's, over the "
            "images of the class at the mean recall. Support: images of the class."
        ),
        shown=shown,
        values=values,
    )


def _scores(row: Row) -> pd.DataFrame:
    each = [
        precision_recall_fscore_support(row.labels, given, labels=_CLASSES, zero_division=np.nan)
        for given in row.probabilities.argmax(axis=2)
    ]
    precision, recall, f1 = np.mean([scores[:3] for scores in each], axis=0)
    support = np.asarray(each[0][3])
    bounds = [
        proportion_confint(mean * count, count, alpha=1 - CONFIDENCE, method="wilson")
        if count
        else (np.nan, np.nan)
        for mean, count in zip(recall, support, strict=True)
    ]
    return pd.DataFrame(
        {
            "class": CLASS_NAMES,
            "precision": precision,
            "recall": recall,
            "recall low": [low for low, _ in bounds],
            "recall high": [high for _, high in bounds],
            "F1": f1,
            "support": support,
        }
    )


def _means(row: Row) -> str:
    count = len(row.probabilities)
    return f"mean over n = {count} seeds" if count > 1 else "one seed (n = 1)"


def _confusion(row: Row, normalize: str | None) -> Matrix:
    """Mean over the seeds; one row for each true class, one column for each given label."""
    each = [
        confusion_matrix(row.labels, given, labels=_CLASSES, normalize=normalize)
        for given in row.probabilities.argmax(axis=2)
    ]
    return np.asarray(np.mean(each, axis=0), np.float64)


def _confused_pairs(row: Row) -> str:
    counts = _confusion(row, None)
    both = np.triu(counts + counts.T, k=1)
    order = np.argsort(both, axis=None, kind="stable")[::-1][:_PAIRS]
    pairs = [np.unravel_index(index, both.shape) for index in order if both.flat[index] > 0]
    if not pairs:
        return "No image was taken for another class."
    words = [
        f"{CLASS_NAMES[a]} and {CLASS_NAMES[b]}: {both[a, b]:.3g} images ({counts[a, b]:.3g} of "
        f"{CLASS_NAMES[a]} taken for {CLASS_NAMES[b]}, {counts[b, a]:.3g} the other way)"
        for a, b in pairs
    ]
    return f"Most often confused, {_means(row)}: {'; '.join(words)}."


def _confusion_picture(row: Row) -> Picture:
    shares = 100 * _confusion(row, "true")
    recall = np.diag(shares)
    present = np.bincount(row.labels, minlength=len(CLASS_NAMES)) > 0
    worst = int(np.argmin(np.where(present, recall, np.inf)))
    wrong = np.where(np.arange(len(CLASS_NAMES)) == worst, -1, shares[worst])
    finding = f"{CLASS_NAMES[worst]} is recognised least often: {recall[worst]:.1f} %"
    if wrong.max() > 0:
        finding += f"; {wrong.max():.1f} % are taken for {CLASS_NAMES[int(np.argmax(wrong))]}"
    return Picture(
        name="classes-confusion",
        finding=finding,
        caption=(
            f"Of the images of a row's class, the percentage given a column's label, {_means(row)}."
            " Empty: below 0.05. The shade grows with the square root, to show small shares."
        ),
        figure=_heat_map(shares, ".1f", PowerNorm(0.5, vmin=0, vmax=100), "Blues"),
    )


def _difference(tuned: Row, baseline: Row | None) -> Block:
    if baseline is None:
        return Paragraph("No baseline has test results, so there is no difference to show.")
    change = 100 * (_confusion(tuned, "true") - _confusion(baseline, "true"))
    recall = np.diag(change)
    most = int(np.argmax(np.abs(recall)))
    # Colours stay weak where nothing differs by a point.
    limit = max(1.0, float(np.abs(change).max()))
    return Picture(
        name="classes-difference",
        finding=(
            f"Against {baseline.name}, the best baseline, recall differs most for "
            f"{CLASS_NAMES[most]}: {recall[most]:+.1f} points"
        ),
        caption=(
            f"The matrix above minus that of {baseline.name} (n = {baseline.accuracy.n}), in "
            "points: on the diagonal more is better, elsewhere less. Empty: below 0.05 either way."
        ),
        figure=_heat_map(change, "+.1f", Normalize(-limit, limit), "PuOr_r"),
    )


def _heat_map(matrix: Matrix, form: str, norm: Normalize, colors: str) -> Figure:
    figure, axes = new_figure(5.4)
    axes.grid(False)
    colormap = colormaps[colors]
    axes.imshow(matrix, cmap=colormap, norm=norm, aspect="auto")
    axes.set_xticks(_CLASSES, CLASS_NAMES, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(_CLASSES, CLASS_NAMES)
    axes.set(xlabel="given label", ylabel="true class")
    for (row, column), value in np.ndenumerate(matrix):
        if abs(value) < 0.05:
            continue
        shade = np.dot(colormap(norm(value))[:3], (0.299, 0.587, 0.114))
        color = "white" if shade < 0.5 else "black"
        axes.text(column, row, f"{value:{form}}", ha="center", va="center", color=color, fontsize=9)
    return figure

"""Class by class: precision and recall, and which classes are confused."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap, Normalize, PowerNorm
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from statsmodels.stats.proportion import proportion_confint

from reporting.drawing.style import (
    GROUND,
    SHADES,
    WORSE_TO_BETTER,
    is_narrow,
    new_figure,
    percent,
)
from reporting.evidence import Evidence, Row
from reporting.page.document import Block, Column, Paragraph, Picture, Table
from reporting.statistics import CONFIDENCE
from search.data.classes import CLASS_NAMES

_CLASSES: Final = list(range(len(CLASS_NAMES)))
_CENTRES: Final = [label + 0.5 for label in _CLASSES]
_PAIRS: Final = 3
Matrix = npt.NDArray[np.float64]


def blocks(evidence: Evidence) -> list[Block]:
    """Precision, recall and confusions of the tuned configuration."""
    tuned = evidence.tuned
    if tuned is None:
        return [Paragraph(evidence.no_test_results)]
    return [
        _table(tuned),
        Paragraph(_confused_pairs(tuned)),
        _confusion_picture(tuned),
        _difference(tuned, evidence.best_baseline),
    ]


def _table(row: Row) -> Table:
    def share(name: str) -> Column:
        return Column(name, name, format=lambda value: percent(value, 1))

    return Table(
        name="classes-scores",
        caption=f"Test images by class, {_means(row)}",
        note="The interval is Wilson's, over the images of the class at the mean recall.",
        columns=[
            Column("class", "class"),
            share("precision"),
            share("recall"),
            Column("recall low"),
            Column("recall high"),
            Column(
                None,
                "95 % interval of recall",
                lambda scores: None if np.isnan(scores["recall low"]) else scores,
                lambda scores: (
                    f"{100 * scores['recall low']:.1f} to {100 * scores['recall high']:.1f} %"
                ),
            ),
            share("F1"),
            Column("support", "images", format=","),
        ],
        items=_scores(row),
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
    """Return the mean over the seeds, with rows by true and columns by predicted class."""
    each = [
        confusion_matrix(row.labels, given, labels=_CLASSES, normalize=normalize)
        for given in row.probabilities.argmax(axis=2)
    ]
    return np.asarray(np.mean(each, axis=0), np.float64)


def _confused_pairs(row: Row) -> str:
    counts = _confusion(row, None).round(1)
    both = np.triu(counts + counts.T, k=1).round(1)
    order = np.argsort(both, axis=None, kind="stable")[::-1][:_PAIRS]
    pairs = [np.unravel_index(index, both.shape) for index in order if both.flat[index] > 0]
    if not pairs:
        return "No image was taken for another class."
    words = [
        f"{CLASS_NAMES[a]} and {CLASS_NAMES[b]}, {both[a, b]:g} images ({counts[a, b]:g} of "
        f"{CLASS_NAMES[a]} taken for {CLASS_NAMES[b]}, {counts[b, a]:g} the other way)"
        for a, b in pairs
    ]
    return f"Most often confused, {_means(row)}: {'; '.join(words)}."


def _confusion_picture(row: Row) -> Picture:
    shares = 100 * _confusion(row, "true")
    recall = np.diag(shares)
    present = np.bincount(row.labels, minlength=len(CLASS_NAMES)) > 0
    worst = int(np.argmin(np.where(present, recall, np.inf)))
    wrong = np.where(np.arange(len(CLASS_NAMES)) == worst, -1, shares[worst])
    finding = f"{CLASS_NAMES[worst]} has the lowest recall, {recall[worst]:.1f} %"
    if wrong.max() > 0:
        finding += f"; {wrong.max():.1f} % are taken for {CLASS_NAMES[int(np.argmax(wrong))]}"
    return Picture(
        name="classes-confusion",
        finding=finding,
        caption=(
            f"Percentage of the images of each true class (row) by predicted class, {_means(row)}."
            " Empty: below 0.05. Shades grow with the square root, to show small shares."
        ),
        draw=lambda width: _heat_map(
            width, shares, "", PowerNorm(0.5, vmin=0, vmax=100), SHADES, shares
        ),
    )


def _difference(tuned: Row, baseline: Row | None) -> Block:
    if baseline is None:
        return Paragraph("No baseline has test results, so there is no difference to show.")
    change = 100 * (_confusion(tuned, "true") - _confusion(baseline, "true"))
    # More is better on the diagonal, less is better elsewhere.
    better = np.where(np.eye(len(change), dtype=bool), change, -change)
    recall = np.diag(change)
    most = int(np.argmax(np.abs(recall)))
    # Colours stay weak where nothing differs by a point.
    limit = max(1.0, float(np.abs(change).max()))
    return Picture(
        name="classes-difference",
        finding=(
            f"Recall differs most from {baseline.name}, the best baseline, for "
            f"{CLASS_NAMES[most]}: {recall[most]:+.1f} points"
        ),
        caption=(
            f"The matrix above minus that of {baseline.name} (n = {baseline.accuracy.n}), in "
            f"points. Blue: {tuned.name} is better (more on the diagonal, less elsewhere); "
            "orange: worse. Empty: below 0.05 either way."
        ),
        draw=lambda width: _heat_map(
            width, change, "+", Normalize(-limit, limit), WORSE_TO_BETTER, better
        ),
    )


def _heat_map(
    width: float,
    matrix: Matrix,
    sign: str,
    norm: Normalize,
    colormap: LinearSegmentedColormap,
    shades: Matrix,
) -> Figure:
    narrow = is_narrow(width)
    figure, axes = new_figure(width, 4.4 if narrow else 5.4)
    axes.grid(False)
    axes.pcolormesh(shades, cmap=colormap, norm=norm, edgecolors=GROUND, linewidth=0.5)
    axes.invert_yaxis()
    slant = 60 if narrow else 30
    axes.set_xticks(_CENTRES, CLASS_NAMES, rotation=slant, ha="right", rotation_mode="anchor")
    axes.set_yticks(_CENTRES, CLASS_NAMES)
    axes.set(xlabel="predicted class", ylabel="true class")
    for (row, column), value in np.ndenumerate(matrix):
        if abs(value) < 0.05:
            continue
        axes.text(
            column + 0.5,
            row + 0.5,
            f"{value:{sign}.{0 if narrow and abs(value) >= 9.95 else 1}f}",
            ha="center",
            va="center",
            fontsize=8,
        )
    return figure

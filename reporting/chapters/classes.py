"""Class by class: precision and recall, and which classes are confused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap, Normalize, PowerNorm
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from statsmodels.stats.proportion import proportion_confint

from reporting.dimensions import brief
from reporting.drawing.images import MOST_CLASSES
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

_PAIRS: Final = 3
_LONGEST_NAME: Final = 20
Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def blocks(evidence: Evidence) -> list[Block]:
    """Precision, recall and confusions of the tuned configuration."""
    tuned = evidence.tuned
    if tuned is None:
        return [Paragraph(evidence.no_test_results)]
    names = evidence.dataset.class_names
    shown = most_confused(tuned, len(names))
    written: list[Block] = [
        _table(tuned, names),
        Paragraph(_confused_pairs(tuned, names)),
        _confusion_picture(tuned, names, shown),
    ]
    if evidence.has_baselines:
        written.append(_difference(tuned, evidence.best_baseline, names, shown))
    return written


def most_confused(row: Row, classes: int) -> Labels:
    """Return the labels of the classes with the most mistakes, at most 20, in their own order.

    A mistake counts for both its classes: the true one, and the one that the image is taken for.
    """
    counts = _confusion(row, None, classes)
    mistakes = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    order = np.argsort(-mistakes, kind="stable")[:MOST_CLASSES]
    return np.sort(order)


def _table(row: Row, names: Sequence[str]) -> Table:
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
        items=_scores(row, names),
        fold=len(names) > MOST_CLASSES,
    )


def _scores(row: Row, names: Sequence[str]) -> pd.DataFrame:
    each = [
        precision_recall_fscore_support(
            row.labels, given, labels=range(len(names)), zero_division=np.nan
        )
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
            "class": list(names),
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


def _confusion(row: Row, normalize: str | None, classes: int) -> Matrix:
    """Return the mean over the seeds, with rows by true and columns by predicted class."""
    each = [
        confusion_matrix(row.labels, given, labels=range(classes), normalize=normalize)
        for given in row.probabilities.argmax(axis=2)
    ]
    return np.asarray(np.mean(each, axis=0), np.float64)


def _confused_pairs(row: Row, names: Sequence[str]) -> str:
    counts = _confusion(row, None, len(names)).round(1)
    both = np.triu(counts + counts.T, k=1).round(1)
    order = np.argsort(both, axis=None, kind="stable")[::-1][:_PAIRS]
    pairs = [np.unravel_index(index, both.shape) for index in order if both.flat[index] > 0]
    if not pairs:
        return "No image was taken for another class."
    words = [
        f"{names[a]} and {names[b]}, {both[a, b]:g} images ({counts[a, b]:g} of "
        f"{names[a]} taken for {names[b]}, {counts[b, a]:g} the other way)"
        for a, b in pairs
    ]
    return f"Most often confused, {_means(row)}: {'; '.join(words)}."


def _confusion_picture(row: Row, names: Sequence[str], shown: Labels) -> Picture:
    shares = 100 * _confusion(row, "true", len(names))
    recall = np.diag(shares)
    present = np.bincount(row.labels, minlength=len(names)) > 0
    worst = int(np.argmin(np.where(present, recall, np.inf)))
    wrong = np.where(np.arange(len(names)) == worst, -1, shares[worst])
    finding = f"{names[worst]} has the lowest recall, {recall[worst]:.1f} %"
    if wrong.max() > 0:
        finding += f"; {wrong.max():.1f} % are taken for {names[int(np.argmax(wrong))]}"
    return Picture(
        name="classes-confusion",
        finding=finding,
        caption=(
            f"Percentage of the images of each true class (row) by predicted class, {_means(row)}."
            f"{_left_out(names, shown)} Empty: below 0.05. Shades grow with the square root, to "
            "show small shares."
        ),
        draw=lambda width: _heat_map(
            width,
            _Cells(shares, shares, names, shown),
            "",
            PowerNorm(0.5, vmin=0, vmax=100),
            SHADES,
        ),
    )


def _left_out(names: Sequence[str], shown: Labels) -> str:
    if len(shown) == len(names):
        return ""
    return f" Only the {len(shown)} of {len(names)} classes with the most mistakes are drawn."


def _difference(tuned: Row, baseline: Row | None, names: Sequence[str], shown: Labels) -> Block:
    if baseline is None:
        return Paragraph("No baseline has test results, so there is no difference to show.")
    change = 100 * (
        _confusion(tuned, "true", len(names)) - _confusion(baseline, "true", len(names))
    )
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
            f"{names[most]}: {recall[most]:+.1f} points"
        ),
        caption=(
            f"The matrix above minus that of {baseline.name} (n = {baseline.accuracy.n}), in "
            f"points. Blue: {tuned.name} is better (more on the diagonal, less elsewhere); "
            f"orange: worse.{_left_out(names, shown)} Empty: below 0.05 either way."
        ),
        draw=lambda width: _heat_map(
            width,
            _Cells(change, better, names, shown),
            "+",
            Normalize(-limit, limit),
            WORSE_TO_BETTER,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Cells:
    """What a heat map shows.

    Args:
        values: (classes, classes), written in the cells.
        shades: (classes, classes), their colours.
        names: Names of all classes.
        labels: Those that are drawn.
    """

    values: Matrix
    shades: Matrix
    names: Sequence[str]
    labels: Labels


def _heat_map(
    width: float, cells: _Cells, sign: str, norm: Normalize, colormap: LinearSegmentedColormap
) -> Figure:
    narrow = is_narrow(width)
    drawn = np.ix_(cells.labels, cells.labels)
    names = [brief(cells.names[label], _LONGEST_NAME) for label in cells.labels]
    count = len(names)
    height = max(4.4, 0.18 * count + 1.4) if narrow else max(5.4, 0.3 * count + 1.4)
    figure, axes = new_figure(width, height)
    axes.grid(False)
    axes.pcolormesh(cells.shades[drawn], cmap=colormap, norm=norm, edgecolors=GROUND, linewidth=0.5)
    axes.invert_yaxis()
    slant = 60 if narrow else 30
    centres = np.arange(count) + 0.5
    axes.set_xticks(centres, names, rotation=slant, ha="right", rotation_mode="anchor")
    axes.set_yticks(centres, names)
    axes.set(xlabel="predicted class", ylabel="true class")
    # In points: numbers of three digits that fit their cells.
    size = min(8.0, 72 * (width - 1.5) / count / 2.2)
    for (row, column), value in np.ndenumerate(cells.values[drawn]):
        if abs(value) < 0.05:
            continue
        axes.text(
            column + 0.5,
            row + 0.5,
            f"{value:{sign}.{0 if narrow and abs(value) >= 9.95 else 1}f}",
            ha="center",
            va="center",
            fontsize=size,
        )
    return figure

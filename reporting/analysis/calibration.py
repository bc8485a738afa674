"""Whether a model is right as often as it is sure."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from sklearn.calibration import calibration_curve

from reporting.drawing.style import BLUE, GREY, ORANGE, new_figure
from reporting.evidence import Row
from reporting.statistics import Booleans, Floats

BINS: Final = 15
_FEW_IMAGES: Final = 30


def calibration_error(confidence: Floats, correct: Booleans) -> float:
    """Expected calibration error: mean of |accuracy - mean confidence| of 15 bins.

    Bins are of equal width and weighted by their images.

    Args:
        confidence: (n,), the highest probability for each image.
        correct: (n,), whether its class is the true one.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    bins = _bins(confidence)
    surplus = np.bincount(bins, weights=correct - confidence, minlength=BINS)
    return float(np.abs(surplus).sum() / len(confidence))


def row_calibration_error(row: Row) -> float:
    """The error of each seed's model, averaged."""
    confidence = row.probabilities.max(axis=2)
    pairs = zip(confidence, row.correct, strict=True)
    return float(np.mean([calibration_error(*pair) for pair in pairs]))


def draw_reliability(rows: Sequence[Row]) -> Figure:
    """Accuracy by confidence, and below it how many images have that confidence.

    Args:
        rows: One or two, with test results; the seeds of a row are taken together.
    """
    figure, (upper, lower) = new_figure(5.6, nrows=2, sharex=True, height_ratios=(3, 1))
    upper.plot((0, 1), (0, 1), color=GREY, linestyle=":", label="as often right as sure")
    edges = np.linspace(0, 1, BINS + 1)
    styles = ((BLUE, "o", "-"), (ORANGE, "s", "--"))
    for row, (color, marker, line) in zip(rows, styles, strict=False):
        confidence, correct = row.probabilities.max(axis=2).ravel(), row.correct.ravel()
        right, sure = calibration_curve(correct, confidence, n_bins=BINS, strategy="uniform")
        counts = np.bincount(_bins(confidence), minlength=BINS)
        # The curve leaves empty bins out.
        few = counts[counts > 0] < _FEW_IMAGES * len(row.probabilities)
        upper.plot(sure, right, color=color, linestyle=line)
        upper.plot(sure[~few], right[~few], color=color, marker=marker, linestyle="")
        upper.plot(sure[few], right[few], color=color, marker=marker, linestyle="", mfc="white")
        upper.plot([], [], color=color, marker=marker, linestyle=line, label=row.name)
        lower.stairs(counts / counts.sum(), edges, color=color, linestyle=line, linewidth=1.5)
    upper.legend(loc="lower right")
    upper.set_ylabel("images that are right")
    lower.set(xlabel="probability of the given label", ylabel="share of images", xlim=(0, 1))
    lower.set_yscale("log")
    lower.set_ylim(top=1)
    lower.yaxis.set_minor_formatter(NullFormatter())
    for axis in (upper.yaxis, lower.yaxis, lower.xaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    return figure


def _bins(confidence: Floats) -> npt.NDArray[np.int64]:
    edges = np.linspace(0, 1, BINS + 1)[1:-1]
    return np.asarray(np.digitize(confidence, edges, right=True), np.int64)

"""Mistakes and confidence: the most confident mistakes, the constant ones, and calibration."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from sklearn.calibration import calibration_curve

from reporting.dimensions import brief
from reporting.drawing.images import draw_image
from reporting.drawing.style import (
    BLUE,
    GREY,
    GROUND,
    ORANGE,
    VERMILION,
    is_narrow,
    new_figure,
    percent,
)
from reporting.evidence import Evidence, Row
from reporting.page.document import Block, Paragraph, Picture
from reporting.statistics import Booleans, Floats
from search.data.dataset import Bytes, LabeledImages
from search.words import counted, listed

_MOST_CONFIDENT: Final = 18
_ALWAYS_WRONG: Final = 12
_COLUMNS: Final = 6
_NARROW_COLUMNS: Final = 3
_GAP: Final = 0.06
# Height of the three lines above an image, in widths of an image.
_TEXT_HEIGHT: Final = 0.42
# Letters above an image in normal size, and at most.
_SHORT_LINE: Final = 20
_LONGEST_LINE: Final = 22
_BINS: Final = 15
_FEW_IMAGES: Final = 30
Numbers = npt.NDArray[np.int64]


def blocks(evidence: Evidence) -> list[Block]:
    """Mistakes of the tuned configuration, and how far its probabilities can be trusted."""
    tuned, test = evidence.tuned, evidence.test
    if tuned is None or test is None:
        return [Paragraph(evidence.no_test_results)]
    return [
        _confident(tuned, test, evidence.dataset.class_names),
        _always_wrong(tuned, test, evidence.dataset.class_names),
        *_calibration(tuned, evidence.best_baseline),
        *_temperature(tuned),
    ]


# Mistakes


def _confident(row: Row, test: LabeledImages, names: Sequence[str]) -> Block:
    mistakes = _mistakes(row)
    if not len(mistakes):
        return Paragraph(
            f"{_number_wrong(row)}. With probabilities averaged over the seeds, every test image "
            "is classified correctly."
        )
    shown = mistakes[:_MOST_CONFIDENT]
    first, mean = int(shown[0]), row.probabilities.mean(axis=0)
    count = len(row.probabilities)
    means = f", mean over n = {count} models" if count > 1 else ""
    return Picture(
        name="mistakes-confident",
        finding=f"{_number_wrong(row)}; the most confident mistake takes "
        f"{names[row.labels[first]]} for {names[mean[first].argmax()]} with "
        f"{percent(float(mean[first].max()), 1)}",
        caption=f"The {len(shown)} most confident mistakes: number of the test image, true class, "
        f"predicted class and its probability{means}. Some may be errors of the labels.",
        draw=lambda width: _gallery(width, shown, row, test, names),
    )


def _always_wrong(row: Row, test: LabeledImages, names: Sequence[str]) -> Block:
    count = len(row.probabilities)
    if count == 1:
        return Paragraph("One seed (n = 1) cannot show which images are always wrong.")
    always = np.flatnonzero(~row.correct.any(axis=0))
    ever = int(np.sum(~row.correct.all(axis=0)))
    if not len(always):
        return Paragraph(f"No test image is wrong with all {count} seeds.")
    finding = (
        f"{len(always):,} of {len(row.labels):,} test images are wrong with all {count} seeds, "
        f"{ever - len(always):,} more with some"
    )
    mean = row.probabilities.mean(axis=0)
    surest_first = always[np.argsort(-mean.max(axis=1)[always], kind="stable")]
    rest = surest_first[~np.isin(surest_first, _mistakes(row)[:_MOST_CONFIDENT])]
    if not len(rest):
        return Paragraph(f"{finding}; all of them are shown above.")
    # Evenly spaced, since the first ones would all be sure mistakes.
    picked = np.unique(np.linspace(0, len(rest) - 1, _ALWAYS_WRONG).round().astype(int))
    which = f"{len(picked)} of the" if len(picked) < len(rest) else "The"
    return Picture(
        name="mistakes-always",
        finding=finding,
        caption=f"{which} {len(rest):,} that are not shown above, from the most to the least "
        "confident, with the likeliest wrong class; probabilities are means over the "
        f"{count} seeds.",
        draw=lambda width: _gallery(width, rest[picked], row, test, names),
    )


def _number_wrong(row: Row) -> str:
    """Count the mistakes of one model: the mean of all models would be another row, an ensemble."""
    wrong = (~row.correct).sum(axis=1)
    images = f"of {len(row.labels):,} test images"
    if len(wrong) == 1:
        return f"{wrong[0]:,} {images} are wrong"
    mean = f"{wrong.mean():,.1f}".removesuffix(".0")
    return f"On average over {len(wrong)} seeds {mean} {images} are wrong"


def _mistakes(row: Row) -> Numbers:
    """Return the test images that are wrong by the mean probabilities, the most confident first."""
    mean = row.probabilities.mean(axis=0)
    wrong = np.flatnonzero(mean.argmax(axis=1) != row.labels)
    return wrong[np.argsort(-mean.max(axis=1)[wrong], kind="stable")]


def _gallery(
    width: float, shown: Numbers, row: Row, test: LabeledImages, names: Sequence[str]
) -> Figure:
    mean = row.probabilities.mean(axis=0)[shown]
    # Models that are all wrong, each in its own way, may be right on average.
    mean[np.arange(len(shown)), row.labels[shown]] = 0
    columns = _NARROW_COLUMNS if is_narrow(width) else _COLUMNS
    rows = math.ceil(len(shown) / columns)
    figure, axes = new_figure(width, width / columns * rows * (1 + _TEXT_HEIGHT))
    axes.set_axis_off()
    # One pair of axes for all: a pair for each image takes seconds to lay out.
    for index, (number, wrong) in enumerate(zip(shown, mean, strict=True)):
        row_, column = divmod(index, columns)
        top = row_ * (1 + _TEXT_HEIGHT) + _TEXT_HEIGHT
        draw_image(axes, test.images[number], extent=_extent(test.images[number], column, top))
        text = "\n".join(
            (
                _line(f"no. {number:,}: ", names[row.labels[number]]),
                _line("as ", names[wrong.argmax()]),
                percent(float(wrong.max()), 1),
            )
        )
        size = 8 if max(map(len, text.splitlines())) <= _SHORT_LINE else 7
        axes.text(column + 0.5, top - 0.02, text, ha="center", va="bottom", fontsize=size)
    axes.set(xlim=(0, columns), ylim=(rows * (1 + _TEXT_HEIGHT), 0), aspect="equal")
    return figure


def _line(start: str, class_name: str) -> str:
    return start + brief(class_name, _LONGEST_LINE - len(start))


def _extent(image: Bytes, column: float, top: float) -> tuple[float, float, float, float]:
    """Return left, right, bottom and top of an image in its cell, which keep its proportions."""
    side = 1 - 2 * _GAP
    height, width = (side * size / max(image.shape[:2]) for size in image.shape[:2])
    left, above = column + 0.5 - width / 2, top + (side - height) / 2
    return left, left + width, above + height, above


# Calibration


def calibration_error(confidence: Floats, correct: Booleans) -> float:
    """Return the expected calibration error: mean of |accuracy - mean confidence| over 15 bins.

    Bins have equal width and are weighted by their images.

    Args:
        confidence: (n,), the highest probability for each image.
        correct: (n,), whether its class is the true one.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    surplus = np.bincount(_bins(confidence), weights=correct - confidence, minlength=_BINS)
    return float(np.abs(surplus).sum() / len(confidence))


def _row_error(row: Row) -> float:
    confidence = row.probabilities.max(axis=2)
    pairs = zip(confidence, row.correct, strict=True)
    return float(np.mean([calibration_error(*pair) for pair in pairs]))


def _uncalibrated(tuned: Row) -> Row | None:
    """Return the row at temperature 1; None if it is at that temperature."""
    if tuned.uncalibrated is None:
        return None
    name = f"{tuned.name} at temperature 1"
    return replace(tuned, name=name, probabilities=tuned.uncalibrated, uncalibrated=None)


def _calibration(tuned: Row, baseline: Row | None) -> list[Block]:
    rows = [row for row in (tuned, _uncalibrated(tuned), baseline) if row is not None]
    errors = [
        f"{100 * _row_error(row):.2f} points for {row.name} (n = {len(row.probabilities)})"
        for row in rows
    ]
    sure, right = float(tuned.probabilities.max(axis=2).mean()), tuned.accuracy.mean
    return [
        Picture(
            name="mistakes-reliability",
            finding=f"On average {tuned.name} is {percent(sure)} confident and {percent(right)} "
            f"right: {_in_words(sure - right)}",
            caption="Above: accuracy by predicted probability, all seeds together; below the "
            f"dotted line a model is overconfident. Open markers: fewer than {_FEW_IMAGES} images "
            "for each seed. Below: share of images with that probability, on a log scale.",
            draw=lambda width: _draw_reliability(width, rows),
        ),
        Paragraph(
            f"Expected calibration error (Guo et al. 2017, {_BINS} bins of equal width, mean over "
            f"seeds): {listed(errors)}."
        ),
    ]


def _temperature(tuned: Row) -> list[Block]:
    """Say what the temperature is, what it was fitted on, and what it changed."""
    readout, before = tuned.readout, _uncalibrated(tuned)
    if readout.plain:
        return [
            Paragraph(
                "These probabilities are not calibrated: best_model.keras is the network alone "
                f"({readout.plain})."
            )
        ]
    if before is None:
        return [
            Paragraph(
                f"The temperature stays 1: the likelihood of {readout.images:,} validation images "
                "has no minimum in the range that is searched, as where nearly all of them are "
                "predicted right, or no more than by chance."
            )
        ]
    surplus = float(before.probabilities.max(axis=2).mean()) - before.accuracy.mean
    return [
        Paragraph(
            f"Logits are divided by the temperature {readout.temperature:.3g}. It minimizes the "
            f"negative log-likelihood of {readout.images:,} validation images, predicted by "
            f"{counted(readout.runs, 'training')} of the winner without these images; test images "
            f"played no part. At temperature 1 {tuned.name} was {_in_words(surplus)} on the test "
            "images."
        )
    ]


def _in_words(surplus: float) -> str:
    if abs(surplus) < 0.0005:
        return "well calibrated on average"
    return f"{100 * abs(surplus):.1f} points {'over' if surplus > 0 else 'under'}confident"


def _draw_reliability(width: float, rows: Sequence[Row]) -> Figure:
    figure, (upper, lower) = new_figure(
        width, 4.6 if is_narrow(width) else 5.6, nrows=2, sharex=True, height_ratios=(3, 1)
    )
    upper.plot((0, 1), (0, 1), color=GREY, linestyle=":", label="perfectly calibrated")
    edges = np.linspace(0, 1, _BINS + 1)
    for index, row in enumerate(rows):
        if row.kind == "baseline":
            color, marker, line = ORANGE, "s", "--"
        else:  # the second one is that at temperature 1
            color, marker, line = (VERMILION, "^", "-.") if index else (BLUE, "o", "-")
        confidence, correct = row.probabilities.max(axis=2).ravel(), row.correct.ravel()
        right, sure = calibration_curve(correct, confidence, n_bins=_BINS, strategy="uniform")
        counts = np.bincount(_bins(confidence), minlength=_BINS)
        # The curve leaves empty bins out.
        few = counts[counts > 0] < _FEW_IMAGES * len(row.probabilities)
        upper.plot(sure, right, color=color, linestyle=line)
        upper.plot(sure[~few], right[~few], color=color, marker=marker, linestyle="")
        upper.plot(sure[few], right[few], color=color, marker=marker, linestyle="", mfc=GROUND)
        upper.plot([], [], color=color, marker=marker, linestyle=line, label=row.name)
        lower.stairs(counts / counts.sum(), edges, color=color, linestyle=line, linewidth=1.5)
    upper.legend(loc="lower right")
    upper.set_ylabel("accuracy")
    lower.set(xlabel="probability of the predicted class", ylabel="images", xlim=(0, 1))
    lower.set_yscale("log")
    lower.set_ylim(top=1)
    lower.yaxis.set_minor_formatter(NullFormatter())
    for axis in (upper.yaxis, lower.yaxis, lower.xaxis):
        axis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    return figure


def _bins(confidence: Floats) -> Numbers:
    edges = np.linspace(0, 1, _BINS + 1)[1:-1]
    return np.asarray(np.digitize(confidence, edges, right=True), np.int64)

"""What is wrong most confidently, what always, and how far probabilities can be trusted."""

from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from reporting.analysis.calibration import BINS, draw_reliability, row_calibration_error
from reporting.drawing.gallery import draw_gallery
from reporting.drawing.style import listed, percent
from reporting.evidence import Evidence, Row
from reporting.page.document import Block, Paragraph, Picture
from reporting.scoring import TestSplit
from search.data.classes import CLASS_NAMES

_MOST_CONFIDENT: Final = 18
_ALWAYS_WRONG: Final = 12
Numbers = npt.NDArray[np.int64]


def blocks(evidence: Evidence) -> list[Block]:
    """Mistakes of the tuned configuration, and its calibration."""
    tuned, test = evidence.tuned, evidence.test
    written: list[Block] = (
        [Paragraph(evidence.no_test_results)]
        if tuned is None or test is None
        else [
            *_confident(tuned, test),
            *_always_wrong(tuned, test),
            *_calibration(tuned, evidence.best_baseline),
        ]
    )
    return written


def _confident(row: Row, test: TestSplit) -> list[Block]:
    mistakes = _mistakes(row)
    if not len(mistakes):
        return [
            Paragraph(
                f"{_number_wrong(row)}. By the mean probabilities over the seeds, no test image "
                "is wrong."
            )
        ]
    shown = mistakes[:_MOST_CONFIDENT]
    first = int(shown[0])
    mean = row.probabilities.mean(axis=0)
    sure = percent(float(mean[first].max()), 1)
    count = len(row.probabilities)
    finding = (
        f"{_number_wrong(row)}; the surest mistake is {CLASS_NAMES[row.labels[first]]} taken for "
        f"{CLASS_NAMES[mean[first].argmax()]} with {sure}"
        + (f" (confidences are means over the {count} seeds)" if count > 1 else "")
    )
    return [
        Picture(
            name="mistakes-confident",
            finding=finding,
            caption=(
                f"The {len(shown)} most confident mistakes: number of the test image; true class; "
                f"given label with its probability, the mean over n = {count} "
                "models. Some may be errors of the labels."
            ),
            figure=_gallery(shown, row, test),
        )
    ]


def _number_wrong(row: Row) -> str:
    """Of one model: the mean of all models' probabilities would be another row, an ensemble."""
    wrong = (~row.correct).sum(axis=1)
    images = f"of {len(row.labels):,} test images"
    if len(wrong) == 1:
        return f"{wrong[0]:,} {images} are wrong"
    return f"On average over {len(wrong)} seeds {wrong.mean():,.4g} {images} are wrong"


def _mistakes(row: Row) -> Numbers:
    """Test images that are wrong by the mean probabilities, the surest first."""
    mean = row.probabilities.mean(axis=0)
    wrong = np.flatnonzero(mean.argmax(axis=1) != row.labels)
    return wrong[np.argsort(-mean.max(axis=1)[wrong], kind="stable")]


def _gallery(shown: Numbers, row: Row, test: TestSplit) -> Figure:
    mean = row.probabilities.mean(axis=0)[shown]
    # Models that are all wrong, each in its own way, may be right on average.
    mean[np.arange(len(shown)), row.labels[shown]] = 0
    words = [
        f"no. {number:,}: {CLASS_NAMES[row.labels[number]]}\n"
        f"as {CLASS_NAMES[wrong.argmax()]}\n"
        f"{percent(float(wrong.max()), 1)}"
        for number, wrong in zip(shown, mean, strict=True)
    ]
    return draw_gallery(list(test.images[shown]), words)


def _always_wrong(row: Row, test: TestSplit) -> list[Block]:
    count = len(row.probabilities)
    if count == 1:
        return [Paragraph("With one seed (n = 1) nothing can be said of what is always wrong.")]
    always = np.flatnonzero(~row.correct.any(axis=0))
    ever = int(np.sum(~row.correct.all(axis=0)))
    if not len(always):
        return [Paragraph(f"No test image is wrong under all {count} seeds.")]
    mean = row.probabilities.mean(axis=0)
    surest_first = always[np.argsort(-mean.max(axis=1)[always], kind="stable")]
    already = _mistakes(row)[:_MOST_CONFIDENT]
    rest = surest_first[~np.isin(surest_first, already)]
    finding = (
        f"{len(always):,} of {len(row.labels):,} test images are wrong under all {count} seeds, "
        f"{ever - len(always):,} more under some"
    )
    if not len(rest):
        return [Paragraph(f"{finding}; all of them are shown above.")]
    # Evenly spaced, since the first alone would show sure mistakes only.
    picked = np.unique(np.linspace(0, len(rest) - 1, _ALWAYS_WRONG).round().astype(int))
    return [
        Picture(
            name="mistakes-always",
            finding=finding,
            caption=(
                f"{len(picked)} of the {len(rest):,} that are not shown above, evenly spaced from "
                "the surest to the least sure, with the likeliest wrong label; probabilities are "
                f"means over the {count} seeds."
            ),
            figure=_gallery(rest[picked], row, test),
        )
    ]


def _calibration(tuned: Row, baseline: Row | None) -> list[Block]:
    rows = [tuned] if baseline is None else [tuned, baseline]
    errors = [
        f"{row.name} has {100 * row_calibration_error(row):.2f} points "
        f"(n = {len(row.probabilities)})"
        for row in rows
    ]
    sure = float(tuned.probabilities.max(axis=2).mean())
    right = tuned.accuracy.mean
    blocks: list[Block] = [
        Paragraph(
            f"Expected calibration error (Guo et al. 2017): over {BINS} bins of equal width, the "
            "mean distance of accuracy and mean probability, weighted by the images in the bin; "
            f"computed for each seed, then averaged. {listed(errors)}."
        ),
        Picture(
            name="mistakes-reliability",
            finding=(
                f"On average {tuned.name} is {percent(sure)} sure and {percent(right)} right: "
                f"{_in_words(sure - right)}"
            ),
            caption=(
                "Above: how often labels of a probability are right, all seeds together; below the "
                "dotted line a model is too sure. Open markers: fewer than 30 images for each "
                "seed. Below: how many images have that probability, on a log scale."
            ),
            figure=draw_reliability(rows),
        ),
    ]
    return blocks


def _in_words(surplus: float) -> str:
    if abs(surplus) < 0.0005:
        return "about as sure as right"
    return f"{100 * abs(surplus):.1f} points too {'sure' if surplus > 0 else 'unsure'}"

"""The chapter on mistakes and confidence."""

import dataclasses

import numpy as np
import pytest

from reporting.chapters import classes, mistakes
from reporting.chapters.mistakes import calibration_error
from reporting.evidence import Evidence
from search.data.classes import FASHION_CLASSES
from tests.reporting.made_evidence import planted, true_labels
from tests.reporting.written import drawn, pictures, words


def test_no_mistakes_at_all(evidence: Evidence) -> None:
    perfect = planted(evidence, [true_labels(evidence)] * 2)
    assert "No image was taken for another class." in words(classes.blocks(perfect))
    said = words(mistakes.blocks(perfect))
    assert "On average over 2 seeds 0 of 1,000 test images are wrong." in said
    assert "every test image is classified correctly" in said
    assert "No test image is wrong with all 2 seeds." in said


def test_mistakes_are_counted(evidence: Evidence) -> None:
    row = evidence.tuned
    assert row is not None
    section = mistakes.blocks(evidence)
    mean = row.probabilities.mean(axis=0)
    wrong = mean.argmax(axis=1) != row.labels
    surest = int(np.argmax(np.where(wrong, mean.max(axis=1), 0)))
    confident = pictures(section)["mistakes-confident"]
    each = (row.probabilities.argmax(axis=2) != row.labels).sum(axis=1)
    assert each.mean() != wrong.sum()
    assert confident.finding.startswith(
        f"On average over 3 seeds {each.mean():.1f}".removesuffix(".0")
        + " of 1,000 test images are wrong; "
    )
    assert "its probability, mean over n = 3 models" in confident.caption
    assert FASHION_CLASSES[row.labels[surest]] in confident.finding
    assert f"no. {surest}: " in drawn(confident).axes[0].texts[0].get_text()
    always = (row.probabilities.argmax(axis=2) != row.labels).all(axis=0)
    finding = pictures(section)["mistakes-always"].finding
    assert finding.startswith(f"{always.sum()} of 1,000 test images are wrong with all 3 seeds")


def test_many_mistakes_are_written_out(evidence: Evidence) -> None:
    tuned = evidence.tuned
    assert tuned is not None
    labels = np.zeros(100_000, np.uint8)
    probabilities = np.zeros((2, len(labels), 2))
    probabilities[:, :, 0] = 1.0
    probabilities[0, :12_345] = probabilities[1, :12_346] = 0.0, 1.0
    row = dataclasses.replace(tuned, probabilities=probabilities, labels=labels)
    said = mistakes._number_wrong(row)
    assert said == "On average over 2 seeds 12,345.5 of 100,000 test images are wrong"


def test_wrong_in_every_seed_but_right_on_average(evidence: Evidence) -> None:
    labels = true_labels(evidence)
    given = [labels.copy() for _ in range(3)]
    for seed in range(3):
        given[seed][0] = seed + 1  # image 0 is a T-shirt/top
    made = planted(evidence, given)
    assert made.tuned is not None
    made.tuned.probabilities[:, 0] = 0.01
    for seed in range(3):
        made.tuned.probabilities[seed, 0, [0, seed + 1]] = 0.45, 0.47
    picture = pictures(mistakes.blocks(made))["mistakes-always"]
    assert picture.finding == "1 of 1,000 test images are wrong with all 3 seeds, 0 more with some"
    assert "as T-shirt/top" not in drawn(picture).axes[0].texts[0].get_text()


def test_one_seed_says_nothing_of_what_is_always_wrong(single: Evidence) -> None:
    said = words(mistakes.blocks(single))
    assert "One seed (n = 1) cannot show which images are always wrong" in said
    assert single.tuned is not None
    assert f"{(~single.tuned.correct).sum()} of 1,000 test images are wrong; the most" in said
    assert "mean over" not in pictures(mistakes.blocks(single))["mistakes-confident"].caption


def test_calibration_error() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, True, True, False, True, False])
    expected = (4 * abs(0.75 - 0.95) + 2 * abs(0.5 - 0.55)) / 6
    assert calibration_error(confidence, correct) == pytest.approx(expected)
    assert calibration_error(np.ones(3), np.ones(3, bool)) == 0


def test_calibration_names_both_rows(evidence: Evidence) -> None:
    tuned, baseline = evidence.tuned, evidence.best_baseline
    assert tuned is not None and baseline is not None
    said = words(mistakes.blocks(evidence))
    for row in (tuned, baseline):
        each = [
            calibration_error(part.max(axis=1), part.argmax(axis=1) == row.labels)
            for part in row.probabilities
        ]
        assert f"{100 * np.mean(each):.2f} points for {row.name} (n = 3)" in said


def test_calibration_is_shown_at_temperature_1_too(evidence: Evidence) -> None:
    tuned = evidence.tuned
    assert tuned is not None and tuned.uncalibrated is not None
    assert tuned.readout.temperature == 0.8
    each = [
        calibration_error(part.max(axis=1), part.argmax(axis=1) == tuned.labels)
        for part in tuned.uncalibrated
    ]
    section = mistakes.blocks(evidence)
    said = words(section)
    assert f"{100 * np.mean(each):.2f} points for tuned at temperature 1 (n = 3)" in said
    assert "Logits are divided by the temperature 0.8." in said
    assert "500 validation images, predicted by 1 training of the winner without these" in said
    legend = drawn(pictures(section)["mistakes-reliability"]).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()][1:3] == [
        "tuned",
        "tuned at temperature 1",
    ]

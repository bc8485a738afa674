"""The verdict."""

import dataclasses
from pathlib import Path

import numpy as np

from reporting.chapters import accuracy, verdict
from reporting.drawing.style import percent, points
from reporting.evidence import Evidence
from reporting.page.document import Paragraph
from tests.reporting.made_evidence import made_evidence
from tests.reporting.written import words


def test_the_verdict_names_what_tuned_beats_and_by_how_much(evidence: Evidence) -> None:
    said = words(verdict.blocks(evidence))
    tuned, rival = evidence.tuned, evidence.best_baseline
    assert tuned is not None
    assert rival is not None
    images = len(evidence.split.train_labels) + len(evidence.split.val_labels)
    assert f", trained for 30 epochs on {images:,} images, reaches a test accuracy of " in said
    assert percent(tuned.accuracy.mean) in said
    assert f" on {len(tuned.labels):,} images over " in said
    difference = evidence.differences[rival.name]
    by = points(difference.mean).lstrip("+")
    assert f"Tuned beats {rival.name}, the best baseline, by {by} points (95 % interval" in said
    for name in evidence.differences:
        assert name in said
    assert "over images and seeds; Holm-corrected p" in said


def test_the_verdict_says_how_long_both_were_trained(evidence: Evidence) -> None:
    strong = [
        block.text
        for block in verdict.blocks(evidence)
        if isinstance(block, Paragraph) and block.strong
    ]
    rival = evidence.best_baseline
    assert rival is not None
    assert strong[-1].endswith(
        f"Tuned was trained for 30 epochs; {rival.name}, as published and not tuned, for 10. "
        "Tuned is the mean over 2 views of an image (mirror images), as chosen on validation; "
        "baselines are not."
    )


def test_the_verdict_says_how_far_the_winner_is_above_the_default(evidence: Evidence) -> None:
    said = words(verdict.blocks(evidence))
    default = evidence.default
    assert default is not None and default.accuracy is not None
    winner = evidence.winner
    assert winner is not None and winner.accuracy is not None
    above = 100 * (winner.accuracy.mean - default.accuracy.mean)
    assert (
        f"Without a search: the default configuration ({default.candidate.name}), trained as long "
        f"on the same images, reached {100 * default.accuracy.mean:.2f} % on validation (n = 1). "
        f"The winner is {above:.2f} points above it; "
    ) in said
    for change in ({"winner": default}, {"remeasured": [winner]}):
        without = dataclasses.replace(evidence, **change)
        assert "Without a search" not in words(verdict.blocks(without))


def test_the_default_counts_with_its_better_augmentation(evidence: Evidence) -> None:
    default = evidence.default
    assert default is not None
    for change in (-0.01, 0.01):
        runs = [
            dataclasses.replace(run, val_accuracy=(run.val_accuracy or 0.0) + change)
            for run in default.runs
        ]
        other = dataclasses.replace(default, runs=runs)
        made = dataclasses.replace(evidence, remeasured=[*evidence.remeasured, other])
        assert made.default is (other if change > 0 else default)


def test_a_winner_that_is_a_first_configuration_is_said_to_be_one(evidence: Evidence) -> None:
    first = "is bn-cnn, a configuration that the search starts with: "
    assert first not in words(verdict.blocks(evidence))
    trials = evidence.record.trials.assign(name="bn-cnn")
    only = dataclasses.replace(evidence, record=dataclasses.replace(evidence.record, trials=trials))
    assert f"{first}it tried only such ones." in words(verdict.blocks(only))
    trials.loc[trials.index[-1], "name"] = None
    made = dataclasses.replace(evidence, record=dataclasses.replace(evidence.record, trials=trials))
    assert f"{first}it found nothing better." in words(verdict.blocks(made))
    best = evidence.remeasured[0].candidate
    changed, lower = (
        next(part for part in evidence.remeasured if wanted(part.candidate))
        for wanted in (
            lambda one: one.augmentation is not None,
            lambda one: one.number != best.number,
        )
    )
    for part in (changed, lower):
        said = words(verdict.blocks(dataclasses.replace(made, winner=part)))
        assert f"{first}no retrained trial was better." in said
        alone = dataclasses.replace(made, winner=part, remeasured=[part])
        assert f"{first.removesuffix(': ')}." in words(verdict.blocks(alone))


def test_few_test_images_are_said_to_be_few(tmp_path: Path) -> None:
    few = made_evidence(tmp_path, images=8)
    tuned = few.tuned
    assert tuned is not None
    right = dataclasses.replace(
        tuned, probabilities=np.eye(10, dtype=np.float32)[tuned.labels][None].repeat(3, axis=0)
    )
    rows = [right if row is tuned else row for row in few.rows]
    said = words(verdict.blocks(dataclasses.replace(few, rows=rows)))
    assert "One of 8 test images is 12.50 %." in said
    # Wilson's lower end for n of n is n / (n + 1.96^2).
    assert "the 95 % Wilson interval over images is 67.6 to 100.0 %." in said


def test_many_test_images_need_no_interval_of_their_own(evidence: Evidence) -> None:
    tuned = evidence.tuned
    assert tuned is not None
    labels = np.zeros(1_000, dtype=np.uint8)
    probabilities = np.eye(10, dtype=np.float32)[labels][None].repeat(3, axis=0)
    many = dataclasses.replace(tuned, labels=labels, probabilities=probabilities)
    made = dataclasses.replace(evidence, rows=[many])
    assert "Wilson" not in words(verdict.blocks(made))


def test_a_difference_that_is_not_shown_is_said_so(tmp_path: Path) -> None:
    weak = made_evidence(tmp_path, images=60)
    assert not any(difference.shown for difference in weak.differences.values())
    said = words(verdict.blocks(weak))
    rival = weak.best_baseline
    assert rival is not None
    assert f"No significant difference from {rival.name}, the best baseline (" in said
    for name in weak.differences:
        assert name in said
    assert "beats" not in said


def test_without_retraining_nothing_is_claimed(untrained: Evidence) -> None:
    said = words(verdict.blocks(untrained))
    assert "No test results yet" in said
    assert "beats" not in said
    assert words(accuracy.blocks(untrained)) == untrained.no_test_results

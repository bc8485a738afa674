"""The chapter on the classes."""

import dataclasses

import numpy as np
import pytest

from reporting.chapters import (
    classes,
)
from reporting.evidence import Evidence
from search.data.classes import FASHION_CLASSES
from tests.reporting.made_evidence import planted, true_labels
from tests.reporting.written import drawn, pictures, tables, words


def test_scores_of_each_class(evidence: Evidence) -> None:
    row = evidence.tuned
    assert row is not None
    values = tables(classes.blocks(evidence))["classes-scores"].values
    given = row.probabilities.argmax(axis=2)
    for label, name in enumerate(FASHION_CLASSES):
        line = values.set_index("class").loc[name]
        of_class = row.labels == label
        recall = np.mean([(seed[of_class] == label).mean() for seed in given])
        precision = np.mean([(row.labels[seed == label] == label).mean() for seed in given])
        assert line["recall"] == pytest.approx(recall)
        assert line["precision"] == pytest.approx(precision)
        assert line["support"] == of_class.sum()
        # Wilson's interval, written out.
        z, n = 1.959964, of_class.sum()
        centre = (recall + z * z / (2 * n)) / (1 + z * z / n)
        half_width = z / (1 + z * z / n) * np.sqrt(recall * (1 - recall) / n + z * z / (4 * n * n))
        assert line["recall low"] == pytest.approx(centre - half_width, abs=1e-6)
        assert line["recall high"] == pytest.approx(centre + half_width, abs=1e-6)


def test_the_most_confused_pairs(evidence: Evidence) -> None:
    labels = true_labels(evidence)
    first, second = labels.copy(), labels.copy()
    first[np.flatnonzero(labels == 6)[:30]] = 0
    second[np.flatnonzero(labels == 6)[:20]] = 0
    second[np.flatnonzero(labels == 0)[:4]] = 6
    section = classes.blocks(planted(evidence, [first, second]))
    assert (
        "Most often confused, mean over n = 2 seeds: T-shirt/top and Shirt, 27 images (2 of "
        "T-shirt/top taken for Shirt, 25 the other way)."
    ) in words(section)
    finding = pictures(section)["classes-confusion"].finding
    share = 100 * 25 / np.sum(labels == 6)
    assert finding == (
        f"Shirt has the lowest recall, {100 - share:.1f} %; {share:.1f} % are taken for T-shirt/top"
    )
    difference = pictures(section)["classes-difference"]
    assert evidence.best_baseline is not None
    assert evidence.best_baseline.name in difference.finding


def test_a_class_that_is_missing(evidence: Evidence) -> None:
    rows = [
        dataclasses.replace(
            row, labels=row.labels[:9], probabilities=row.probabilities[:, :9].copy()
        )
        for row in evidence.rows
    ]
    shown = tables(classes.blocks(dataclasses.replace(evidence, rows=rows)))["classes-scores"].shown
    last = shown.iloc[-1]
    assert (last["images"], last["recall"], last["95 % interval of recall"]) == ("0", "-", "-")


def test_better_and_worse_have_different_colours(evidence: Evidence) -> None:
    labels = true_labels(evidence)
    worse = labels.copy()
    worse[labels == 6] = 0  # all shirts are taken for T-shirts
    rows = [
        dataclasses.replace(row, probabilities=np.eye(10)[[worse]])
        if row.kind == "tuned"
        else dataclasses.replace(row, probabilities=np.eye(10)[[labels]])
        for row in evidence.rows
        if row.kind != "variant"
    ]
    picture = pictures(classes.blocks(dataclasses.replace(evidence, rows=rows)))[
        "classes-difference"
    ]
    mesh = drawn(picture).axes[0].collections[0]
    shades = mesh.get_array().reshape(10, 10)
    colors = mesh.cmap(mesh.norm(shades))
    np.testing.assert_array_equal(colors[6, 6], colors[6, 0])  # fewer right, more wrong
    assert shades[6, 6] == shades[6, 0] == -100
    assert "orange: worse" in picture.caption
    said = [text.get_text() for text in drawn(picture).axes[0].texts]
    assert sorted(said) == ["+100.0", "-100.0"]

"""The chapter on the data."""

import dataclasses

import numpy as np
from sklearn.metrics import accuracy_score

from reporting.chapters import (
    data,
)
from reporting.evidence import Evidence
from search.data.dataset import LabeledImages
from tests.reporting.made_evidence import true_labels
from tests.reporting.written import tables, words


def test_classes_are_counted(evidence: Evidence) -> None:
    shown = tables(data.blocks(evidence))["data-classes"].shown
    split = evidence.split
    parts = (split.train_labels, split.val_labels, true_labels(evidence))
    assert list(shown.iloc[0]) == ["T-shirt/top", *(str(np.sum(part == 0)) for part in parts)]
    assert list(shown.iloc[-1]) == ["all", "2,000", "500", "1,000"]
    assert "No test image is also a training or validation image" in words(data.blocks(evidence))


def test_closed_test_images_are_not_counted(untrained: Evidence) -> None:
    section = data.blocks(untrained)
    assert list(tables(section)["data-classes"].shown) == ["class", "training", "validation"]
    assert "The test part stays closed" in words(section)
    assert len(tables(section)["data-duplicates"].shown) == 1


def test_duplicates_and_their_effect(evidence: Evidence) -> None:
    tuned, test = evidence.tuned, evidence.test
    assert tuned is not None and test is not None
    train = evidence.split.train_images.copy()
    labels = evidence.split.train_labels
    assert labels[10] == labels[0] != labels[11]
    train[[10, 11]] = train[0]
    images = test.images.copy()
    assert test.labels[20] == test.labels[40] == labels[30]
    assert test.labels[21] != evidence.split.val_labels[2]
    images[[20, 40]] = train[30]  # the same label, and a twin in the test images, too
    images[21] = evidence.split.val_images[2]  # another label
    section = data.blocks(
        dataclasses.replace(
            evidence,
            split=dataclasses.replace(evidence.split, train_images=train),
            test=LabeledImages(images=images, labels=test.labels),
        )
    )
    values = tables(section)["data-duplicates"].values
    assert values.set_index("where").T.to_dict("list") == {
        "training and validation": [3, 1, 3],
        "test": [2, 1, 0],
        "test, also in training or validation": [3, 2, 1],
    }
    kept = np.delete(np.arange(1000), [20, 21, 40])
    without = np.mean(
        [
            accuracy_score(test.labels[kept], given[kept])
            for given in tuned.probabilities.argmax(axis=2)
        ]
    )
    assert "Without the 3 test images that are also training or validation images" in words(section)
    assert f"is {100 * without:.2f} % in place of {100 * tuned.accuracy.mean:.2f} %" in words(
        section
    )

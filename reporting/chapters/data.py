"""What the images look like, how many there are, and which occur twice."""

import hashlib
from typing import Final

import numpy as np
import pandas as pd

from reporting.drawing.style import new_figure, percent, points
from reporting.evidence import Evidence, Row
from reporting.page.document import Block, Paragraph, Picture, Table
from reporting.scoring import TestSplit
from reporting.statistics import Booleans, interval
from search.data.classes import CLASS_NAMES
from search.data.files import Bytes
from search.data.split import Split

_EXAMPLES: Final = 8
_IMAGE_SIZE: Final = 28


def blocks(evidence: Evidence) -> list[Block]:
    """The images that were trained, chosen and tested on."""
    split, test = evidence.split, evidence.test
    written: list[Block] = [_examples(split), _distribution(split, test)]
    if test is None:
        written.append(
            Paragraph("The test images stay closed until something is retrained: none counted.")
        )
    training = _images(
        np.concatenate([split.train_images, split.val_images]),
        np.concatenate([split.train_labels, split.val_labels]),
    )
    written += _duplicates(training, test, evidence.tuned)
    return written


def _examples(split: Split) -> Picture:
    figure, axes = new_figure(6.6)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    picture = np.full((_EXAMPLES * _IMAGE_SIZE, len(CLASS_NAMES) * _IMAGE_SIZE), 255, np.uint8)
    for label in range(len(CLASS_NAMES)):
        numbers = np.flatnonzero(split.train_labels == label)[:_EXAMPLES]
        for row, number in enumerate(numbers):
            top, left = row * _IMAGE_SIZE, label * _IMAGE_SIZE
            picture[top : top + _IMAGE_SIZE, left : left + _IMAGE_SIZE] = split.train_images[number]
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
    centres = (np.arange(len(CLASS_NAMES)) + 0.5) * _IMAGE_SIZE - 0.5
    axes.set_xticks(centres, CLASS_NAMES, fontsize=9)
    axes.set_yticks([])
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    for edge in np.arange(1, len(CLASS_NAMES)) * _IMAGE_SIZE - 0.5:
        axes.axvline(edge, color="white", linewidth=1.5)
    present = len(np.unique(split.train_labels))
    return Picture(
        name="data-examples",
        finding=f"{len(split.train_labels):,} training images show {present} classes",
        caption=f"The first {_EXAMPLES} training images of each class, one class in each column.",
        figure=figure,
    )


def _distribution(split: Split, test: TestSplit | None) -> Table:
    parts = {"training": split.train_labels, "validation": split.val_labels}
    parts |= {"test": test.labels} if test is not None else {}
    values = pd.DataFrame(
        {
            "class": CLASS_NAMES,
            **{
                name: np.bincount(labels, minlength=len(CLASS_NAMES))
                for name, labels in parts.items()
            },
        }
    )
    totals = {"class": "all", **{name: len(labels) for name, labels in parts.items()}}
    shown = pd.concat([values, pd.DataFrame([totals])], ignore_index=True)
    for name in parts:
        shown[name] = [f"{count:,}" for count in shown[name]]
    return Table(name="data-classes", caption="Images of each class.", shown=shown, values=values)


def _images(images: Bytes, labels: Bytes) -> pd.DataFrame:
    """One row for each image: a key that only pixel-identical images share, and the label."""
    keys = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
    return pd.DataFrame({"key": keys, "label": labels})


def _duplicates(training: pd.DataFrame, test: TestSplit | None, tuned: Row | None) -> list[Block]:
    rows = [_within("training and validation", training)]
    words: list[Block] = []
    if test is not None:
        tested = _images(test.images, test.labels)
        labels = training.groupby("key")["label"].agg(set)
        twin_labels = tested["key"].map(labels)
        crossing = twin_labels.notna()
        differ = [
            bool(found - {label})
            for found, label in zip(
                twin_labels[crossing], tested.loc[crossing, "label"], strict=True
            )
        ]
        rows += [
            _within("test", tested),
            {
                "where": "test, also in training or validation",
                "images": int(crossing.sum()),
                "different images": int(tested.loc[crossing, "key"].nunique()),
                "with different labels": sum(differ),
            },
        ]
        words.append(Paragraph(_effect(np.asarray(crossing, bool), tuned)))
    values = pd.DataFrame(rows)
    shown = values.astype({"where": str}).map(
        lambda cell: f"{cell:,}" if not isinstance(cell, str) else cell
    )
    table = Table(
        name="data-duplicates",
        caption=(
            "Images that have a twin, equal in every pixel; and how many of them have a twin with "
            "another label."
        ),
        shown=shown,
        values=values,
    )
    return [table, *words]


def _within(where: str, images: pd.DataFrame) -> dict[str, object]:
    twins = images[images.duplicated("key", keep=False)]
    labels = twins.groupby("key")["label"].transform("nunique")
    return {
        "where": where,
        "images": len(twins),
        "different images": int(twins["key"].nunique()),
        "with different labels": int((labels > 1).sum()),
    }


def _effect(known: Booleans, tuned: Row | None) -> str:
    count = int(known.sum())
    if not count:
        return "No test image is a training or validation image too: no result is better for that."
    if tuned is None or known.all():
        return f"Of the test images, {count:,} are training or validation images too."
    every = tuned.accuracy
    without = interval([float(value) for value in tuned.correct[:, ~known].mean(axis=1)])
    return (
        f"Without the {count:,} test images that are training or validation images too, test "
        f"accuracy of {tuned.name} is {percent(without.mean)} in place of {percent(every.mean)} "
        f"({points(without.mean - every.mean, 3)} points, n = {every.n}). All other numbers of "
        "this report keep all test images."
    )

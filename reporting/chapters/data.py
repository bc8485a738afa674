"""The data: examples, images by class, and duplicates."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reporting.dimensions import brief
from reporting.drawing.images import MOST_CLASSES
from reporting.drawing.style import GROUND, new_figure, percent, points
from reporting.evidence import Evidence, Row
from reporting.page.document import Block, Column, Paragraph, Picture, Table
from reporting.statistics import SHARE, Booleans, interval
from search.data.dataset import Bytes, LabeledImages
from search.data.parts import digests
from search.data.split import Split

_EXAMPLES: Final = 10
_LARGEST: Final = 64  # pixels a side of an example
_LONGEST_NAME: Final = 20


def blocks(evidence: Evidence) -> list[Block]:
    """The images used for training, for choosing, and for the test."""
    split, test = evidence.split, evidence.test
    names = evidence.dataset.class_names
    written: list[Block] = [_examples(split, names), _distribution(split, test, names)]
    if test is None:
        written.append(
            Paragraph("The test part stays closed until something is retrained, so it is missing.")
        )
    # Hashed apart: together, the images would be in memory twice.
    training = pd.concat(
        [
            _images(split.train_images, split.train_labels),
            _images(split.val_images, split.val_labels),
        ],
        ignore_index=True,
    )
    return [*written, *_duplicates(training, test, evidence.tuned)]


def _examples(split: Split, names: Sequence[str]) -> Picture:
    present = len(np.unique(split.train_labels))
    few = len(names) <= MOST_CLASSES
    which = "each class" if few else f"the first {MOST_CLASSES} of {len(names)} classes"
    shown = names[:MOST_CLASSES]
    # More in a row where there are many rows: about as wide as high.
    height, width, _ = split.shape.image_shape
    count = int(np.clip(np.ceil(0.8 * len(shown) * height / width), _EXAMPLES, 2 * _EXAMPLES))
    return Picture(
        name="data-examples",
        finding=f"{len(split.train_labels):,} training images of {present} classes",
        caption=f"The first {count} training images of {which}, a row for each class.",
        draw=lambda width: _draw_examples(width, split, shown, count),
    )


def _draw_examples(width: float, split: Split, names: Sequence[str], count: int) -> Figure:
    # Large images are thinned out: a figure has no more pixels to show them.
    step = -(-max(split.shape.image_shape[:2]) // _LARGEST)
    high, wide, _ = split.train_images[0, ::step, ::step].shape
    # Clear where a class has fewer examples.
    picture = np.zeros((len(names) * high, count * wide, 4), np.uint8)
    for label in range(len(names)):
        for column, number in enumerate(np.flatnonzero(split.train_labels == label)[:count]):
            top, left = label * high, column * wide
            cell = picture[top : top + high, left : left + wide]
            cell[..., :3] = split.train_images[number, ::step, ::step]
            cell[..., 3] = 255
    figure, axes = new_figure(width, (width - 1) * picture.shape[0] / picture.shape[1])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.imshow(picture, interpolation="none")
    axes.set_yticks(
        (np.arange(len(names)) + 0.5) * high - 0.5, [brief(name, _LONGEST_NAME) for name in names]
    )
    axes.set_xticks([])
    axes.tick_params(length=0)
    for edge in np.arange(1, len(names)) * high - 0.5:
        axes.axhline(edge, color=GROUND, linewidth=1.5)
    return figure


def _distribution(split: Split, test: LabeledImages | None, names: Sequence[str]) -> Table:
    parts = {"training": split.train_labels, "validation": split.val_labels}
    parts |= {"test": test.labels} if test is not None else {}
    counts = {name: np.bincount(part, minlength=len(names)) for name, part in parts.items()}
    rows: list[dict[str, Any]] = [
        {"class": class_name} | {name: int(count[label]) for name, count in counts.items()}
        for label, class_name in enumerate(names)
    ]
    rows.append({"class": "all"} | {name: len(part) for name, part in parts.items()})
    return Table(
        name="data-classes",
        caption="Images by class",
        columns=[Column("class", "class"), *(Column(name, name, format=",") for name in parts)],
        items=rows,
        fold=len(names) > MOST_CLASSES,
    )


def _images(images: Bytes, labels: Bytes) -> pd.DataFrame:
    """Return for each image a key that only pixel-identical images share, and the label."""
    return pd.DataFrame({"key": digests(images), "label": labels})


def _duplicates(
    training: pd.DataFrame, test: LabeledImages | None, tuned: Row | None
) -> list[Block]:
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
    counts = ("images", "different images", "with different labels")
    table = Table(
        name="data-duplicates",
        caption="Duplicate images",
        note="Duplicates are equal in every pixel; the last column counts those that have a "
        "duplicate with another label.",
        columns=[Column("where", "where"), *(Column(name, name, format=",") for name in counts)],
        items=rows,
    )
    return [table, *words]


def _within(where: str, images: pd.DataFrame) -> dict[str, Any]:
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
        return "No test image is also a training or validation image."
    if tuned is None or known.all():
        return f"{count:,} test images are also training or validation images."
    every = tuned.accuracy
    without = interval([float(value) for value in tuned.correct[:, ~known].mean(axis=1)], SHARE)
    return (
        f"Without the {count:,} test images that are also training or validation images, test "
        f"accuracy of {tuned.name} is {percent(without.mean)} in place of {percent(every.mean)} "
        f"({points(without.mean - every.mean, 3)} points, n = {every.n}). All other numbers of "
        "this report keep all test images."
    )

"""Make training and test parts that share no image, with enough images of each class."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from search.data.classes import MAX_LETTERS
from search.data.dataset import MOST_CLASSES, Bytes, LabeledImages
from search.errors import DataError
from search.words import counted

# The same for every search, so that the test part of a data set is always the same.
_SEED: Final = 20_170_826
_TEST_SHARE: Final = 0.15
# Images whose brightest pixel (of 255) is below this probably have another white level.
DARK: Final = 128
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """What a format has read.

    Args:
        train: Training part.
        test: Test part; None: a part of the training images is set aside.
        class_names: Names of the classes, in the order of the labels.
        notes: What the user must know about it, one line each.
        fewest: Images that each class of the training part needs, before some are set aside.
        once: Whether an image that occurs several times counts once.
    """

    train: LabeledImages
    test: LabeledImages | None
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    fewest: int = 2
    once: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Images of `Parts` that make up a data set.

    Args:
        train: Indices of training images.
        test: Indices of test images; of training images, if there is no test part.
        notes: What was left out, one line each.
    """

    train: Indices
    test: Indices
    notes: tuple[str, ...]


def digests(images: Bytes) -> list[bytes]:
    """Return a short key of each image; equal images have equal keys.

    The keys take 0.1 kB an image, however large the images are.
    """
    return [
        hashlib.blake2b(np.ascontiguousarray(image).reshape(-1).data, digest_size=16).digest()
        for image in images
    ]


def choose(parts: Parts, where: str) -> Chosen:
    """Choose training and test images, such that no image is in both.

    Training images that are in the test part too are left out. Without a test part, 15 % of each
    class are set aside, always the same; images that occur several times stay in training.

    Args:
        parts: What was read.
        where: The data set, for messages.

    Raises:
        DataError: There are fewer than 2 classes or more than 256, or a class has too few images.
    """
    labels, keys = parts.train.labels, digests(parts.train.images)
    kept, notes = np.arange(len(labels)), []
    if parts.once:
        kept, words = _once(keys, labels)
        notes += words
    if parts.test is None:
        check_classes(labels[kept], parts.class_names, where, parts.fewest)
        test = _set_aside(kept, keys, labels)
        if not len(test):
            raise DataError(
                f"{where} has no test part, and no image that could be set aside for one: each "
                "occurs several times. Remove the copies."
            )
        notes.append(f"no test part: {len(test):,} of {len(kept):,} images are set aside for it")
        return Chosen(np.setdiff1d(kept, test), test, tuple(notes))
    test_keys, test = digests(parts.test.images), np.arange(len(parts.test))
    if parts.once:
        test, words = _once(test_keys, parts.test.labels)
        notes += [f"test part: {line}" for line in words]
        if not len(test):
            raise DataError(
                f"{where}: each image of the test part occurs in two classes, so none can be used; "
                "keep each in one class."
            )
    closed = set(test_keys)
    train = kept[[keys[index] not in closed for index in kept]]
    if len(train) < len(kept):
        left_out = len(kept) - len(train)
        notes.append(f"left out training images that are in the test part too: {left_out:,}")
    check_classes(labels[train], parts.class_names, where, parts.fewest)
    return Chosen(train, test, tuple(notes))


def check_classes(labels: Bytes, class_names: Sequence[str], where: str, fewest: int) -> None:
    """Check that there are 2 to 256 classes with enough images each.

    Args:
        labels: (n,) labels of the training part.
        class_names: Names of the classes, in the order of the labels.
        where: The data set, for messages.
        fewest: Images that each class needs.

    Raises:
        DataError: There are fewer or more classes, or a class has fewer images, a name is empty
            or too long, or two classes share one.
    """
    check_class_count(len(class_names), where)
    if repeated := [name for name, count in Counter(class_names).items() if count > 1]:
        raise DataError(
            f"{where} has more than one class named {repeated[0]!r}; rename all but one."
        )
    for name in class_names:
        if not 0 < len(name) <= MAX_LETTERS:
            raise DataError(
                f"{where} has a class with a name of {counted(len(name), 'letter')}; a name must "
                f"have from 1 to {MAX_LETTERS}. Rename the class."
            )
    counts = np.bincount(labels, minlength=len(class_names))
    smallest = int(counts.argmin())
    if counts[smallest] < fewest:
        raise DataError(
            f"{where} has {counts[smallest]} usable training images of class "
            f"{class_names[smallest]!r}; every class needs at least {fewest}. Add images of it, or "
            "remove the class. (Images that the test part or two classes have are left out.)"
        )


def check_class_count(count: int, where: str) -> None:
    """Check that there are 2 to 256 classes.

    Raises:
        DataError: There are fewer, or more.
    """
    if not 2 <= count <= MOST_CLASSES:
        raise DataError(
            f"the number of classes in {where} is {count}; it must be from 2 to {MOST_CLASSES}."
        )


def _once(keys: list[bytes], labels: Bytes) -> tuple[Indices, list[str]]:
    """Return the first of equal images; none of those that are in several classes."""
    first: dict[bytes, int] = {}
    contradicting: set[bytes] = set()
    for index, key in enumerate(keys):
        if labels[first.setdefault(key, index)] != labels[index]:
            contradicting.add(key)
    kept = np.array([index for key, index in first.items() if key not in contradicting], np.intp)
    notes = []
    if repeated := len(keys) - len(first):
        notes.append(f"left out images that repeat another one: {repeated:,}")
    if contradicting:
        notes.append(f"left out images that are in several classes: {len(contradicting):,}")
    return kept, notes


def _set_aside(kept: Indices, keys: list[bytes], labels: Bytes) -> Indices:
    """Return the test images: 15 % of each class, of those that occur once."""
    counts = Counter(keys[index] for index in kept)
    # RandomState, not Generator: NumPy promises that its stream never changes.
    order = kept[np.random.RandomState(_SEED).permutation(len(kept))]
    single = order[[counts[keys[index]] == 1 for index in order]]
    aside: list[Any] = []
    for label in np.unique(labels[kept]):
        wanted = max(1, round(_TEST_SHARE * int((labels[kept] == label).sum())))
        aside.append(single[labels[single] == label][:wanted])
    return np.sort(np.concatenate(aside))

"""The split: always the same, with equal shares of each class, and without duplicates across it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from search.data.dataset import Dataset, pixel_statistics
from search.data.idx import open_idx
from search.data.split import Split, SplitSizes, check_sizes, default_val_size, load_split
from search.errors import DataError
from tests.conftest import write_idx_data


@pytest.fixture(scope="module")
def dataset(small_data: Path) -> Dataset:
    return open_idx(small_data)


def same(first: Split, second: Split) -> bool:
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("train_images", "train_labels", "val_images", "val_labels")
    )


def test_the_split_uses_all_images_with_equal_shares_of_each_class(dataset):
    split = load_split(dataset, SplitSizes(val=100))
    assert split.train_images.shape == (500, 28, 28, 1)
    assert np.bincount(split.val_labels).tolist() == [10] * 10
    assert np.bincount(split.train_labels).tolist() == [50] * 10
    images = np.concatenate([split.train_images, split.val_images])
    assert len({image.tobytes() for image in images}) == 600


def test_the_split_is_always_the_same(dataset):
    assert same(load_split(dataset, SplitSizes(val=100)), load_split(dataset, SplitSizes(val=100)))


def test_shares_are_within_one_image_where_sizes_do_not_divide(dataset):
    split = load_split(dataset, SplitSizes(train=123, val=101))
    assert sorted(np.bincount(split.val_labels)) == [10] * 9 + [11]
    assert sorted(np.bincount(split.train_labels)) == [12] * 7 + [13] * 3


def test_the_first_images_of_a_split_are_the_split_of_that_size(dataset):
    whole = load_split(dataset, SplitSizes(val=100))
    assert same(whole.first(123), load_split(dataset, SplitSizes(train=123, val=100)))
    assert same(whole.first(10**9), whole)


def test_a_smaller_training_part_lies_within_a_larger_one(dataset):
    larger = load_split(dataset, SplitSizes(train=200, val=100))
    smaller = load_split(dataset, SplitSizes(train=50, val=100))
    assert np.array_equal(smaller.train_images, larger.train_images[:50])
    assert np.array_equal(smaller.val_images, larger.val_images)


@pytest.mark.parametrize(
    "sizes",
    [
        SplitSizes(val=2002),
        SplitSizes(val=4, train=300),
        SplitSizes(val=4, train=4),
        SplitSizes(val=12_011),
    ],
)
def test_rare_classes_are_in_both_parts_whatever_their_sizes(tmp_path, sizes):
    labels = np.repeat(np.arange(4, dtype=np.uint8), [6000, 6000, 3, 12])
    images = np.zeros((len(labels), 16, 16), np.uint8)
    images[:, 0, :2] = np.arange(len(labels), dtype=np.uint16)[:, None].view(np.uint8)
    write_idx_data(tmp_path, images, labels)
    split = load_split(open_idx(tmp_path), sizes)
    assert len(split.val_labels) == sizes.val
    assert len(split.train_labels) == (sizes.train or len(labels) - sizes.val)
    assert set(split.val_labels) == set(split.train_labels) == {0, 1, 2, 3}


def test_no_validation_image_has_a_duplicate(tmp_path):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (300, 28, 28), dtype=np.uint8)
    labels = np.tile(np.arange(10, dtype=np.uint8), 30)
    images[150:200] = images[100:150]
    write_idx_data(tmp_path, images, labels)
    split = load_split(open_idx(tmp_path), SplitSizes(val=190))
    training = {image.tobytes() for image in split.train_images}
    assert not any(image.tobytes() in training for image in split.val_images)


def test_images_that_all_have_copies_cannot_validate(tmp_path):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (300, 28, 28), dtype=np.uint8)
    images[:290] = np.repeat(images[:145], 2, axis=0)
    write_idx_data(tmp_path, images, np.tile(np.arange(10, dtype=np.uint8), 30))
    words = r"only 10 of 300 training images occur once, .* 10 classes at least 20 must\. Remove"
    with pytest.raises(DataError, match=words):
        load_split(open_idx(tmp_path), SplitSizes(val=50))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (SplitSizes(val=9), r"--val-size is 9; .* in \[10, 590\]"),
        (SplitSizes(val=591), "--val-size is 591"),
        (SplitSizes(val=100, train=501), r"--train-size is 501; .* in \[10, 500\]"),
        (SplitSizes(val=100, train=0), "--train-size is 0"),
        (SplitSizes(val=100, epoch_size=501), r"--epoch-size is 501; .* in \[10, 500\]"),
        (SplitSizes(val=100, train=300, epoch_size=301), r"--epoch-size is 301; .*, 300\]"),
        (SplitSizes(val=100, epoch_size=9), "--epoch-size is 9"),
    ],
)
def test_sizes_that_do_not_fit_the_data_are_refused(dataset, sizes, message):
    with pytest.raises(DataError, match=message):
        load_split(dataset, sizes)
    with pytest.raises(DataError, match=message):
        check_sizes(dataset, sizes)


def test_data_that_was_replaced_since_it_was_opened_is_refused(dataset):
    load_split(dataset, SplitSizes(val=100))
    with pytest.raises(DataError, match=r"has changed since the study began \(MD5 .*, was other\)"):
        load_split(replace(dataset, fingerprint="other"), SplitSizes(val=100))


def test_a_split_knows_the_shape_of_its_images_and_the_number_of_classes(dataset):
    assert load_split(dataset, SplitSizes(val=100)).shape == dataset.shape
    assert dataset.shape.pixels == pixel_statistics(dataset.training().images)


def test_a_split_checks_its_arrays():
    images, labels = np.zeros((2, 28, 28), np.uint8), np.zeros(3, np.uint8)
    with pytest.raises(DataError, match=r"Split.train_images is uint8\(2, 28, 28\)"):
        Split(
            train_images=images,
            train_labels=labels,
            val_images=images,
            val_labels=labels[:2],
            classes=2,
        )


def test_a_sixth_of_the_images_validates_by_default(dataset, tmp_path):
    assert default_val_size(dataset) == 100
    write_idx_data(tmp_path, np.zeros((6, 16, 16), np.uint8), np.arange(6, dtype=np.uint8) % 3)
    assert default_val_size(open_idx(tmp_path)) == 3

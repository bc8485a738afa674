"""Augmentation: does what each kind says, to about the images it says, and leaves its input be."""

import numpy as np
import pytest

from search.augmentation import augment


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(1, 256, (400, 28, 28), dtype=np.uint8)


def test_none_changes_nothing(images):
    assert np.array_equal(augment(images, "none", np.random.default_rng(1)), images)


def test_flip_mirrors_about_half(images):
    result = augment(images, "flip", np.random.default_rng(1))
    mirrored = (result == images[:, :, ::-1]).all(axis=(1, 2))
    kept = (result == images).all(axis=(1, 2))
    assert (mirrored | kept).all()
    assert 150 < mirrored.sum() < 250


def test_shift_moves_up_to_two_pixels_and_fills_with_zeros(images):
    result = augment(images, "flip_shift", np.random.default_rng(1))
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    padded = np.stack([padded, padded[:, :, ::-1]])
    found = np.zeros((5, 5), int)
    for index in range(len(images)):
        matches = [
            (row, column)
            for row in range(5)
            for column in range(5)
            if (padded[:, index, row : row + 28, column : column + 28] == result[index])
            .all(axis=(1, 2))
            .any()
        ]
        assert len(matches) == 1
        found[matches[0]] += 1
    assert (found > 0).all()


def test_erase_zeroes_one_square_of_seven(images):
    shifted = augment(images, "flip_shift", np.random.default_rng(1))
    erased = augment(images, "flip_shift_erase", np.random.default_rng(1))
    corners = set()
    for before, after in zip(shifted, erased, strict=True):
        rows, columns = np.nonzero(before != after)
        top, left = rows.min(), columns.min()
        assert rows.max() - top < 7
        assert columns.max() - left < 7
        assert not after[top : rows.max() + 1, left : columns.max() + 1].any()
        corners.add((top, left))
    assert len(corners) > 200


@pytest.mark.parametrize("kind", ["flip", "flip_shift", "flip_shift_erase"])
def test_the_input_is_left_as_it_is_and_the_seed_decides(images, kind):
    before = images.copy()
    first, again, other = (augment(images, kind, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(images, before)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.dtype == np.uint8


def test_an_unknown_kind_is_refused(images):
    with pytest.raises(ValueError, match="kind='mixup'; use one of none, flip"):
        augment(images, "mixup", np.random.default_rng(1))

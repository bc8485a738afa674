"""Augmentation: does what each kind says, to about the images it says, and leaves its input be."""

import numpy as np
import pytest

from search.data.split import Split
from search.training.augmentation import augment, max_shift, patch
from search.training.batches import training_batches


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(1, 256, (400, 28, 28, 1), dtype=np.uint8)


@pytest.fixture
def mirrored():
    return np.random.default_rng(3).random(400) < 0.5


def test_none_changes_nothing(images, mirrored):
    assert np.array_equal(augment(images, "none", np.random.default_rng(1), mirrored), images)


def test_flip_mirrors_the_given_images(images, mirrored):
    result = augment(images, "flip", np.random.default_rng(1), mirrored)
    assert np.array_equal(result[mirrored], images[mirrored, :, ::-1])
    assert np.array_equal(result[~mirrored], images[~mirrored])


def test_two_epochs_in_a_row_show_each_image_both_ways(images):
    labels = np.zeros(400, np.uint8)
    split = Split(
        train_images=images,
        train_labels=labels,
        val_images=images[:1],
        val_labels=labels[:1],
        classes=2,
    )
    batches = training_batches(split, 100, "flip", np.random.default_rng(1), None)
    shown = [
        {
            np.round(image * 255).astype(np.uint8).tobytes()
            for batch, _ in batches
            for image in batch.numpy()
        }
        for _ in range(4)
    ]
    both_ways = {image.tobytes() for image in np.concatenate([images, images[:, :, ::-1]])}
    assert shown[0] | shown[1] == both_ways
    assert shown[0] == shown[2] != shown[1] == shown[3]
    assert 150 < len(shown[0] & {image.tobytes() for image in images}) < 250


def test_shift_moves_up_to_two_pixels_and_fills_with_zeros(images, mirrored):
    result = augment(images, "flip_shift", np.random.default_rng(1), mirrored)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    padded = np.stack([padded, padded[:, :, ::-1]])
    found = np.zeros((5, 5), int)
    for index in range(len(images)):
        matches = [
            (row, column)
            for row in range(5)
            for column in range(5)
            if (padded[:, index, row : row + 28, column : column + 28] == result[index])
            .all(axis=(1, 2, 3))
            .any()
        ]
        assert len(matches) == 1
        found[matches[0]] += 1
    assert (found > 0).all()


def test_erase_zeroes_one_square_of_seven(images, mirrored):
    shifted = augment(images, "flip_shift", np.random.default_rng(1), mirrored)
    erased = augment(images, "flip_shift_erase", np.random.default_rng(1), mirrored)
    corners = set()
    for before, after in zip(shifted, erased, strict=True):
        rows, columns, _ = np.nonzero(before != after)
        top, left = rows.min(), columns.min()
        assert rows.max() - top < 7
        assert columns.max() - left < 7
        assert not after[top : rows.max() + 1, left : columns.max() + 1].any()
        corners.add((top, left))
    assert len(corners) > 200


@pytest.mark.parametrize("kind", ["flip", "flip_shift", "flip_shift_erase"])
def test_the_input_is_left_as_it_is_and_the_seed_decides(images, mirrored, kind):
    before = images.copy()
    first, again, other = (
        augment(images, kind, np.random.default_rng(seed), mirrored) for seed in (1, 1, 2)
    )
    assert np.array_equal(images, before)
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) == (kind == "flip")
    assert first.dtype == np.uint8


def test_an_unknown_kind_is_refused(images, mirrored):
    with pytest.raises(ValueError, match="kind='mixup'; use one of none, flip"):
        augment(images, "mixup", np.random.default_rng(1), mirrored)


@pytest.mark.parametrize(("size", "shift", "square"), [(16, 1, 4), (64, 5, 16), (224, 16, 56)])
def test_shift_and_patch_grow_with_the_images(size, shift, square):
    assert (max_shift(size), patch(size)) == (shift, square)


@pytest.mark.parametrize("kind", ["shift", "shift_erase"])
def test_kinds_without_a_flip_mirror_nothing(images, kind):
    results = [
        augment(images, kind, np.random.default_rng(1), np.full(400, mirrored))
        for mirrored in (False, True)
    ]
    assert np.array_equal(*results)
    assert not np.array_equal(results[0], images)


def test_the_colours_of_a_wide_image_move_together():
    image = np.zeros((1, 42, 70, 3), np.uint8)
    image[0, 20, 30] = (10, 20, 30)
    images = np.repeat(image, 300, axis=0)
    result = augment(images, "shift", np.random.default_rng(1), np.zeros(300, bool))
    numbers, rows, columns, _ = np.nonzero(result == 20)
    assert numbers.tolist() == list(range(300))
    assert {*rows.tolist()} == {*range(17, 24)}
    assert {*columns.tolist()} == {*range(25, 36)}
    assert (result[numbers, rows, columns] == (10, 20, 30)).all()

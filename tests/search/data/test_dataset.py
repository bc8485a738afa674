"""What a data set tells of its images."""

import dataclasses
import json

import numpy as np
import pytest

from search.data.dataset import pixel_statistics
from spaces import PixelStatistics


@pytest.mark.parametrize("channels", [1, 3])
def test_pixel_statistics_are_those_of_each_channel(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 200, (1300, 5, 7, channels), np.uint8)
    images[..., 0] //= 2
    found = pixel_statistics(images)
    pixels = images.reshape(-1, channels) / 255
    assert found.mean == pytest.approx(pixels.mean(axis=0), abs=1e-6)
    assert found.deviation == pytest.approx(pixels.std(axis=0), abs=1e-6)


def test_images_of_one_level_have_the_deviation_of_one_level() -> None:
    found = pixel_statistics(np.full((3, 4, 4, 1), 255, np.uint8))
    assert found.deviation == (round(1 / 255, 6),)


@pytest.mark.parametrize("wall", [(0,), (200, 120, 40)])
def test_patches_of_one_colour_do_not_count(wall: tuple[int, ...]) -> None:
    blank = np.zeros((40, 6, 6, len(wall)), np.uint8) + np.array(wall, np.uint8)
    assert pixel_statistics(blank).patches is None
    images = blank.copy()
    images[:, :2] = np.random.default_rng(0).integers(0, 256, (40, 2, 6, len(wall)), np.uint8)
    half_blank = np.concatenate([images, blank])
    found, expected = (pixel_statistics(part).patches for part in (half_blank, images))
    assert np.array(found) == pytest.approx(np.array(expected), abs=1e-9)


def test_the_covariance_of_patches_is_that_of_pixels_in_0_to_1() -> None:
    images = np.random.default_rng(0).integers(0, 256, (500, 8, 8, 3), np.uint8)
    patches = pixel_statistics(images).patches
    assert np.array(patches) == pytest.approx(np.eye(12) / 12, abs=2e-3)


def test_statistics_survive_being_stored() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    found = dataclasses.replace(pixel_statistics(images), normalized=False)
    assert PixelStatistics.from_facts(json.loads(json.dumps(found.facts))) == found
    old = {"mean": [0.5], "deviation": [0.1]}
    assert PixelStatistics.from_facts(old) == PixelStatistics((0.5,), (0.1,))


@pytest.mark.parametrize(
    "facts",
    [
        {"mean": [], "deviation": []},
        {"mean": [0.5], "deviation": [0.1, 0.1]},
        {"mean": [True], "deviation": [0.1]},
        {"mean": [0.5], "deviation": [0.1], "normalized": 1},
        {"mean": [0.5], "deviation": [0.1], "patches": []},
        {"mean": [0.5], "deviation": [0.1], "patches": [[0.1] * 4] * 3},
        {"mean": [0.5], "deviation": [0.1], "patches": [[2.0] * 4] * 4},
        {"mean": [0.5], "deviation": [0.1], "patches": [["a"] * 4] * 4},
        {"mean": [0.5], "deviation": [0.1], "patches": (-np.eye(4)).tolist()},
        {"mean": [0.5], "deviation": [0.1], "patches": np.triu(np.full((4, 4), 0.1)).tolist()},
    ],
    ids=str,
)
def test_statistics_of_no_images_are_refused(facts: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"mean and deviation are not|patches are not"):
        PixelStatistics.from_facts(facts)

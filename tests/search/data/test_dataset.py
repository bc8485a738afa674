"""What a data set tells of its images."""

import numpy as np
import pytest

from search.data.dataset import pixel_statistics


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

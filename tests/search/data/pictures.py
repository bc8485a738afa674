"""Small image files for tests."""

from pathlib import Path

import numpy as np
from PIL import Image


def noise(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Return different random images, (count, *shape) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def write_pictures(
    folder: Path,
    count: int,
    *,
    size: tuple[int, int] = (24, 20),
    seed: int = 0,
    suffix: str = "png",
) -> None:
    """Write different colour pictures into a folder, which is created.

    Args:
        size: Height and width.
    """
    folder.mkdir(parents=True)
    for number, pixels in enumerate(noise(count, *size, 3, seed=seed)):
        Image.fromarray(pixels).save(folder / f"{number:03d}.{suffix}")

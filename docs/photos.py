"""Make a small folder of photographs to try a search on: pieces of two that scikit-learn ships.

python -m docs.photos photos
"""

import sys
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

PIECES: Final = 120  # of each class
# Class: number of the photograph; first row and column, last row and column.
REGIONS: Final = {
    "sky": (0, (0, 0, 110, 640)),
    "roof": (0, (150, 150, 330, 480)),
    "foliage": (1, (0, 330, 427, 640)),
    "petals": (1, (130, 180, 300, 420)),
}


def main() -> None:
    """Write FOLDER/CLASS/*.jpg, pieces of 40 to 100 pixels a side."""
    if len(sys.argv) != 2 or Path(sys.argv[1]).exists():
        sys.exit("name a new folder: python -m docs.photos photos")
    folder = Path(sys.argv[1])
    photographs = load_sample_images().images
    rng = np.random.RandomState(0)
    for name, (number, (top, left, bottom, right)) in REGIONS.items():
        (folder / name).mkdir(parents=True)
        for index in range(PIECES):
            side = rng.randint(40, 100)
            row, column = rng.randint(top, bottom - side), rng.randint(left, right - side)
            piece = photographs[number][row : row + side, column : column + side]
            Image.fromarray(piece).save(folder / name / f"{index:03}.jpg", quality=90)


if __name__ == "__main__":
    main()

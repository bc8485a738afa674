"""One search of a comparison: what the process that runs it is told."""

import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.data.dataset import Dataset
    from search.data.split import Split
    from spaces import DataShape

EVENTS_VARIABLE = "PEERS_EVENTS"  # path of the pipe that takes scores
FOLDER_VARIABLE = "PEERS_DATA"  # path of the images


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One search.

    Args:
        peer: Name of the method.
        league: `system`: each library with stock `fit`; `algorithm`: our trainer for all; `both`:
            a search that is the same in both.
        seed: Random seed.
        first: Whether the space's first configurations are tried first.
        space: Name of a built-in space.
        train_size: Training images.
        val_size: Validation images, half of them for the search and half for scoring.
        epochs: Maximum epochs of a trial.
        isa: `all` instructions of the CPU, or `avx2` only.
    """

    peer: str
    league: str
    seed: int
    first: bool
    space: str
    train_size: int
    val_size: int
    epochs: int
    isa: str

    @classmethod
    def from_arguments(cls) -> "Job":
        """Return the job of this process."""
        return cls(**json.loads(sys.argv[1]))

    def to_argument(self) -> str:
        """Return the argument that a job's process gets."""
        return json.dumps(asdict(self))

    @property
    def precision(self) -> str:
        """Number format of our trainer: the machine's fastest, as far as the instructions allow."""
        from search.training.hardware import best_precision

        return "float32" if self.isa == "avx2" else best_precision()

    def first_configurations(self) -> list[dict[str, Any]]:
        """Return the hyperparameters of the trials to begin with."""
        from spaces import first_configurations

        return list(first_configurations(self.space, data_shape()).values()) if self.first else []

    def split(self) -> "Split":
        """Return the images to train and to search with."""
        return _load_split(self.train_size, self.val_size // 2)


@lru_cache(maxsize=1)
def data_shape() -> "DataShape":
    """Return what the spaces know of the images: as of Fashion-MNIST, of which they are a part."""
    from spaces.baselines import PUBLISHED_FOR

    pixels = _open().pixels
    assert pixels is not None
    return replace(PUBLISHED_FOR, pixels=replace(pixels, normalized=False))


@lru_cache(maxsize=1)
def _open() -> "Dataset":
    from search.data.formats import open_dataset

    return open_dataset(os.environ[FOLDER_VARIABLE])


@lru_cache(maxsize=1)
def _load_split(train_size: int, val_size: int) -> "Split":
    from search.data.split import SplitSizes, load_split

    split = load_split(_open(), SplitSizes(train=train_size, val=val_size))
    return replace(split, pixels=data_shape().pixels)

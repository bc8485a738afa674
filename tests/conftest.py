"""Fixtures that several rooms share."""

import gc
import gzip
import hashlib
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pytest

from tests.postgres import BIN, Postgres

SMALL_CLASS_SIZE = 60

# For all that tests start: a GPU would need its libraries, and would compile each small network.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


@pytest.hookimpl(optionalhook=True)  # without xdist nobody asks
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests of commands wait for them a third of their time."""
    return int(joblib.cpu_count()) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run groups and the tests of whole commands first.

    Parallel runs take tests in this order, so that no long one is left for the end.
    """
    here = Path(__file__).parent
    items.sort(
        key=lambda item: (
            item.get_closest_marker("xdist_group") is None,
            item.path.parent != here,
        )
    )


def pytest_collection_finish() -> None:
    """Leave the imported libraries out of the collections of garbage that Keras asks for."""
    gc.freeze()


def write_idx_data(
    directory: Path, images: np.ndarray, labels: np.ndarray, part: str = "train"
) -> None:
    """Write files in MNIST's format, and into MD5SUMS the sums that vouch for them.

    Args:
        directory: Existing folder.
        images: (n, 28, 28) uint8.
        labels: (n,) uint8.
        part: `train` or `t10k`.
    """
    contents = {
        f"{part}-images-idx3-ubyte.gz": struct.pack(">IIII", 2051, *images.shape)
        + images.tobytes(),
        f"{part}-labels-idx1-ubyte.gz": struct.pack(">II", 2049, *labels.shape) + labels.tobytes(),
    }
    sums = []
    for name, content in contents.items():
        packed = gzip.compress(content, mtime=0)
        (directory / name).write_bytes(packed)
        sums.append(f"{hashlib.md5(packed).hexdigest()}  {name}\n")
    with (directory / "MD5SUMS").open("a") as file:
        file.writelines(sums)


def small_images(class_size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Learnable images and labels: each class has a bright 8x8 square of its own on noise."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(10, dtype=np.uint8), class_size))
    images = rng.integers(0, 60, (len(labels), 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 4)
        image[2 + 8 * row : 10 + 8 * row, 7 * column : 7 + 7 * column] += np.uint8(150)
    return images, labels


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 600 learnable training images, 60 of each class; no test files.

    Four epochs teach them to a small net.
    """
    directory = tmp_path_factory.mktemp("small-data")
    write_idx_data(directory, *small_images(SMALL_CLASS_SIZE, seed=0))
    return directory


@pytest.fixture(scope="session")
def small_data_with_test(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same training images, and 200 test images."""
    directory = tmp_path_factory.mktemp("small-data-with-test")
    write_idx_data(directory, *small_images(SMALL_CLASS_SIZE, seed=0))
    write_idx_data(directory, *small_images(20, seed=1), part="t10k")
    return directory


def set_odd_keras(patch: pytest.MonkeyPatch, directory: Path) -> None:
    """Configure Keras as a user may have it, and as no command may take it.

    Args:
        patch: Sets the variables of the environment.
        directory: Gets Keras' file of settings.
    """
    settings = {"backend": "torch", "image_data_format": "channels_first", "floatx": "float16"}
    (directory / "keras.json").write_text(json.dumps(settings))
    patch.setenv("KERAS_HOME", str(directory))
    patch.setenv("KERAS_BACKEND", "jax")


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory, small_data_with_test: Path) -> Path:
    """A folder with a finished study `mlp`. Tests that need it without retrainings copy it.

    Tests that use it belong to the group "report", so that it is searched only once.
    """
    from tests.command_line import run  # imports Optuna, which most tests do not need

    directory = tmp_path_factory.mktemp("searched")
    flags = ("--space", "mlp", "--epochs", "1", "--val-size", "100", "--trials", "4", "--seed", "1")
    flags += ("--workers", "1", "--pruner", "none", "--quiet")
    with pytest.MonkeyPatch.context() as patch:
        set_odd_keras(patch, directory)  # which changes nothing
        ended = run(directory, small_data_with_test, *flags)
    assert ended.returncode == 0, ended.stderr
    return directory


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    """A PostgreSQL server; whoever stops it starts it again."""
    if BIN is None:
        pytest.skip("PostgreSQL's programs are not installed (apt-get install postgresql)")
    with Postgres() as running:
        yield running

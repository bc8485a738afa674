"""The test split: found, checked, and said in one line where it is missing."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from reporting import scoring
from reporting.scoring import load_test_split, require_test_files
from search.errors import DataError
from tests.conftest import small_images, write_idx_data


def test_images_and_labels_are_those_of_the_files(small_data_with_test: Path) -> None:
    images, labels = small_images(20, seed=1)
    found = load_test_split(small_data_with_test)
    assert np.array_equal(found.images, images)
    assert np.array_equal(found.labels, labels)


def test_missing_files_are_named(small_data: Path) -> None:
    with pytest.raises(
        DataError, match=r"has no t10k-images-idx3-ubyte\.gz \(only the Keras cache"
    ):
        require_test_files(small_data)


def test_what_the_keras_cache_lacks_is_downloaded(
    small_data_with_test: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    cache = tmp_path / "datasets" / "fashion-mnist"
    cache.mkdir(parents=True)
    shutil.copy(small_data_with_test / "MD5SUMS", cache)

    def fetch(name: str, folder: Path) -> None:
        shutil.copy(small_data_with_test / name, folder)

    monkeypatch.setattr(scoring, "download", fetch)
    assert len(load_test_split(cache).labels) == 200

    def fail(name: str, folder: Path) -> None:
        raise OSError("no network")

    for file in cache.glob("t10k*"):
        file.unlink()
    monkeypatch.setattr(scoring, "download", fail)
    with pytest.raises(DataError, match=r"has no t10k-images.* \(no network\)\. Put t10k-images"):
        load_test_split(cache)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    images, labels = small_images(2, seed=0)
    write_idx_data(tmp_path, images, labels[:-1], part="t10k")
    with pytest.raises(
        DataError, match=r"test images \(20, 28, 28\) and labels \(19,\); they must"
    ):
        load_test_split(tmp_path)

"""The test split: found, checked, and said in one line where it is missing."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reporting import scoring
from reporting.errors import ReportError
from reporting.retraining import Retrained
from reporting.scoring import load_test_split, require_test_files, score
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


class SureModel:
    """In place of a Keras model: the class of an image is its first pixel."""

    def __init__(self) -> None:
        self.predicted = 0

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        self.predicted += len(images)
        return np.eye(10)[images[:, 0, 0] % 10]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> SureModel:
    model = SureModel()
    monkeypatch.setattr(scoring, "load_model", lambda path: model)
    return model


def kept(folder: Path) -> Retrained:
    return Retrained(
        folder=folder,
        seed=0,
        parameters=1,
        history=[{"accuracy": 0.5}],
        train_seconds=1.0,
        cpu_seconds=1.0,
        val_accuracy=None,
        origin={},
    )


def test_a_model_predicts_the_test_images_once(
    small_data_with_test: Path, tmp_path: Path, model: SureModel
) -> None:
    test = load_test_split(small_data_with_test)
    scores = score(kept(tmp_path), test)
    predicted = model.predicted
    again = score(kept(tmp_path), test)
    assert model.predicted == predicted > 0
    assert np.array_equal(scores.probabilities, again.probabilities)
    assert np.array_equal(scores.mirrored, again.mirrored)
    assert again.milliseconds_per_image == scores.milliseconds_per_image


def test_a_full_disk_is_one_line_that_names_the_folder(
    small_data_with_test: Path, tmp_path: Path, model: SureModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    said = rf"{tmp_path} cannot be written \(No space left.*finished trainings.*are kept"
    with pytest.raises(ReportError, match=said):
        score(kept(tmp_path), load_test_split(small_data_with_test))
    assert not list(tmp_path.iterdir())


DAMAGED: dict[str, dict[str, Any]] = {
    "shape": {"probabilities": np.full((200, 9), 0.1)},
    "images": {"mirrored": np.full((20, 10), 0.1)},
    "not finite": {"probabilities": np.full((200, 10), np.nan)},
    "no probabilities": {"probabilities": np.full((200, 10), 3.0)},
    "numbers of another kind": {"probabilities": np.full((200, 10), "0.1")},
    "objects": {"machine": np.array([print], dtype=object)},
    "time": {"milliseconds_per_image": np.array([1.0, 2.0])},
    "negative time": {"milliseconds_per_image": -1.0},
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_scores_are_measured_again(
    small_data_with_test: Path, tmp_path: Path, model: SureModel, case: str
) -> None:
    test = load_test_split(small_data_with_test)
    score(kept(tmp_path), test)
    file = tmp_path / "test_scores.npz"
    with np.load(file) as known:
        stored = dict(known)
    np.savez(file, **(stored | DAMAGED[case]))
    predicted = model.predicted
    assert score(kept(tmp_path), test).probabilities.shape == (200, 10)
    assert model.predicted > predicted

"""The test part: found, checked, and said in one line where it is missing."""

import errno
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reporting import scoring
from reporting.errors import ReportError
from reporting.plan import Entry
from reporting.readout import Readout, Tried
from reporting.retraining import Retrained, Retraining
from reporting.run import _rows
from reporting.scoring import Scorer, Scores, load_test_split, stored_scores
from reporting.settings import ReportSettings
from reporting.views import ALONE, Views
from search.data.dataset import LabeledImages
from search.data.idx import open_idx
from search.data.split import SplitSizes
from search.errors import DataError
from search.workers.messages import Images
from spaces import DataShape
from tests.conftest import small_images, write_idx_data


def test_images_and_labels_are_those_of_the_files(small_data_with_test: Path) -> None:
    images, labels = small_images(20, seed=1)
    found = load_test_split(open_idx(small_data_with_test))
    assert np.array_equal(found.images, images[..., None])
    assert np.array_equal(found.labels, labels)


def test_test_images_of_another_shape_are_refused(tmp_path: Path) -> None:
    images, labels = small_images(2, seed=0)
    write_idx_data(tmp_path, images, labels)
    write_idx_data(tmp_path, images[:, :20], labels, part="t10k")
    said = r"test images of shape \(20, 28, 1\), but training images of shape \(28, 28, 1\)\. Fetch"
    with pytest.raises(DataError, match=said):
        load_test_split(open_idx(tmp_path))


DATA = DataShape((28, 28, 1), 10)
MIRROR = Views(mirror=True)


def score(
    kept: Retrained, test: LabeledImages, data: DataShape = DATA, *, views: Views = MIRROR
) -> Scores:
    return Scorer(test, data).score(kept, views)


class SureModel:
    """In place of a Keras model: the class of an image is its first pixel."""

    def __init__(self) -> None:
        self.predicted = 0
        self.sizes: list[int] = []

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        self.predicted += len(images)
        self.sizes.append(len(images))
        return np.eye(10)[images[:, 0, 0, 0] % 10]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> SureModel:
    model = SureModel()
    monkeypatch.setattr(scoring, "load_model", lambda path, data: model)
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
    test = load_test_split(open_idx(small_data_with_test))
    scores = score(kept(tmp_path), test)
    predicted = model.predicted
    again = score(kept(tmp_path), test)
    assert model.predicted == predicted > 0
    assert np.array_equal(scores.probabilities, again.probabilities)
    assert np.array_equal(scores.others["mirrored"], again.others["mirrored"])
    assert again.milliseconds_per_image == scores.milliseconds_per_image


def test_other_views_are_predicted_only_where_a_row_needs_them(
    small_data_with_test: Path, tmp_path: Path, model: SureModel
) -> None:
    test = load_test_split(open_idx(small_data_with_test))
    assert not score(kept(tmp_path), test, views=ALONE).others
    once = model.predicted
    assert not score(kept(tmp_path), test, views=ALONE).others
    assert model.predicted == once
    both = score(kept(tmp_path), test)
    assert model.predicted == 2 * once + len(test)
    # Kept ones of earlier versions always have both.
    known = score(kept(tmp_path), test, views=ALONE)
    assert np.array_equal(known.probabilities, both.probabilities)
    assert model.predicted == 2 * once + len(test)
    all_views = score(kept(tmp_path), test, views=Views(mirror=True, shifts=True))
    assert list(all_views.others) == ["mirrored", "shifted", "mirrored_shifted"]
    assert model.predicted == 3 * once + len(test) * (1 + 9)


def test_unchosen_views_are_predicted_for_the_winner_only(tmp_path: Path, model: SureModel) -> None:
    images, labels = small_images(20, seed=1)
    scorer = Scorer(LabeledImages(images=images[..., None], labels=labels), DATA)
    one = Retraining(
        space="mlp",
        params={},
        seed=0,
        epochs=1,
        images=Images.ALL,
        data="0",
        sizes=SplitSizes(val=20),
        precision="float32",
    )
    readout = Readout(compared={way: Tried(0.9) for way in Views(True, True).ways})
    for name, views, rows in (("tuned", 10, 4), ("tuned, averaged weights", 1, 1)):
        (tmp_path / name).mkdir()
        results = {one.key: kept(tmp_path / name)}
        entry = Entry(name=name, params={}, retrainings=[one])
        model.predicted = 0
        assert len(_rows(ReportSettings(), entry, readout, results, scorer)) == rows
        assert model.predicted == (1 + views) * len(labels)  # once more to compile


def test_views_are_made_of_a_few_images_at_once(
    tmp_path: Path, model: SureModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = small_images(20, seed=1)
    test = LabeledImages(images=images[..., None], labels=labels)
    every = Views(mirror=True, shifts=True)
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = score(kept(tmp_path / "whole"), test, views=every)
    monkeypatch.setattr(scoring, "_PART_BYTES", 7 * 28 * 28)
    model.sizes.clear()
    parts = score(kept(tmp_path / "parts"), test, views=every)
    batch, alone, *others = model.sizes
    assert batch == alone == len(test)
    assert max(others) == 7
    for name in every.others:
        assert np.array_equal(parts.others[name], whole.others[name])


def test_the_test_split_is_read_once_to_identify_it(
    small_data_with_test: Path,
    tmp_path: Path,
    model: SureModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digested = []
    digest = scoring._digest
    monkeypatch.setattr(scoring, "_digest", lambda test: digested.append(1) or digest(test))
    scorer = Scorer(load_test_split(open_idx(small_data_with_test)), DATA)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        scorer.score(kept(tmp_path / name), MIRROR)
    assert len(digested) == 1


def test_a_full_disk_is_one_line_that_names_the_folder(
    small_data_with_test: Path, tmp_path: Path, model: SureModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    said = rf"{tmp_path} cannot be written \(No space left.*finished trainings.*are kept"
    with pytest.raises(ReportError, match=said):
        score(kept(tmp_path), load_test_split(open_idx(small_data_with_test)))
    assert not list(tmp_path.iterdir())


DAMAGED: dict[str, dict[str, Any]] = {
    "shape": {"probabilities": np.full((200, 9), 0.1)},
    "images": {"mirrored": np.full((20, 10), 0.1)},
    "not finite": {"probabilities": np.full((200, 10), np.nan)},
    "no probabilities": {"probabilities": np.full((200, 10), 3.0)},
    "numbers of another kind": {"probabilities": np.full((200, 10), "0.1")},
    "objects": {"machine": np.array([Path()], dtype=object)},
    "time": {"milliseconds_per_image": np.array([1.0, 2.0])},
    "negative time": {"milliseconds_per_image": -1.0},
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_scores_are_measured_again(
    small_data_with_test: Path, tmp_path: Path, model: SureModel, case: str
) -> None:
    test = load_test_split(open_idx(small_data_with_test))
    score(kept(tmp_path), test)
    file = tmp_path / "test_scores.npz"
    with np.load(file) as known:
        stored = dict(known)
    np.savez(file, **(stored | DAMAGED[case]))
    predicted = model.predicted
    assert score(kept(tmp_path), test).probabilities.shape == (200, 10)
    assert model.predicted > predicted


def test_scores_that_are_larger_than_the_data_are_not_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "test_scores.npz"
    np.savez_compressed(file, probabilities=np.zeros((1_000_000, 10)))
    assert file.stat().st_size < 10**6
    tracemalloc.start()  # NumPy reports its arrays to it
    try:
        assert stored_scores(file, (200, 10)) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10**7


def test_scores_of_another_number_of_classes_are_measured_again(
    small_data_with_test: Path, tmp_path: Path, model: SureModel
) -> None:
    test = load_test_split(open_idx(small_data_with_test))
    score(kept(tmp_path), test)
    predicted = model.predicted
    score(kept(tmp_path), test, DataShape((28, 28, 1), 7))
    assert model.predicted > predicted

"""Saved models: found, checked, loaded; their outputs as probabilities."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from predicting.model import (
    ModelError,
    as_probabilities,
    check_model_file,
    load_model,
    newest_model,
)
from tests.reporting.band_model import band_images, save_model


def test_probabilities_are_only_rounded() -> None:
    given = np.array([[0.25, 0.75], [1.0, 0.0], [0.3333, 0.6671]], np.float32)
    taken = as_probabilities(given)
    assert taken.dtype == np.float64
    np.testing.assert_allclose(taken, given, rtol=1e-3)
    # scikit-learn requires exact sums.
    np.testing.assert_allclose(taken.sum(axis=1), 1, rtol=1e-15)


@pytest.mark.parametrize(
    "logits",
    [[[0.0, 0.0]], [[0.2, 0.9]], [[-0.5, 1.5]], [[0.5, 0.5], [3.0, 1.0]], [[1000.0, -1000.0]]],
)
def test_other_outputs_are_logits(logits: list[list[float]]) -> None:
    taken = as_probabilities(logits)
    assert np.all((taken >= 0) & (taken <= 1))
    np.testing.assert_allclose(taken.sum(axis=1), 1)
    for row, (first, second) in zip(taken, logits, strict=True):
        assert row[1] == pytest.approx(1 / (1 + np.exp(min(first - second, 700))))


def test_the_newest_model_is_found(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model found as .* Run report\.py first, or name"):
        newest_model(tmp_path)
    preview = tmp_path / "a" / "report-preview" / "best_model.keras"
    preview.parent.mkdir(parents=True)
    preview.touch()
    with pytest.raises(ModelError, match=rf"of a preview only.* or add --model {preview}\."):
        newest_model(tmp_path)
    for name, seconds in (("a", 10), ("b", 30), ("c", 20)):
        path = tmp_path / name / "report" / "best_model.keras"
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (seconds, seconds))
    assert newest_model(tmp_path) == tmp_path / "b" / "report" / "best_model.keras"


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no\.keras does not exist\. Run report\.py first, or"):
        check_model_file(tmp_path / "no.keras")


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_another_format_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x89HDF\r\n")
    with pytest.raises(ModelError, match=r"is not a \.keras file .*Save it with model\.save"):
        check_model_file(tmp_path / name)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not a \.keras file"):
        check_model_file(tmp_path)


def test_a_zip_archive_without_a_model_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(
        ModelError, match=r"model .*m\.keras: keras\.saving\.load_model cannot load it, KeyError"
    ):
        load_model(tmp_path / "m.keras")


def test_code_in_a_model_is_not_run(tmp_path: Path) -> None:
    import keras

    model = keras.Sequential(
        [keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Lambda(lambda x: x[:, :10])]
    )
    model.save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match=r"load_model cannot load it, .* no Lambda layer"):
        load_model(tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("changed", "shapes"),
    [
        ({"input_shape": (32, 32, 3)}, r"its input is \(None, 32, 32, 3\)"),
        ({"classes": 7}, r"shape \(None, 7\); it must be one of shape \(None, 10\)"),
    ],
)
def test_another_shape_is_refused(tmp_path: Path, changed: dict[str, object], shapes: str) -> None:
    model = save_model(tmp_path / "m.keras", **changed)
    with pytest.raises(ModelError, match=rf"{shapes}\. Name another one with"):
        load_model(model)


def test_a_model_that_diverged_is_refused(tmp_path: Path) -> None:
    model = save_model(tmp_path / "m.keras", scale=float("nan"))
    with pytest.raises(ModelError, match=r"not finite: its training diverged\. Name another"):
        load_model(model).probabilities(band_images([0]))

"""What a saved model says of images, and what is said of a model that cannot be used."""

import dataclasses
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from predicting.prediction import (
    ModelError,
    Prediction,
    as_probabilities,
    check_model_file,
    load_image,
    newest_model,
    predict,
)
from search.data.classes import CLASS_NAMES
from tests.reporting.band_model import band_images, save_model


def test_probabilities_stay_but_for_rounding() -> None:
    given = np.array([[0.25, 0.75], [1.0, 0.0], [0.3333, 0.6671]], np.float32)
    taken = as_probabilities(given)
    assert taken.dtype == np.float64
    np.testing.assert_allclose(taken, given, rtol=1e-3)
    # As exactly as those who compute with them expect, scikit-learn for one.
    np.testing.assert_allclose(taken.sum(axis=1), 1, rtol=1e-15)


@pytest.mark.parametrize(
    "logits",
    [[[0.0, 0.0]], [[0.2, 0.9]], [[-0.5, 1.5]], [[0.5, 0.5], [3.0, 1.0]], [[1000.0, -1000.0]]],
)
def test_everything_else_is_taken_as_logits(logits: list[list[float]]) -> None:
    taken = as_probabilities(logits)
    assert np.all((taken >= 0) & (taken <= 1))
    np.testing.assert_allclose(taken.sum(axis=1), 1)
    for row, (first, second) in zip(taken, logits, strict=True):
        assert row[1] == pytest.approx(1 / (1 + np.exp(min(first - second, 700))))


@pytest.mark.parametrize("end", [None, "softmax"])
def test_a_model_of_logits_and_one_of_probabilities(tmp_path: Path, end: str | None) -> None:
    model = save_model(tmp_path / "m.keras", end=end)
    images = band_images(range(10))
    said = predict(images, model)
    assert [one.class_name for one in said] == list(CLASS_NAMES)
    for one in said:
        # The band of its class gives the logit 4, all others 0.
        assert one.probability == pytest.approx(np.exp(4) / (np.exp(4) + 9), rel=1e-4)
        assert one.top3[0] == (one.class_name, one.probability)
    # Equal probabilities come in the order of the labels.
    assert [name for name, _ in said[0].top3] == list(CLASS_NAMES[:3])
    assert predict(list(images), str(model)) == said


def test_a_prediction_cannot_be_changed() -> None:
    said = Prediction("Bag", 1.0, (("Bag", 1.0),))
    with pytest.raises(dataclasses.FrozenInstanceError):
        said.probability = 0.5  # type: ignore[misc]


def test_no_images_need_no_model() -> None:
    assert predict([], "nowhere.keras") == []


def test_wrong_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images is float64\(1, 28, 28\); use uint8"):
        predict(np.zeros((1, 28, 28)), "nowhere.keras")  # type: ignore[arg-type]


def test_the_newest_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model found as .* Run report\.py first, or give --m"):
        newest_model(tmp_path)
    preview = tmp_path / "a" / "report-preview" / "best_model.keras"
    preview.parent.mkdir(parents=True)
    preview.touch()
    with pytest.raises(ModelError, match=rf"only of a preview.* or give --model {preview}\."):
        newest_model(tmp_path)
    for name, seconds in (("a", 10), ("b", 30), ("c", 20)):
        path = tmp_path / name / "report" / "best_model.keras"
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (seconds, seconds))
    assert newest_model(tmp_path) == tmp_path / "b" / "report" / "best_model.keras"


def test_a_missing_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no\.keras does not exist\. Run report\.py first, or"):
        check_model_file(tmp_path / "no.keras")


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_another_format(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x89HDF\r\n")
    with pytest.raises(ModelError, match=r"is not a \.keras file .*Save it with model\.save"):
        check_model_file(tmp_path / name)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not a \.keras file"):
        check_model_file(tmp_path)


def test_a_zip_archive_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(ModelError, match=r"cannot load model .*m\.keras \(.*\)\. It must load"):
        predict(band_images([0]), tmp_path / "m.keras")


def test_code_in_a_model_is_not_run(tmp_path: Path) -> None:
    import keras

    model = keras.Sequential(
        [keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Lambda(lambda x: x[:, :10])]
    )
    model.save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match=r"cannot load model .* no Lambda"):
        predict(band_images([0]), tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("changed", "shapes"),
    [
        ({"input_shape": (32, 32, 3)}, r"maps \(None, 32, 32, 3\) to \(None, 10\)"),
        ({"classes": 7}, r"maps \(None, 28, 28, 1\) to \(None, 7\)"),
    ],
)
def test_another_input_or_output(tmp_path: Path, changed: dict[str, object], shapes: str) -> None:
    model = save_model(tmp_path / "m.keras", **changed)
    with pytest.raises(ModelError, match=rf"{shapes}; it must map .* Give another with --model"):
        predict(band_images([0]), model)


def test_a_model_that_diverged(tmp_path: Path) -> None:
    model = save_model(tmp_path / "m.keras", scale=float("nan"))
    with pytest.raises(ModelError, match=r"not finite; its training diverged\. Give another"):
        predict(band_images([0]), model)


def test_load_image_is_found_here_too() -> None:
    assert load_image.__module__ == "predicting.image_files"

"""Predictions of a saved model."""

import dataclasses
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from predicting import Prediction, predict, prediction
from search.data.classes import FASHION_CLASSES
from tests.reporting.band_model import band_images, save_model


@pytest.mark.parametrize("end", [None, "softmax"])
def test_logits_and_probabilities_predict_the_same(tmp_path: Path, end: str | None) -> None:
    model = save_model(tmp_path / "m.keras", end=end)
    images = band_images(range(10))
    predictions = predict(images, model)
    assert [one.class_name for one in predictions] == list(FASHION_CLASSES)
    for one in predictions:
        # The band of its class gives the logit 4, all others 0.
        assert one.probability == pytest.approx(np.exp(4) / (np.exp(4) + 9), rel=1e-4)
        assert one.top3[0] == (one.class_name, one.probability)
    # Classes of equal probability keep the order of their labels.
    assert [name for name, _ in predictions[0].top3] == list(FASHION_CLASSES[:3])
    assert predict(list(images), str(model)) == predictions
    assert predict(images[..., 0], str(model)) == predictions


def test_a_prediction_cannot_be_changed() -> None:
    prediction = Prediction("Bag", 1.0, (("Bag", 1.0),))
    with pytest.raises(dataclasses.FrozenInstanceError):
        prediction.probability = 0.5  # type: ignore[misc]


def test_images_of_an_iterator_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "_PART_BYTES", 2 * 28 * 28)
    model = save_model(tmp_path / "m.keras")
    most, alive = 0, []

    def images() -> Iterator[np.ndarray]:
        nonlocal most
        for image in band_images(range(10)):
            made = image.copy()
            alive.append(weakref.ref(made))
            most = max(most, sum(one() is not None for one in alive))
            yield made

    found = predict(images(), model)
    assert [one.class_name for one in found] == list(FASHION_CLASSES)
    assert most <= 5  # the first, and two parts of two


def test_no_images_need_no_model() -> None:
    assert predict([], "nowhere.keras") == []


def test_wrong_images_are_refused() -> None:
    expected = r"an image is float64\(28, 28\); it must be uint8 \(28, 28, 1\)\."
    with pytest.raises(ValueError, match=expected):
        predict(np.zeros((1, 28, 28)), "nowhere.keras")  # type: ignore[arg-type]

"""The measured speed of a training: of ours, and of one that a space defines."""

import time
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from search.data.split import VALIDATION_COST, Split
from search.errors import SearchError
from search.training import speed as speed_module
from search.training.speed import measure_speed
from spaces.training import TrainingConfig

EPOCH_SECONDS = 0.2
COSTING = 1_024 + VALIDATION_COST * 256


def images(count: int) -> Any:
    return np.zeros((count, 28, 28, 1), np.uint8)


def labels(count: int) -> Any:
    return np.arange(count, dtype=np.uint8) % 10


SPLIT = Split(
    train_images=images(2_000),
    train_labels=labels(2_000),
    val_images=images(300),
    val_labels=labels(300),
    classes=10,
)


def model() -> keras.Model:
    return keras.Sequential(
        [keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )


def test_tracing_is_no_part_of_the_speed() -> None:
    began = time.perf_counter()
    speed = measure_speed(model(), TrainingConfig(batch_size=100), SPLIT, seconds=0.5)
    elapsed = time.perf_counter() - began
    assert 0 < speed.seconds < elapsed
    epochs = speed.seconds * speed.images_per_second / (1_000 + VALIDATION_COST * 256)
    assert epochs == pytest.approx(round(epochs)) and 2 <= epochs <= 100


@pytest.mark.parametrize("reports", ["each epoch", "at the end"])
def test_the_speed_of_a_space_s_own_training_is_that_of_its_epochs(
    reports: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    now = 0.0  # of a clock that only the epochs advance, whatever else this machine does
    monkeypatch.setattr(speed_module, "time", SimpleNamespace(perf_counter=lambda: now))

    def fit(model: Any, x: Any, y: Any, *, epochs: int, callbacks: Any, **other: Any) -> Any:
        nonlocal now
        asked.append(epochs)
        for epoch in range(epochs):
            now += EPOCH_SECONDS
            if reports == "each epoch":
                callbacks[0].on_epoch_end(epoch, {"val_accuracy": 0.5})
        return {"val_accuracy": [0.5] * epochs}

    speed = measure_speed(model(), TrainingConfig(), SPLIT, seconds=0.01, fit=fit)
    assert asked == [2]
    assert speed.images_per_second == pytest.approx(COSTING / EPOCH_SECONDS)
    assert speed.seconds == pytest.approx(2 * EPOCH_SECONDS)


def test_a_training_that_diverges_has_no_speed() -> None:
    diverging = model()
    diverging.compile(loss=lambda truth, logits: logits * np.nan, metrics=["accuracy"])
    with pytest.raises(SearchError, match=r"^non-finite loss$"):
        measure_speed(diverging, TrainingConfig(), SPLIT, seconds=0.1)

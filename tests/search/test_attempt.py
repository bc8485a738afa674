"""What the coordinator records of a training."""

from dataclasses import replace
from typing import Any

import optuna
import pytest

from search.attempt import Attempt
from search.display import RunningTrial
from search.engines.engine import Budget
from search.study.objective import Objectives
from search.workers.messages import Epoch, Timed, Trained


def made_attempt(epochs: int) -> Attempt:
    return Attempt(
        trial=optuna.create_study().ask(),
        budget=Budget(0, epochs),
        started=0.0,
        shown=RunningTrial(0),
        attrs={},
        losses=[],
        objectives=Objectives("accuracy"),
    )


def trained_for(epochs: int) -> Trained:
    return Trained(
        epochs=epochs,
        seconds=20.0,
        train_seconds=16.0,
        val_seconds=2.0,
        cpu_seconds=18.0,
        images_per_second=100.0,
        curve_png=b"",
    )


@pytest.mark.parametrize("accuracy", [float("nan"), float("inf"), None])
def test_a_training_accuracy_that_a_study_cannot_store_is_left_out(accuracy: float | None) -> None:
    attempt = made_attempt(epochs=1)
    metrics = {"val_accuracy": 0.8} | ({} if accuracy is None else {"accuracy": accuracy})
    attempt.take_epoch(Epoch(1, metrics))
    attempt.take_end(trained_for(1), elapsed_seconds=21.0)
    assert "train_accuracy" not in attempt.attrs


@pytest.mark.parametrize(
    ("seconds", "slowest"), [((9.0, 2.0, 5.0), 2.5), ((9.0, 0.2, 0.5), None), ((9.0, 2.0), None)]
)
def test_the_slowest_epoch_counts_where_epochs_take_long_enough(
    seconds: tuple[float, ...], slowest: float | None
) -> None:
    attempt = made_attempt(epochs=len(seconds))
    attempt.take_times(Timed({"latency_ms": 2.0}, seconds=5.0))
    for number, one in enumerate(seconds, start=1):
        metrics: dict[str, Any] = {"accuracy": 0.9, "val_accuracy": 0.8, "seconds": one}
        attempt.take_epoch(Epoch(number, metrics))
    attempt.take_end(trained_for(len(seconds)), elapsed_seconds=21.0)
    assert attempt.attrs.get("slowest_epoch") == slowest
    assert attempt.attrs["train_accuracy"] == 0.9
    assert (attempt.attrs["seconds"], attempt.attrs["latency_seconds"]) == (20.0, 5.0)
    assert attempt.as_running(21.0).latency_seconds == 5.0


@pytest.mark.parametrize(
    ("epochs", "paused"), [((9.0, 2.0, 102.0), True), ((9.0, 2.0, 5.0), False)]
)
def test_a_suspension_is_no_part_of_a_training(epochs: tuple[float, ...], paused: bool) -> None:
    attempt = made_attempt(epochs=3)
    attempt.suspended_seconds = 50.0  # of earlier trials
    for number, one in enumerate(epochs, start=1):
        attempt.take_epoch(Epoch(number, {"val_accuracy": 0.8, "seconds": one}))
    measured = trained_for(3)
    if paused:  # its worker was suspended, too
        measured = replace(measured, seconds=120.0, train_seconds=116.0, images_per_second=10.0)
    attempt.take_end(measured, elapsed_seconds=21.0, suspended_seconds=150.0)
    assert attempt.attrs["seconds"] == 20.0
    assert attempt.attrs["train_seconds"] == 16.0
    assert attempt.attrs["images_per_second"] == (72.5 if paused else 100.0)
    assert attempt.history[-1]["seconds"] == (2.0 if paused else 5.0)

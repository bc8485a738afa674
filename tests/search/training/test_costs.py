"""What a network costs, whatever it has learned: FLOPs and latency."""

from pathlib import Path
from typing import Any

import keras
import pytest

from search.errors import SearchError
from search.study.facts import check_study
from search.training import latency
from search.training.flops import count_flops
from search.training.latency import measure_latency
from spaces import DataShape
from tests.search.study.test_facts import create_trial, study

DATA = DataShape((28, 28, 1), 10)


def network(*layers: Any) -> keras.Model:
    return keras.Sequential([keras.Input(DATA.image_shape), *layers])


@pytest.mark.parametrize(
    ("layers", "multiply_adds"),
    [
        ([keras.layers.Flatten(), keras.layers.Dense(10)], 784 * 10),
        ([keras.layers.Conv2D(8, 3, padding="same")], 28 * 28 * 8 * 9),
        (
            [keras.layers.Conv2D(8, 1), keras.layers.Conv2D(4, 3, groups=2)],
            28 * 28 * 8 + 26 * 26 * 4 * 9 * 4,
        ),
        (
            [keras.layers.Conv2D(8, 1), keras.layers.SeparableConv2D(4, 3)],
            28 * 28 * 8 + 26 * 26 * 8 * (9 + 4),
        ),
        ([keras.layers.Conv2DTranspose(2, 2, strides=2)], 28 * 28 * 2 * 4),
        ([keras.layers.Reshape((28, 28)), keras.layers.Dense(5)], 28 * 28 * 5),
        ([keras.layers.Reshape((28, 28)), keras.layers.EinsumDense("abc,cd->abd", (None, 5))],
         28 * 28 * 5),
        ([keras.layers.MaxPooling2D(), keras.layers.BatchNormalization()], 0),
    ],
)  # fmt: skip
def test_flops_are_twice_the_multiply_adds(layers: list[Any], multiply_adds: int) -> None:
    assert count_flops(network(*layers), DATA) == 2 * multiply_adds


def test_a_subclassed_model_that_uses_a_layer_twice_counts_it_twice() -> None:
    class Twice(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.conv = keras.layers.Conv2D(1, 3, padding="same")

        def call(self, images: Any) -> Any:
            return self.conv(self.conv(images))

    model = Twice()
    model(keras.Input(DATA.image_shape))
    assert count_flops(model, DATA) == 2 * 2 * 28 * 28 * 9


def test_latency_is_measured_in_a_process_of_its_own_with_its_spread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Files of the current directory, whatever their names, are not imported there.
    for name in ("json", "search"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('file of the user')\n")
    monkeypatch.chdir(tmp_path)
    found = measure_latency(network(keras.layers.Flatten(), keras.layers.Dense(10)), DATA)
    for low, median, high in (
        (found.single_quartiles_ms[0], found.single_ms, found.single_quartiles_ms[1]),
        (found.batch_quartiles_ms[0], found.batch_ms, found.batch_quartiles_ms[1]),
    ):
        assert 0 < low <= median <= high
    assert found.batch == 500
    check_study(study(create_trial(value=0.5, user_attrs=found.attrs)))  # can be stored


def test_a_process_that_fails_is_said_in_one_line() -> None:
    with pytest.raises(
        SearchError,
        match=r"^its latency cannot be measured: the process ended with exit code 1 \(OSE",
    ):
        latency._quartiles(latency.Path("/nowhere"), 1, DATA)

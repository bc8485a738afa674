"""Finding what is left of a space, against listing all of it."""

import itertools
import random
from typing import Any

import keras_tuner
import pytest

from search.engines.untried import find_untried, is_complete, is_tried


def conditional_space() -> Any:
    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["sgd", "adam"])
    hp.Fixed("fixed", 1)
    with hp.conditional_scope("kind", ["sgd"]):
        hp.Float("momentum", 0.0, 0.9, step=0.3)
    with hp.conditional_scope("kind", ["adam"]):
        hp.Boolean("amsgrad")
        hp.Int("units", 8, 32, step=2, sampling="log")
    return hp.space


SGD = [{"kind": "sgd", "momentum": momentum} for momentum in (0.0, 0.3, 0.6, 0.9)]
ADAM = [
    {"kind": "adam", "amsgrad": amsgrad, "units": units}
    for amsgrad, units in itertools.product((False, True), (8, 16, 32))
]


@pytest.mark.parametrize("seed", range(5))
def test_all_of_a_conditional_space_is_found_once(seed: int) -> None:
    rng = random.Random(seed)
    found: list[dict[str, Any]] = []
    while (params := find_untried(conditional_space(), found, rng)) is not None:
        found.append(params)
    assert len(found) == len(SGD) + len(ADAM)
    assert all(is_tried(params, found) for params in SGD + ADAM)


def test_without_a_random_generator_the_order_is_that_of_a_grid_with_defaults_first() -> None:
    found: list[dict[str, Any]] = []
    while (params := find_untried(conditional_space(), found)) is not None:
        found.append(params)
    assert len(found) == len(SGD) + len(ADAM)
    assert all(is_tried(params, [wanted]) for params, wanted in zip(found, SGD + ADAM, strict=True))


def test_a_grid_lists_ten_values_of_a_continuous_hyperparameter() -> None:
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 1e-3, 1.0, sampling="reverse_log", default=0.5)
    found: list[dict[str, Any]] = []
    while (params := find_untried(hp.space, found)) is not None:
        found.append(params)
    (name,) = found[0]
    assert 1.001 - found[0][name] == pytest.approx(0.5)  # as Optuna stores it: reversed
    assert len(found) == 11


def test_a_part_of_a_configuration_covers_all_that_agree_with_it() -> None:
    hp = keras_tuner.HyperParameters()
    for name in ("a", "b", "c"):
        hp.Int(name, 1, 3)
    tried = [{"a": 1}, {"a": 2, "b": 1}, {"a": 2, "b": 2}, {"a": 3}, {"a": 2, "b": 3, "c": 1}]
    for seed in range(10):
        found = find_untried(hp.space, tried, random.Random(seed))
        assert found in ({"a": 2, "b": 3, "c": 2}, {"a": 2, "b": 3, "c": 3})
    assert find_untried(hp.space, [*tried, {"b": 3}], random.Random(0)) is None
    assert find_untried(hp.space, [*tried, {"gone": 3}], random.Random(0)) is not None


def test_a_continuous_hyperparameter_always_leaves_something() -> None:
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 1e-3, 1.0, sampling="log")
    hp.Choice("a", [1, 2])
    tried = [{"rate": 0.1, "a": 1}, {"a": 2}]
    assert find_untried(hp.space, tried, random.Random(0)) == {"a": 1}
    assert find_untried(hp.space, [*tried, {"a": 1}], random.Random(0)) is None


def test_a_configuration_is_whole_with_all_active_values_but_continuous_ones() -> None:
    assert is_complete({"kind": "sgd", "momentum": 0.3}, conditional_space())
    assert not is_complete({"kind": "adam", "momentum": 0.3, "units": 8}, conditional_space())
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 1e-3, 1.0, sampling="log")
    assert is_complete({}, hp.space)


def test_values_that_differ_by_rounding_are_the_same() -> None:
    assert is_tried({"x": 0.1 + 0.2, "y": 1}, [{"x": 0.3}])
    assert not is_tried({"x": 0.31}, [{"x": 0.3}])
    assert not is_tried({}, [{"x": 0.3}])
    assert is_tried({"x": 1}, [{}])

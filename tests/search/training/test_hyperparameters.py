"""KerasTuner's whole `hp` interface, answered through Optuna's distributions."""

from typing import Any

import keras_tuner
import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.errors import SearchError
from search.training.hyperparameters import TrialHyperParameters


class Asked:
    """Answers with the highest value, and remembers what was asked."""

    def __init__(self) -> None:
        self.distributions: dict[str, BaseDistribution] = {}

    def __call__(self, name: str, distribution: Any) -> Any:
        self.distributions[name] = distribution
        if isinstance(distribution, CategoricalDistribution):
            return distribution.choices[-1]
        return distribution.high


@pytest.mark.parametrize(
    ("low", "high", "step", "last"),
    [
        (0.0, 0.5, 0.05, 0.5),
        (0.0, 0.2, 0.05, 0.2),
        (0.0, 0.9, 0.3, 0.9),
        (0.1, 0.7, 0.1, 0.7),
        (0.0, 1.0, 0.3, 0.9),
        (1e-12, 1e-11, 1e-12, 1e-11),
    ],
)
def test_a_stepped_float_keeps_its_last_value(
    low: float, high: float, step: float, last: float
) -> None:
    asked = Asked()
    assert TrialHyperParameters(asked).Float("x", low, high, step=step) == last
    assert asked.distributions["x"] == FloatDistribution(low, last, step=step)


# Connections that earlier tests left open may be collected during this one.
@pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stepped_integer_ends_at_its_last_value() -> None:
    asked = Asked()
    assert TrialHyperParameters(asked).Int("x", 1, 10, step=4) == 9
    assert asked.distributions["x"] == IntDistribution(1, 9, step=4)


def test_each_kind_becomes_the_matching_distribution() -> None:
    asked = Asked()
    hp = TrialHyperParameters(asked)
    assert hp.Int("int", 1, 9, step=2) == 9
    assert hp.Int("log int", 1, 64, sampling="log") == 64
    assert hp.Float("float", 0.0, 1.0) == 1.0
    assert hp.Float("log float", 1e-3, 1.0, sampling="log") == 1.0
    assert hp.Choice("choice", ["a", "b"]) == "b"
    assert hp.Boolean("boolean") is False
    assert hp.Fixed("fixed", 7) == 7
    assert hp.fixed == {"fixed": 7}
    assert asked.distributions == {
        "int": IntDistribution(1, 9, step=2),
        "log int": IntDistribution(1, 64, log=True),
        "float": FloatDistribution(0.0, 1.0),
        "log float": FloatDistribution(1e-3, 1.0, log=True),
        "choice": CategoricalDistribution(["a", "b"]),
        "boolean": CategoricalDistribution([True, False]),
    }


def test_a_logarithmic_step_becomes_its_values() -> None:
    asked = Asked()
    assert TrialHyperParameters(asked).Int("x", 8, 64, step=2, sampling="log") == 64
    assert asked.distributions["x"] == CategoricalDistribution([8, 16, 32, 64])


def test_reverse_log_is_dense_at_the_top() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    values = []
    for _ in range(200):
        trial = study.ask()

        def suggest(name: str, distribution: Any, trial: Any = trial) -> float:
            return float(trial.suggest_float(name, distribution.low, distribution.high, log=True))

        values.append(TrialHyperParameters(suggest).Float("x", 0.001, 1.0, sampling="reverse_log"))
    assert all(0.001 <= value <= 1.0 for value in values)
    assert sorted(values)[100] > 0.9


def test_inactive_hyperparameters_are_not_asked_for() -> None:
    asked = Asked()
    hp = TrialHyperParameters(asked)
    hp.Choice("kind", ["sgd", "adam"])
    with hp.conditional_scope("kind", ["sgd"]):
        assert hp.Float("momentum", 0.0, 1.0) is None
    with hp.conditional_scope("kind", ["adam"]):
        assert hp.Float("beta", 0.0, 1.0) == 1.0
    assert list(asked.distributions) == ["kind", "beta"]


def test_name_scopes_and_get_work_as_in_keras_tuner() -> None:
    asked = Asked()
    hp = TrialHyperParameters(asked)
    with hp.name_scope("block"):
        hp.Int("units", 1, 5)
        assert hp.get("units") == 5
    assert hp.get("block/units") == 5
    assert list(asked.distributions) == ["block/units"]
    assert isinstance(hp, keras_tuner.HyperParameters)


def test_one_name_under_two_conditions_is_refused() -> None:
    hp = TrialHyperParameters(Asked())
    hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["a"]):
        hp.Int("x", 1, 2)
    with (
        pytest.raises(SearchError, match="'x' is defined under two conditions; give it two names"),
        hp.conditional_scope("kind", ["b"]),
    ):
        hp.Int("x", 1, 2)

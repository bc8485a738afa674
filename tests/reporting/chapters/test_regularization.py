"""The chapter on batch normalization and dropout."""

from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from scipy.stats import kruskal

from reporting.chapters import regularization
from tests.reporting.made_studies import FILTERS, random_trials, trial
from tests.reporting.written import pictures, tables, words


def test_batch_norm_is_compared_by_the_test_of_scipy(searched: Any) -> None:
    made = searched(random_trials(60))
    tests = tables(regularization.blocks(made))["regularization-tests"].values
    assert tests is not None
    record = made.record
    groups = [part for _, part in record.trials["value"].groupby(record.params["conv_batch_norm"])]
    row = tests.set_index("hyperparameter").loc["conv_batch_norm"]
    assert row["n"] == 60
    assert row["p"] == pytest.approx(kruskal(*groups).pvalue)
    assert len(tests) == 1


def test_choices_of_similar_names_are_different_groups(searched: Any) -> None:
    kinds = CategoricalDistribution(["spatial_dropout_1d", "spatial_dropout_2d", "none"])
    levels = dict(zip(kinds.choices, (0.95, 0.80, 0.87), strict=True))
    made = [
        trial([level + 0.001 * i], params={"dropout_kind": (kind, kinds)})
        for kind, level in levels.items()
        for i in range(6)
    ]
    section = regularization.blocks(searched(made))
    assert pictures(section)["regularization"].finding == "Accuracy differs by dropout_kind"
    groups = tables(section)["regularization-groups"].values
    assert groups is not None
    assert groups["complete trials"].tolist() == [6, 6, 6]


def test_dropout_rates_are_grouped(searched: Any) -> None:
    rates = FloatDistribution(0, 0.5, step=0.05)
    made = [
        trial([0.9 + 0.001 * i], params={"conv_dropout": (rate, rates)})
        for i, rate in enumerate([0.0, 0.05, 0.2, 0.25, 0.35, 0.4, 0.5])
    ]
    groups = tables(regularization.blocks(searched(made)))["regularization-groups"].values
    assert groups is not None
    assert dict(zip(groups["group"], groups["complete trials"], strict=True)) == {
        "0": 1,
        "up to 0.2": 2,
        "0.2 to 0.35": 2,
        "above 0.35": 2,
    }


def test_a_difference_is_named_and_chance_is_not(searched: Any) -> None:
    section = regularization.blocks(searched(random_trials(60)))
    assert pictures(section)["regularization"].finding == (
        "No significant difference by batch normalization or dropout"
    )


def test_a_space_without_batch_norm_and_dropout_has_one_line(searched: Any) -> None:
    section = regularization.blocks(searched([trial([0.9], params={"filters": (16, FILTERS)})]))
    assert "there is nothing to compare" in words(section)
    assert len(section) == 1


def test_groups_that_are_too_small_are_not_tested(searched: Any) -> None:
    section = regularization.blocks(searched(random_trials(6)))
    assert pictures(section)["regularization"].finding == (
        "Too few complete trials to test: no two groups have 5"
    )

"""Statistics: the libraries' numbers, and intervals that hold what they promise."""

import numpy as np
import pytest
from scipy import stats

from reporting.measuring.statistics import compare, interval


def test_an_interval_is_that_of_students_t():
    values = [0.940, 0.943, 0.938, 0.941]
    found = interval(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.mean, found.sd, found.n) == (
        pytest.approx(np.mean(values)),
        pytest.approx(np.std(values, ddof=1)),
        4,
    )
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_one_value_has_no_spread():
    found = interval([0.9])
    assert (found.mean, found.sd, found.low, found.high, found.n) == (0.9, None, None, None, 1)


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="interval got no values; give one or more"):
        interval([])


def rows(rng, accuracies, images=2000, shared=0.8):
    """Rows of (3, images) whose models mostly stumble over the same images."""
    hard = rng.random(images)
    return [
        np.stack([shared * hard + (1 - shared) * rng.random(images) < limit for _ in range(3)])
        for limit in accuracies
    ]


def test_a_large_difference_is_shown_and_none_is_not():
    first, equal, worse = rows(np.random.default_rng(0), [0.8, 0.8, 0.7])
    same, lower = compare(first, [equal, worse])
    assert not same.shown
    assert same.low < 0 < same.high
    assert lower.shown
    assert lower.low < lower.mean < lower.high
    assert lower.mean == pytest.approx(first.mean() - worse.mean())


def test_mcnemars_test_is_the_exact_binomial_one_and_holm_corrects_it():
    first, second, third = rows(np.random.default_rng(1), [0.8, 0.79, 0.76])
    found = compare(first, [second, third])
    for difference, other in zip(found, (second, third), strict=True):
        only_first = int(np.sum(first[0] & ~other[0]))
        only_second = int(np.sum(~first[0] & other[0]))
        assert (difference.only_first, difference.only_second) == (only_first, only_second)
        expected = stats.binomtest(only_first, only_first + only_second).pvalue
        assert difference.p_value == pytest.approx(expected)
    small, large = sorted(found, key=lambda difference: difference.p_value)
    assert small.p_holm == pytest.approx(min(1, 2 * small.p_value))
    assert large.p_holm == pytest.approx(max(large.p_value, small.p_holm))


def test_the_interval_holds_the_true_difference_about_as_often_as_it_says():
    inside = 0
    for seed in range(60):
        first, second = rows(np.random.default_rng(seed), [0.62, 0.60], images=400)
        found = compare(first, [second], seed=seed)[0]
        # 0.8 hard + 0.2 noise is below a limit amid its range with chance (limit - 0.1) / 0.8.
        inside += found.low <= 0.02 / 0.8 <= found.high
    assert inside >= 52


def test_the_number_of_seeds_may_differ():
    first, second = rows(np.random.default_rng(2), [0.8, 0.7])
    assert compare(first, [second[:1]])[0].mean > 0

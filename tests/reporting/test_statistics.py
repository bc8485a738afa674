"""Statistics: the libraries' numbers, and intervals that hold what they promise."""

import gc

import numpy as np
import pytest
from scipy import stats

from reporting import statistics
from reporting.statistics import SHARE, compare, interval


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


def test_an_interval_of_shares_stays_within_0_and_1():
    values = [0.82, 1.0]  # of two small test parts
    found = interval(values, SHARE)
    assert (found.low, found.high) == (0.0, 1.0)
    assert interval(values).high > 1.0


def test_one_value_has_no_spread():
    found = interval([0.9])
    assert (found.mean, found.sd, found.low, found.high, found.n) == (0.9, None, None, None, 1)


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="interval got no values; give one or more"):
        interval([])


def rows(rng, accuracies, images=2000, shared=0.8, seed_sd=0.0):
    """Rows of (3, images) whose models mostly stumble over the same images.

    Each seed shifts its model's limit, on all images alike, with a standard deviation of `seed_sd`.
    """
    hard = rng.random(images)
    return [
        np.stack(
            [
                shared * hard + (1 - shared) * rng.random(images) < limit + seed_sd * rng.normal()
                for _ in range(3)
            ]
        )
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


@pytest.fixture
def _no_collection(monkeypatch):
    """statsmodels collects garbage at every correction: slow beside TensorFlow's objects."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


def coverage(repeats, **settings):
    """How often the interval of two rows holds their true difference."""
    inside = 0
    for seed in range(repeats):
        first, second = rows(np.random.default_rng(seed), [0.62, 0.60], **settings)
        found = compare(first, [second], seed=seed)[0]
        # 0.8 hard + 0.2 noise is below a limit amid its range with chance (limit - 0.1) / 0.8.
        inside += found.low <= 0.02 / 0.8 <= found.high
    return inside / repeats


@pytest.mark.usefixtures("_no_collection")
def test_the_interval_holds_the_true_difference_about_as_often_as_it_says():
    assert coverage(200, images=400) >= 0.93


@pytest.mark.usefixtures("_no_collection")
def test_the_interval_holds_it_where_seeds_vary_too(monkeypatch):
    seeds_vary = {"images": 2000, "seed_sd": 0.01}
    assert coverage(200, **seeds_vary) >= 0.9
    monkeypatch.setattr(
        statistics, "_mean_over_drawn_seeds", lambda accuracies, rng: accuracies.mean(axis=1)
    )
    # What the test is worth: without draws of seeds it fails by far.
    assert coverage(50, **seeds_vary) < 0.7


def test_deviations_of_drawn_seeds_are_stretched_to_those_of_new_ones():
    # Images do not matter here; means of three of 1, 0, 0 are 1 in 1/27 of draws, 0 in 8/27.
    first = np.stack([np.full(50, value) for value in (True, False, False)])
    found = compare(first, [np.zeros((3, 50), bool)])[0]
    stretch = np.sqrt(3 / 2)
    assert found.low == pytest.approx(1 / 3 - stretch * 1 / 3)
    assert found.high == pytest.approx(1 / 3 + stretch * 2 / 3)


@pytest.mark.parametrize(
    ("ours", "theirs", "mean"),
    [([True], [False], 1), ([True], [False, True, False], 2 / 3), ([True, False], [False], 0.5)],
)
def test_with_one_seed_in_a_row_only_images_are_drawn_and_nothing_is_shown(ours, theirs, mean):
    # A model has all images right or none, so only draws of seeds could make the interval wide.
    first, second = (np.repeat(np.array(row)[:, None], 50, axis=1) for row in (ours, theirs))
    found = compare(first, [second])[0]
    assert (found.low, found.high) == (pytest.approx(mean), pytest.approx(mean))
    assert found.p_holm < 0.001
    assert (found.seeds, found.shown) == (1, False)
    assert found.sampled == "over images only; variation between seeds unknown"


def test_two_seeds_are_enough_for_a_difference_to_be_shown():
    first, second = rows(np.random.default_rng(2), [0.8, 0.7])
    found = compare(first, [second[:2]])[0]
    assert (found.seeds, found.shown, found.sampled) == (2, True, "over images and seeds")


def test_the_number_of_seeds_may_differ():
    first, second = rows(np.random.default_rng(2), [0.8, 0.7])
    assert compare(first, [second[:1]])[0].mean > 0

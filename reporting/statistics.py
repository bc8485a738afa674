"""Confidence intervals over seeds, and tests of the difference between two networks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

CONFIDENCE: Final = 0.95
SHARE: Final = (0.0, 1.0)  # possible values of an accuracy
RESAMPLES: Final = 4_000
IMAGES_ONLY: Final = "over images only; variation between seeds unknown"
_CHUNK: Final = 250

Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean over seeds and its 95 % t interval.

    Args:
        mean: Mean of the values.
        sd: Standard deviation with n - 1 in the denominator; None for one value.
        low: Lower end of the interval; None for one value.
        high: Upper end; None for one value.
        n: Number of values.
    """

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    n: int


def interval(
    values: Sequence[float], possible: tuple[float, float] = (-math.inf, math.inf)
) -> Interval:
    """Return mean, standard deviation and t interval of values that vary with the seed.

    Args:
        values: One for each seed.
        possible: The lowest and the highest value that there can be, to which the interval is cut.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("interval got no values; give one or more.")
    if len(values) == 1:
        return Interval(mean=float(values[0]), sd=None, low=None, high=None, n=1)
    described = DescrStatsW(np.asarray(values, np.float64), ddof=1)
    low, high = described.tconfint_mean(alpha=1 - CONFIDENCE)
    return Interval(
        mean=float(described.mean),
        sd=float(described.std),
        low=max(possible[0], float(low)),
        high=min(possible[1], float(high)),
        n=len(values),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Test accuracy of one row minus that of another.

    Args:
        mean: Difference of the means over seeds.
        low: Lower end of the 95 % bootstrap interval: over images, and over seeds if both rows
            have two or more.
        high: Upper end.
        seeds: The smaller number of seeds of the two rows.
        p_value: McNemar's exact test between the models of the first seeds.
        p_holm: The same, Holm-corrected for all rows compared.
        only_first: Number of images that only the first of these two models gets right.
        only_second: Number of images that only the second gets right.
    """

    mean: float
    low: float
    high: float
    seeds: int
    p_value: float
    p_holm: float
    only_first: int
    only_second: int

    @property
    def shown(self) -> bool:
        """Whether the difference is significant: by the interval and by the corrected test.

        Never if one of the rows has a single seed: seeds may differ by more than the rows do.
        """
        excludes_zero = self.low > 0 or self.high < 0
        return self.seeds > 1 and excludes_zero and self.p_holm < 1 - CONFIDENCE

    @property
    def sampled(self) -> str:
        """What the bootstrap of the interval resamples, in words."""
        return "over images and seeds" if self.seeds > 1 else IMAGES_ONLY


def compare(first: Booleans, others: Sequence[Booleans], *, seed: int = 0) -> list[Difference]:
    """Compare one row with others on the same images.

    Args:
        first: (seeds, images), whether each model predicts each label.
        others: The same for each other row; the number of seeds may differ.
        seed: Random seed of the bootstrap.

    Returns:
        `first` minus each other row.
    """
    tests = [_mcnemar(first[0], other[0]) for other in others]
    p_values = [p_value for p_value, _, _ in tests]
    holm = multipletests(p_values, method="holm")[1] if tests else []
    differences = []
    for other, (p_value, only_first, only_second), p_holm in zip(others, tests, holm, strict=True):
        low, high = _bootstrap(first, other, np.random.default_rng(seed))
        differences.append(
            Difference(
                mean=float(first.mean() - other.mean()),
                low=low,
                high=high,
                seeds=min(len(first), len(other)),
                p_value=p_value,
                p_holm=float(p_holm),
                only_first=only_first,
                only_second=only_second,
            )
        )
    return differences


def _mcnemar(first: Booleans, second: Booleans) -> tuple[float, int, int]:
    only_first = int(np.sum(first & ~second))
    only_second = int(np.sum(~first & second))
    both, neither = int(np.sum(first & second)), int(np.sum(~first & ~second))
    table = [[both, only_first], [only_second, neither]]
    return float(mcnemar(table, exact=True).pvalue), only_first, only_second


def _bootstrap(first: Booleans, second: Booleans, rng: np.random.Generator) -> tuple[float, float]:
    """Return the percentile interval of the difference of means over images and seeds.

    Images and seeds are crossed, because every model sees every image: both are resampled
    independently, the images once for both rows. With one seed in either row only images are
    resampled.

    The variance of the mean of n resampled seeds is (n - 1) / n of that of n new seeds, so the
    deviations from each row's mean over seeds are scaled by sqrt(n / (n - 1)). Where seeds vary
    more than images, the interval of three seeds is still too narrow (coverage about 90 %).

    Source: Owen 2007, "The pigeonhole bootstrap" (crossed factors).
    """
    images, split = first.shape[1], len(first)
    draws_seeds = min(split, len(second)) > 1
    # Images on which the same models are right are equivalent: resample their counts, faster.
    kinds, counts = np.unique(np.concatenate([first, second]), axis=1, return_counts=True)
    values = kinds.T.astype(np.float64)
    drawn: list[Floats] = []
    for start in range(0, RESAMPLES, _CHUNK):
        count = min(_CHUNK, RESAMPLES - start)
        accuracies = rng.multinomial(images, counts / images, count) @ values / images
        means = [
            _mean_over_drawn_seeds(part, rng) if draws_seeds else part.mean(axis=1)
            for part in (accuracies[:, :split], accuracies[:, split:])
        ]
        drawn.append(means[0] - means[1])
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.concatenate(drawn), [tail, 100 - tail])
    return float(low), float(high)


def _mean_over_drawn_seeds(accuracies: Floats, rng: np.random.Generator) -> Floats:
    """Return the means of resampled seeds, scaled, (draws,) for (draws, seeds)."""
    seeds = accuracies.shape[1]
    chosen = rng.integers(0, seeds, accuracies.shape)
    mean = accuracies.mean(axis=1)
    deviation = np.take_along_axis(accuracies, chosen, axis=1).mean(axis=1) - mean
    return np.asarray(mean + np.sqrt(seeds / (seeds - 1)) * deviation, np.float64)

"""Intervals and tests: of one row over its seeds, and of the difference between two rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 4_000
IMAGES_ONLY: Final = "over images only; variation between seeds unknown"
_CHUNK: Final = 250

Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean over seeds.

    Args:
        mean: Of the values.
        sd: Standard deviation between them, n - 1 in the denominator; None for one value.
        low: Lower end of the 95 % t interval of the mean; None for one value.
        high: Upper end.
        n: Number of values.
    """

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    n: int


def interval(values: Sequence[float]) -> Interval:
    """Mean, standard deviation and t interval of values that vary with the seed.

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
        low=float(low),
        high=float(high),
        n=len(values),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Test accuracy of one row minus that of another.

    Args:
        mean: Difference of the means over seeds.
        low: Lower end of the 95 % bootstrap interval over images and, with two seeds or more in
            both rows, over seeds.
        high: Upper end.
        seeds: The smaller number of seeds of the two rows.
        p_value: McNemar's exact test between the two models of the first seed.
        p_holm: The same, corrected by Holm for all rows compared.
        only_first: Images that only the first row's model of the first seed has right.
        only_second: Images that only the second row's has right.
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
        """Whether both the interval and the corrected test say that the rows differ.

        Never with one seed in a row: seeds may then differ by more than the rows do.
        """
        excludes_zero = self.low > 0 or self.high < 0
        return self.seeds > 1 and excludes_zero and self.p_holm < 1 - CONFIDENCE

    @property
    def sampled(self) -> str:
        """What the interval is over, in words."""
        return "over images and seeds" if self.seeds > 1 else IMAGES_ONLY


def compare(first: Booleans, others: Sequence[Booleans], *, seed: int = 0) -> list[Difference]:
    """Compare one row with others on the same images.

    Args:
        first: (seeds, images), whether each of its models has each image right.
        others: The same for each other row; the number of seeds may differ.
        seed: Of the resampling.

    Returns:
        One difference for each other row, `first` minus it.
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
    """Percentile interval of the difference of means over images and seeds.

    Images and seeds are crossed: every model sees every image. So both are drawn, each on its own,
    images once for both rows. With one seed in either row only images are drawn.

    The mean of n drawn seeds varies by (n - 1) / n of what the mean of n new ones does. So each
    row's deviations from its mean over seeds are stretched by sqrt(n / (n - 1)). Where seeds vary
    more than images the interval of three seeds is still too narrow (it holds the truth in about
    90 % of cases): quantiles of few values know nothing of Student's t.

    Source: Owen 2007, "The pigeonhole bootstrap" (crossed factors).
    """
    images, split = first.shape[1], len(first)
    draws_seeds = min(split, len(second)) > 1
    # Images that the same models have right are one: drawing kinds of images is the same, faster.
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
    """(draws,) of (draws, seeds): each the mean of as many drawn seeds, stretched."""
    seeds = accuracies.shape[1]
    chosen = rng.integers(0, seeds, accuracies.shape)
    mean = accuracies.mean(axis=1)
    deviation = np.take_along_axis(accuracies, chosen, axis=1).mean(axis=1) - mean
    return np.asarray(mean + np.sqrt(seeds / (seeds - 1)) * deviation, np.float64)

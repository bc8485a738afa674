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
        low: Lower end of the 95 % bootstrap interval over images and seeds.
        high: Upper end.
        p_value: McNemar's exact test between the two models of the first seed.
        p_holm: The same, corrected by Holm for all rows compared.
        only_first: Images that only the first row's model of the first seed has right.
        only_second: Images that only the second row's has right.
    """

    mean: float
    low: float
    high: float
    p_value: float
    p_holm: float
    only_first: int
    only_second: int

    @property
    def shown(self) -> bool:
        """Whether both the interval and the corrected test say that the rows differ."""
        return (self.low > 0 or self.high < 0) and self.p_holm < 1 - CONFIDENCE


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
    """Percentile interval of the difference of means; images are drawn once for both rows.

    Source: Davison & Hinkley 1997, section 3.8 (resampling at each level of a hierarchy).
    """
    images = first.shape[1]
    values = np.concatenate([first, second]).astype(np.float32)
    drawn: list[Floats] = []
    for start in range(0, RESAMPLES, _CHUNK):
        count = min(_CHUNK, RESAMPLES - start)
        weights = rng.multinomial(images, np.full(images, 1 / images), count).astype(np.float32)
        accuracies = weights @ values.T / images
        split = len(first)
        drawn.append(
            _mean_over_drawn_seeds(accuracies[:, :split], rng)
            - _mean_over_drawn_seeds(accuracies[:, split:], rng)
        )
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.concatenate(drawn), [tail, 100 - tail])
    return float(low), float(high)


def _mean_over_drawn_seeds(accuracies: npt.NDArray[np.float32], rng: np.random.Generator) -> Floats:
    chosen = rng.integers(0, accuracies.shape[1], accuracies.shape)
    return np.asarray(np.take_along_axis(accuracies, chosen, axis=1).mean(axis=1), np.float64)

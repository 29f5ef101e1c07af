"""Sign-flip tests over items, and Holm's correction for many tests."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from pipeline.statistics.copies import NO_HYPOTHESIS

ALPHA = 0.05  # share of families with a false claim
EXACT = 12  # items up to which every flip is enumerated
DRAWS = 5000
BLOCK = 500  # flips held in memory at once
TIE = 1e-5  # of a standard deviation: as large as the observed one, but for rounding

# For every set of units P(|Σ ± c| ≥ z (Σ c²)^½) <= 3.178 P(|Z| ≥ z), the least such factor being
# 1 / 4 P(Z ≥ 2^½) (Bentkus & Dzindzalieta 2015, Bernoulli 21:1231). It reaches where draws don't.
TAIL_FACTOR = 1 / (4 * special.ndtr(-np.sqrt(2.0)))


def sign_flip_p_values(units: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The two-sided p-value of Σ (units[first] − units[second]) for every pair of rows.

    `units` is [methods, items]; in each item the two values are swapped or not. Exact for up to 12
    items, else from draws that all pairs share, or an upper bound where that is smaller.
    """
    observed, deviations = _moments(units, first, second)
    threshold = observed - TIE * deviations
    if units.shape[1] <= EXACT:
        return _exceedances(units, first, second, threshold) / 2 ** units.shape[1]
    p_values = _tail_bound(observed, deviations)
    near = p_values > 1 / (1 + DRAWS)  # the others are beyond what draws can resolve
    exceeding = _exceedances(units, first[near], second[near], threshold[near])
    p_values[near] = np.minimum(p_values[near], (1 + exceeding) / (1 + DRAWS))
    return p_values


def _exceedances(
    units: np.ndarray, first: np.ndarray, second: np.ndarray, threshold: np.ndarray
) -> np.ndarray:
    """How many flips set each pair at least as far apart as its threshold.

    Sums are in double precision: two methods may differ by far less than their items scatter.
    """
    count = np.zeros(len(first), dtype=np.int64)
    for flips in _flips(units.shape[1]):
        sums = 2 * flips @ units.T - units.sum(axis=1)
        count += (np.abs(sums[:, first] - sums[:, second]) >= threshold).sum(axis=0)
    return count


def _moments(
    units: np.ndarray, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """|Σ c| of every pair, and (Σ c²)^½: the standard deviation of Σ ± c."""
    products = units @ units.T
    squares = products[first, first] + products[second, second] - 2 * products[first, second]
    sums = units.sum(axis=1)
    return np.abs(sums[first] - sums[second]), np.sqrt(np.maximum(squares, 0.0))


def _flips(count: int) -> Iterator[np.ndarray]:
    """Blocks of flips [flips, items], 1 where values stay and 0 where they swap; all, or a draw."""
    if count <= EXACT:
        yield (np.arange(2**count)[:, None] >> np.arange(count) & 1).astype(np.float64)
        return
    rng = np.random.default_rng(count)
    for _ in range(DRAWS // BLOCK):
        bits = np.frombuffer(rng.bytes(-(-BLOCK * count // 8)), dtype=np.uint8)
        yield np.unpackbits(bits)[: BLOCK * count].reshape(BLOCK, count).astype(np.float64)


def _tail_bound(observed: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """An upper bound on the p-value over all flips, however the units are spread."""
    z = np.divide(observed, deviations, out=np.zeros_like(observed), where=deviations > 0)
    # far out the tail is zero in double precision, which bounds nothing
    return np.clip(2 * TAIL_FACTOR * special.ndtr(-z), np.finfo(np.float64).tiny, 1.0)


def smallest_p_value(units: int) -> float:
    """The smallest two-sided p-value that an exact sign-flip test of this many units can give."""
    return min(1.0, 2 / 2**units)


@dataclass(frozen=True)
class Family:
    """Holm-adjusted p-values, and the confidence of intervals that agree with them."""

    adjusted: np.ndarray  # NaN for tests without a hypothesis
    confidence: float


def holm_family(p_values: np.ndarray, hypotheses: np.ndarray) -> Family:
    """Holm's procedure over distinct hypotheses, each with the largest p-value of its tests.

    Tests with the hypothesis −1 don't belong to it. With r of m hypotheses rejected, an interval
    with confidence 1 − 0.05 / (m − r + 1) excludes zero exactly where its hypothesis is rejected:
    Holm rejects those with p ≤ 0.05 / (m − r + 1), and all others have p > 0.05 / (m − r).
    """
    adjusted, tested = np.full(len(p_values), np.nan), hypotheses != NO_HYPOTHESIS
    distinct, indices = np.unique(hypotheses[tested], return_inverse=True)
    if not len(distinct):
        return Family(adjusted, 1 - ALPHA)
    largest = np.zeros(len(distinct))
    np.maximum.at(largest, indices, p_values[tested])
    of_distinct = holm(largest)
    adjusted[tested] = of_distinct[indices]
    remaining = min(len(distinct), len(distinct) - int((of_distinct < ALPHA).sum()) + 1)
    return Family(adjusted, 1 - ALPHA / remaining)


def holm_over_groups(
    p_values: Sequence[np.ndarray], hypotheses: Sequence[np.ndarray]
) -> Iterator[Family]:
    """Holm's procedure over the tests of all groups, for each group; hypotheses are a group's own.

    A group's hypotheses are numbered from 0; −1 stands for none.
    """
    if not p_values:
        return
    starts = np.cumsum([0, *(numbers.max() + 1 for numbers in hypotheses)])[:-1]
    numbered = [
        np.where(numbers == NO_HYPOTHESIS, NO_HYPOTHESIS, numbers + start)
        for numbers, start in zip(hypotheses, starts, strict=True)
    ]
    family = holm_family(np.concatenate(p_values), np.concatenate(numbered))
    for adjusted in np.split(family.adjusted, np.cumsum([len(of) for of in p_values])[:-1]):
        yield Family(adjusted, family.confidence)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values of a family (1979, Scand. J. Statist. 6:65).

    Rejecting those below 0.05 makes one false rejection or more in at most 5 % of families.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    rising = np.maximum.accumulate(factors * p_values[order])
    adjusted = np.empty_like(rising)
    adjusted[order] = np.minimum(rising, 1.0)
    return adjusted

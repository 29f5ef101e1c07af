"""Sign-flip tests: how often chance labels would set two methods as far apart as they are."""

from collections.abc import Iterator

import numpy as np
from scipy import special

EXACT = 12  # units up to which every flip is made
DRAWS = 5000
BLOCK = 500  # flips held in memory at once
TIE = 1e-5  # of a standard deviation: as large as the observed one, in single precision

# For every set of units P(|Σ ± c| ≥ z (Σ c²)^½) <= 3.178 P(|Z| ≥ z), the least such factor being
# 1 / 4 P(Z ≥ 2^½) (Bentkus & Dzindzalieta 2015, Bernoulli 21:1231). It reaches where draws don't.
TAIL = 1 / (4 * special.ndtr(-np.sqrt(2.0)))


def sign_flips(units: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The two-sided p-value of Σ (units[one] − units[other]) for every pair of rows.

    `units` is [methods, units]; in each unit the two values change places or don't. Exact for up
    to 12 units, else from draws that all pairs share, or an upper bound where that is smaller.
    """
    observed, deviations = _moments(units, one, other)
    least = observed - TIE * deviations
    if units.shape[1] <= EXACT:
        return _reached(units, one, other, least) / 2 ** units.shape[1]
    p_values = _tail_bound(observed, deviations)
    near = p_values > 1 / (1 + DRAWS)  # the others are beyond what draws can say
    drawn = (1 + _reached(units, one[near], other[near], least[near])) / (1 + DRAWS)
    p_values[near] = np.minimum(p_values[near], drawn)
    return p_values


def _reached(
    units: np.ndarray, one: np.ndarray, other: np.ndarray, least: np.ndarray
) -> np.ndarray:
    """How many flips set each pair so far apart."""
    single = units.astype(np.float32)
    found = np.zeros(len(one), dtype=np.int64)
    for flips in _flips(units.shape[1]):
        sums = 2 * flips @ single.T - single.sum(axis=1)
        found += (np.abs(sums[:, one] - sums[:, other]) >= least).sum(axis=0)
    return found


def _moments(
    units: np.ndarray, one: np.ndarray, other: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """|Σ c| of every pair, and (Σ c²)^½: the standard deviation of Σ ± c."""
    products = units @ units.T
    squares = products[one, one] + products[other, other] - 2 * products[one, other]
    sums = units.sum(axis=1)
    return np.abs(sums[one] - sums[other]), np.sqrt(np.maximum(squares, 0.0))


def _flips(count: int) -> Iterator[np.ndarray]:
    """Which units stay as they are, 1, or change places, 0, in blocks of flips; all or a draw."""
    if count <= EXACT:
        yield (np.arange(2**count)[:, None] >> np.arange(count) & 1).astype(np.float32)
        return
    rng = np.random.default_rng(count)
    for _ in range(DRAWS // BLOCK):
        bits = np.frombuffer(rng.bytes(-(-BLOCK * count // 8)), dtype=np.uint8)
        yield np.unpackbits(bits)[: BLOCK * count].reshape(BLOCK, count).astype(np.float32)


def _tail_bound(observed: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """What the p-value over all flips can't exceed, however the units are spread."""
    z = np.divide(observed, deviations, out=np.zeros_like(observed), where=deviations > 0)
    return np.minimum(1.0, 2 * TAIL * special.ndtr(-z))


def smallest_p(units: int) -> float:
    """The smallest two-sided p-value that an exact test of so many units can give."""
    return min(1.0, 2 / 2**units)

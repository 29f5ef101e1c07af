"""How much training seeds vary, where there are few: what the other methods' seeds say helps.

After Smyth 2004 (Stat. Appl. Genet. Mol. Biol. 3:3): the variances of many comparisons are drawn
from one distribution, whose width is read off their own scatter, and each is shrunk towards its
middle by as much as that distribution is narrow. Two departures keep it careful: the middle is the
arithmetic mean, and a variance that is larger than the shrunken one stands.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

SMALLEST = 1e-5  # of the median: a variance of zero has no logarithm


@dataclass(frozen=True)
class Variances:
    """Estimated variances with the degrees of freedom that each has."""

    values: np.ndarray
    degrees: float


def shrunken(own: np.ndarray, degrees: int, most: float) -> Variances:
    """Variances of `degrees` degrees of freedom each, with up to `most` after shrinking them."""
    if len(own) < 2 or not own.max() > 0:
        return Variances(own, float(degrees))
    borrowed = min(_prior_degrees(own, degrees), max(0.0, most - degrees))
    total = borrowed + degrees
    values = np.maximum(own, (borrowed * own.mean() + degrees * own) / total)
    return Variances(values, total)


def _prior_degrees(own: np.ndarray, degrees: int) -> float:
    """Infinite where the variances scatter no more than equal ones would."""
    floor = SMALLEST * np.median(own[own > 0])
    scatter = np.log(np.maximum(own, floor)).var(ddof=1)
    excess = scatter - float(special.polygamma(1, degrees / 2))
    return 2 * _inverse_trigamma(excess) if excess > 0 else np.inf


def _inverse_trigamma(value: float) -> float:
    """The x with trigamma(x) = value, by Newton's method on 1 / trigamma, which is convex."""
    x = 0.5 + 1 / value
    for _ in range(50):
        found = float(special.polygamma(1, x))
        step = found * (1 - found / value) / float(special.polygamma(2, x))
        x += step
        if abs(step) < 1e-9 * x:
            break
    return x


def residual_degrees(methods: int, seeds: int) -> float:
    """Of differences between methods that share their seeds."""
    return float((methods - 1) * (seeds - 1))


def common_degrees(scores: np.ndarray) -> float:
    """Of single scores [methods, seeds], which a seed moves together (Satterthwaite)."""
    methods, seeds = scores.shape
    between = methods * scores.mean(axis=0).var(ddof=1)
    rest = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0) + scores.mean()
    within = (rest**2).sum() / (seeds - 1)  # (methods − 1) times the residual mean square
    below = between**2 + (within**2 / (methods - 1) if methods > 1 else 0.0)
    return (seeds - 1) * (between + within) ** 2 / below if below > 0 else float(seeds - 1)

"""How much training seeds vary, where there are few: what the other methods' seeds say helps.

After Smyth 2004 (Stat. Appl. Genet. Mol. Biol. 3:3): the variances of many comparisons are drawn
from one distribution, whose width is read off their own scatter, and each is shrunk towards its
middle by as much as that distribution is narrow. Three departures keep it careful: the middle is
the arithmetic mean, a variance that is larger than the shrunken one stands, and the lowest tail has
no say in the width, as in Phipson et al. 2016 (Ann. Appl. Stat. 10:946).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from pipeline.statistics.copies import APART, first_of_each

LOWEST = 0.05  # share of equal variances; one below it says no more than that it is low
PRIORS = np.geomspace(0.1, 1e4, 60)  # degrees of freedom that are told from each other
POINTS = (np.arange(500) + 0.5) / 500  # of a distribution


@dataclass(frozen=True)
class Variances:
    """Estimated variances with the degrees of freedom that each has."""

    values: np.ndarray
    degrees: np.ndarray


def shrunken(own: np.ndarray, degrees: int, most: float, kinds: np.ndarray) -> Variances:
    """Variances of `degrees` degrees of freedom each, with up to `most` after shrinking them.

    Those of one kind are one variance told more than once, and only the first of them is asked how
    much they scatter. Those of the kind −1 neither lend nor borrow.
    """
    told, learns = own[first_of_each(kinds)], kinds != APART
    if len(told) < 2 or not told.max() > 0:
        return Variances(own, np.full(len(own), float(degrees)))
    borrowed = min(_prior_degrees(told, degrees), max(0.0, most - degrees))
    total = borrowed + degrees
    values = np.maximum(own, (borrowed * told.mean() + degrees * own) / total)
    return Variances(np.where(learns, values, own), np.where(learns, total, float(degrees)))


def _prior_degrees(own: np.ndarray, degrees: int) -> float:
    """Infinite where the variances scatter no more than equal ones would."""
    lowest = _lowest(degrees) * np.median(own)
    scatter = float(np.log(np.maximum(own, lowest)).var(ddof=1))
    expected = _scatters(degrees)
    if scatter <= expected[-1]:
        return np.inf
    return float(np.exp(np.interp(-scatter, -expected, np.log(PRIORS))))


def _lowest(degrees: int) -> float:
    """Where the lowest tail of equal variances begins, in their median."""
    tail, middle = special.chdtri(degrees, 1 - np.array([LOWEST, 0.5]))
    return float(tail / middle)


@lru_cache
def _scatters(degrees: int) -> np.ndarray:
    """The scatter to expect for each of PRIORS, falling: of the logarithm of F, tail cut off."""
    ratios = special.fdtri(degrees, PRIORS[:, None], POINTS)  # [priors, points]
    lowest = _lowest(degrees) * special.fdtri(degrees, PRIORS, 0.5)
    return np.log(np.maximum(ratios, lowest[:, None])).var(axis=1)


def residual_degrees(methods: int, seeds: int) -> float:
    """Of differences between methods that share their seeds."""
    return float(max(methods - 1, 0) * (seeds - 1))


def common_degrees(scores: np.ndarray) -> float:
    """Of single scores [methods, seeds], which a seed moves together (Satterthwaite)."""
    methods, seeds = scores.shape
    if not methods:
        return 0.0
    between = methods * scores.mean(axis=0).var(ddof=1)
    rest = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0) + scores.mean()
    within = (rest**2).sum() / (seeds - 1)  # (methods − 1) times the residual mean square
    below = between**2 + (within**2 / (methods - 1) if methods > 1 else 0.0)
    return (seeds - 1) * (between + within) ** 2 / below if below > 0 else float(seeds - 1)

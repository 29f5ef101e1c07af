"""The variance over few training seeds, moderated by the variances of the other methods.

After Smyth 2004 (Stat. Appl. Genet. Mol. Biol. 3:3): the variances of many comparisons come from
one distribution, whose width is estimated from their scatter, and each is shrunk towards its middle
by as much as that distribution is narrow. Three departures keep it conservative: the middle is the
arithmetic mean, a variance larger than the shrunken one stands, and the lowest tail doesn't
influence the width, as in Phipson et al. 2016 (Ann. Appl. Stat. 10:946).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from pipeline.statistics.copies import NO_HYPOTHESIS, first_of_each

LOWEST = 0.05  # share of equal variances; one below it counts as being at its upper end
PRIORS = np.geomspace(0.1, 1e4, 60)  # prior degrees of freedom that are distinguished
POINTS = (np.arange(500) + 0.5) / 500  # quantiles that stand for a distribution


@dataclass(frozen=True)
class Variances:
    """Estimated variances with their degrees of freedom."""

    values: np.ndarray
    degrees: np.ndarray


def moderated(
    variances: np.ndarray, degrees: int, most: float, hypotheses: np.ndarray
) -> Variances:
    """Variances of `degrees` degrees of freedom each, moderated to up to `most`.

    Variances of one hypothesis are one variance repeated: only the first counts for the scatter.
    Those with the hypothesis −1 neither lend nor borrow.
    """
    distinct, borrows = variances[first_of_each(hypotheses)], hypotheses != NO_HYPOTHESIS
    if len(distinct) < 2 or not distinct.max() > 0:
        return Variances(variances, np.full(len(variances), float(degrees)))
    prior = min(_prior_degrees(distinct, degrees), max(0.0, most - degrees))
    total = prior + degrees
    shrunken = (prior * distinct.mean() + degrees * variances) / total
    return Variances(
        np.where(borrows, np.maximum(variances, shrunken), variances),
        np.where(borrows, total, float(degrees)),
    )


def _prior_degrees(variances: np.ndarray, degrees: int) -> float:
    """Degrees of freedom of the prior; infinite if variances scatter no more than equal ones."""
    lowest = _lowest(degrees) * np.median(variances)
    scatter = float(np.log(np.maximum(variances, lowest)).var(ddof=1))
    expected = _expected_scatter(degrees)
    if scatter <= expected[-1]:
        return np.inf
    return float(np.exp(np.interp(-scatter, -expected, np.log(PRIORS))))


def _lowest(degrees: int) -> float:
    """Where the lowest tail of equal variances begins, relative to their median."""
    tail, median = special.chdtri(degrees, 1 - np.array([LOWEST, 0.5]))
    return float(tail / median)


@lru_cache
def _expected_scatter(degrees: int) -> np.ndarray:
    """The variance of log F with its lowest tail cut off, for each of PRIORS: falling."""
    ratios = special.fdtri(degrees, PRIORS[:, None], POINTS)  # [priors, points]
    lowest = _lowest(degrees) * special.fdtri(degrees, PRIORS, 0.5)
    return np.log(np.maximum(ratios, lowest[:, None])).var(axis=1)


def residual_degrees(methods: int, seeds: int) -> float:
    """Degrees of freedom of differences between methods that share their seeds."""
    return float(max(methods - 1, 0) * (seeds - 1))


def common_degrees(scores: np.ndarray) -> float:
    """Satterthwaite's degrees of freedom of scores [methods, seeds] that a seed moves together."""
    methods, seeds = scores.shape
    if not methods:
        return 0.0
    between = methods * scores.mean(axis=0).var(ddof=1)
    residuals = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0) + scores.mean()
    within = (residuals**2).sum() / (seeds - 1)  # (methods − 1) times the residual mean square
    below = between**2 + (within**2 / (methods - 1) if methods > 1 else 0.0)
    return (seeds - 1) * (between + within) ** 2 / below if below > 0 else float(seeds - 1)

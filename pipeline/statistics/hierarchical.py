"""The hierarchical bootstrap over training seeds and items: computed, and corrected for few seeds.

Seeds and items are crossed: every seed of a method is measured on the same items. For a mean over
both the bootstrap that draws seeds, then items, needs no drawing: the variance over all draws is a
sum of squares. Drawn from 2 to 5 seeds its percentiles are far too narrow, so its two levels are
taken apart here: seeds get n / (n − 1) and Student's t, items what they add to that.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from pipeline.statistics import items as of_items
from pipeline.statistics import seeds as of_seeds
from pipeline.statistics.chi_squared import log_chi_squared
from pipeline.statistics.items import Products

LEVEL = 0.95
NORMAL = float(special.ndtri((1 + LEVEL) / 2))
NODES = 64  # of the integral over what the variance of seeds may be
NEWTON = 6  # steps to an interval's end
NOTHING = 1e-100  # the standard deviation of what doesn't vary


@dataclass(frozen=True)
class Estimates:
    """Values, and the variances that the two levels give them."""

    values: np.ndarray
    from_seeds: np.ndarray  # zero for a single seed: what it would be is not known
    degrees: float  # of freedom, of `from_seeds`
    from_items: np.ndarray
    items: int

    @property
    def errors(self) -> np.ndarray:
        """Standard errors."""
        return np.sqrt(self.from_seeds + self.from_items)

    @property
    def joint_degrees(self) -> np.ndarray:
        """Degrees of freedom of both levels together, Satterthwaite's."""
        below = self.from_seeds**2 / self.degrees + self.from_items**2 / (self.items - 1)
        found = np.full_like(self.values, self.degrees)
        return np.divide(self.errors**4, below, out=found, where=below > 0)

    def p_values(self) -> np.ndarray:
        """Two-sided, of a value of zero."""
        return self._sum().beyond(np.abs(self.values))

    def half_widths(self) -> np.ndarray:
        """Half of each 95 % interval: how far from its value the p-value is 5 %."""
        both = self._sum()
        of_seeds_alone = special.stdtrit(self.degrees, (1 + LEVEL) / 2) * np.sqrt(self.from_seeds)
        of_normal = NORMAL * np.sqrt(self.from_seeds + self._wider())
        halves = np.maximum(of_seeds_alone, of_normal)
        for _ in range(NEWTON):  # a convex function's root is reached from below, never passed
            halves += (both.beyond(halves) - (1 - LEVEL)) / both.density(halves)
        return halves

    def _wider(self) -> np.ndarray:
        """`from_items` with Student's t for the normal quantile: few items are few."""
        return self.from_items * (special.stdtrit(self.items - 1, (1 + LEVEL) / 2) / NORMAL) ** 2

    def _sum(self) -> "Mixture":
        """Student's t for seeds plus a normal variable for items: normal, given the t's χ²."""
        nodes, weights = log_chi_squared(self.degrees, NODES)
        seeds = self.from_seeds[:, None] * self.degrees * np.exp(-nodes)
        deviations = np.sqrt(seeds + self._wider()[:, None])
        return Mixture(np.maximum(deviations, NOTHING), weights)


@dataclass(frozen=True)
class Mixture:
    """Normal distributions around zero, mixed."""

    deviations: np.ndarray  # [values, nodes]
    weights: np.ndarray  # [nodes]

    def beyond(self, distances: np.ndarray) -> np.ndarray:
        """The chance to be at least so far from zero, on either side."""
        tails = special.ndtr(-distances[:, None] / self.deviations)
        return np.minimum(2 * tails @ self.weights, 1.0)

    def density(self, distances: np.ndarray) -> np.ndarray:
        """How fast that chance falls."""
        scaled = distances[:, None] / self.deviations
        return np.sqrt(2 / np.pi) * (np.exp(-(scaled**2) / 2) / self.deviations) @ self.weights


def of_methods(scores: np.ndarray, sums: Products) -> Estimates:
    """Each method's mean over seeds; scores [methods, seeds]."""
    most = of_seeds.common_degrees(scores) if scores.shape[1] > 1 else 0.0
    return _estimates(scores, most, of_items.of_each(sums))


def of_pairs(scores: np.ndarray, sums: Products, one: np.ndarray, other: np.ndarray) -> Estimates:
    """The differences `one` − `other` (indices of methods); scores [methods, seeds]."""
    most = of_seeds.residual_degrees(*scores.shape)
    return _estimates(scores[one] - scores[other], most, of_items.of_differences(sums, one, other))


def _estimates(scores: np.ndarray, most: float, sums: Products) -> Estimates:
    """Of scores [.., seeds], whose variances can have `most` degrees of freedom."""
    means, seeds = scores.mean(axis=1), scores.shape[1]
    from_items = of_items.main_variance(sums)
    if seeds == 1:
        return Estimates(means, np.zeros_like(means), 1.0, from_items, sums.items)
    found = of_seeds.shrunken(scores.var(axis=1, ddof=1), seeds - 1, most)
    return Estimates(means, found.values / seeds, found.degrees, from_items, sums.items)

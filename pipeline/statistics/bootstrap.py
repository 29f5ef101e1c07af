"""The hierarchical bootstrap over training seeds and items: computed, and corrected for few seeds.

Seeds and items are crossed: every seed of a method is measured on the same items. For a mean over
both the bootstrap that draws seeds, then items, needs no drawing: the variance over all draws is a
sum of squares. Drawn from 2 to 5 seeds its percentiles are far too narrow, so its two levels are
taken apart here: seeds get n / (n − 1) and Student's t, items what they add to that.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from pipeline.statistics import items as of_items
from pipeline.statistics import seed_variance as of_seeds
from pipeline.statistics.chi_squared import log_chi_squared
from pipeline.statistics.copies import (
    APART,
    first_of_each,
    hypotheses,
    moved_alike,
    negligible,
    over_seeds,
)
from pipeline.statistics.items import Products
from pipeline.statistics.roots import root_of_falling
from pipeline.statistics.seed_variance import Variances

LEVEL = 0.95
NODES = 64  # of the integral over what the variance of seeds may be
NEWTON = 6  # steps to an interval's end
FARTHEST = 1e-12  # tail for which Student's quantile is taken
SMALLEST = 1e-300  # p-value
NOTHING = 1e-100  # the standard deviation of what doesn't vary


@dataclass(frozen=True)
class Estimates:
    """Values, and the variances that the two levels give them."""

    values: np.ndarray
    from_seeds: np.ndarray  # zero for a single seed: what it would be is not known
    degrees: np.ndarray  # of freedom, of `from_seeds`
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
        return np.divide(self.errors**4, below, out=self.degrees.copy(), where=below > 0)

    def p_values(self) -> np.ndarray:
        """Two-sided, of a value of zero: the tail whose own interval ends there."""
        distances = np.abs(self.values)

        def lacks(logarithms: np.ndarray) -> np.ndarray:
            beyond = self._sum(np.exp(logarithms)).beyond(distances)
            return np.log(np.maximum(beyond, SMALLEST)) - logarithms

        begin = np.full_like(distances, np.log(1 - LEVEL))
        return np.exp(root_of_falling(lacks, begin, begin + lacks(begin)))

    def half_widths(self, level: float = LEVEL) -> np.ndarray:
        """Half of each interval: how far from its value the p-value is 1 − level."""
        tails = np.full_like(self.values, 1 - level)
        both, wider = self._sum(tails), self._wider(tails)
        of_seeds_alone = special.stdtrit(self.degrees, (1 + level) / 2) * np.sqrt(self.from_seeds)
        of_normal = special.ndtri((1 + level) / 2) * np.sqrt(self.from_seeds + wider)
        halves = np.maximum(of_seeds_alone, of_normal)
        for _ in range(NEWTON):  # a convex function's root is reached from below, never passed
            halves += (both.beyond(halves) - (1 - level)) / both.density(halves)
        return halves

    def _sum(self, tails: np.ndarray) -> "Mixture":
        """Student's t for seeds plus a normal variable for items: normal, given the t's χ²."""
        seeds, weights = self._seeds
        deviations = np.sqrt(seeds + self._wider(tails)[:, None])
        return Mixture(np.maximum(deviations, NOTHING), weights)

    @cached_property
    def _seeds(self) -> tuple[np.ndarray, np.ndarray]:
        """What the variance from seeds may be, and how likely: arrays [values, nodes]."""
        nodes, weights = log_chi_squared(self.degrees, NODES)
        return (self.from_seeds * self.degrees)[:, None] * np.exp(-nodes), weights

    def _wider(self, tails: np.ndarray) -> np.ndarray:
        """`from_items` with Student's t for the normal quantile of each tail: few items are few."""
        outer = np.clip(tails, FARTHEST, 0.5) / 2
        ratio = special.stdtrit(self.items - 1, outer) / special.ndtri(outer)
        return self.from_items * ratio**2


@dataclass(frozen=True)
class Mixture:
    """Normal distributions around zero, mixed."""

    deviations: np.ndarray  # [values, nodes]
    weights: np.ndarray  # [values, nodes]

    def beyond(self, distances: np.ndarray) -> np.ndarray:
        """The chance to be at least so far from zero, on either side."""
        tails = special.ndtr(-distances[:, None] / self.deviations)
        return np.minimum(2 * (tails * self.weights).sum(axis=1), 1.0)

    def density(self, distances: np.ndarray) -> np.ndarray:
        """How fast that chance falls."""
        scaled = distances[:, None] / self.deviations
        heights = np.exp(-(scaled**2) / 2) / self.deviations
        return np.sqrt(2 / np.pi) * (heights * self.weights).sum(axis=1)


def of_methods(scores: np.ndarray, sums: Products) -> Estimates:
    """Each method's mean over seeds; scores [methods, seeds]."""
    return _estimates(scores, of_items.of_each(sums), _of_methods(scores, sums))


def of_pairs(scores: np.ndarray, sums: Products, one: np.ndarray, other: np.ndarray) -> Estimates:
    """The differences `one` − `other` (indices of methods); scores [methods, seeds]."""
    pairs = of_items.of_differences(sums, one, other)
    return _estimates(scores[one] - scores[other], pairs, _of_pairs(scores, sums, one, other))


def _of_methods(scores: np.ndarray, sums: Products) -> Variances:
    """How much seeds vary each method's score."""
    degrees, own = scores.shape[1] - 1, over_seeds(scores)
    if not degrees:
        return Variances(own, np.ones_like(own))
    kinds = np.where(negligible(own, degrees), APART, moved_alike(scores, sums))
    vary = scores[first_of_each(kinds)]
    return of_seeds.shrunken(own, degrees, of_seeds.common_degrees(vary), kinds)


def _of_pairs(scores: np.ndarray, sums: Products, one: np.ndarray, other: np.ndarray) -> Variances:
    """How much seeds vary each difference."""
    degrees, own = scores.shape[1] - 1, over_seeds(scores[one] - scores[other])
    if not degrees:
        return Variances(own, np.ones_like(own))
    classes, still = moved_alike(scores, sums), negligible(over_seeds(scores), degrees)
    kinds = np.where(still[one] | still[other], APART, hypotheses(classes, one, other))
    most = of_seeds.residual_degrees(len(set(classes[~still].tolist())), degrees + 1)
    found = of_seeds.shrunken(own, degrees, most, kinds)

    # From a row that no seed moves, what a seed does to all the others does not cancel.
    single, beside = _of_methods(scores, sums), still[one] != still[other]
    moving, unmoved = np.where(still[one], [other, one], [one, other])
    values = single.values[moving] + single.values[unmoved]
    return Variances(
        np.where(beside, values, found.values),
        np.where(beside, single.degrees[moving], found.degrees),
    )


def _estimates(scores: np.ndarray, sums: Products, found: Variances) -> Estimates:
    """Of scores [.., seeds], which seeds vary by `found`."""
    from_items, seeds = of_items.main_variance(sums), scores.shape[1]
    return Estimates(
        scores.mean(axis=1), found.values / seeds, found.degrees, from_items, sums.items
    )

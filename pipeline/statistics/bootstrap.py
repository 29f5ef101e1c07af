"""The hierarchical bootstrap over training seeds and items: computed, and corrected for few seeds.

Seeds and items are crossed: every seed of a method is evaluated on the same items. For a mean over
both, the bootstrap that draws seeds, then items, needs no drawing, as its variance is a sum of
squares. With 2 to 5 seeds its percentiles are far too narrow, so both levels are corrected here:

    variance = σ² / S  +  N / (N − 1) · max(0, Σ_i ū_i² − (Σ_si u_si² − S Σ_i ū_i²) / (S (S − 1)))

with S seeds, N items, and the influence u_si of item i on the score of seed s (ū_i: its mean over
seeds). σ² is the variance over seeds, moderated by those of the other methods; the second term
holds what items add beyond it. The first has Student's t distribution, the second a normal one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from pipeline.statistics.copies import (
    NO_HYPOTHESIS,
    first_of_each,
    hypotheses,
    moving_classes,
    seed_variances,
)
from pipeline.statistics.items import (
    InfluenceProducts,
    difference_products,
    item_variance,
    method_products,
)
from pipeline.statistics.power import log_chi_squared
from pipeline.statistics.seed_variance import (
    Variances,
    common_degrees,
    moderated,
    residual_degrees,
)

CONFIDENCE = 0.95
NODES = 64  # of the integral over the variance of seeds
NEWTON_STEPS = 6  # to an interval's end
FARTHEST_TAIL = 1e-12  # for which Student's quantile is computed
SMALLEST_P = 1e-300
SMALLEST_DEVIATION = 1e-100  # stands for zero
ROOT_STEPS = 20
ROOT_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Estimates:
    """Values with the variances that seeds and items give them."""

    values: np.ndarray
    seed_variances: np.ndarray  # zero for a single seed, where it is unknown
    seed_degrees: np.ndarray  # degrees of freedom of `seed_variances`
    item_variances: np.ndarray
    items: int

    @property
    def standard_errors(self) -> np.ndarray:
        """Square roots of the total variances."""
        return np.sqrt(self.seed_variances + self.item_variances)

    @property
    def degrees_of_freedom(self) -> np.ndarray:
        """Degrees of freedom of both levels together, Satterthwaite's."""
        below = self.seed_variances**2 / self.seed_degrees
        below = below + self.item_variances**2 / (self.items - 1)
        joint = self.seed_degrees.copy()
        return np.divide(self.standard_errors**4, below, out=joint, where=below > 0)

    def p_values(self) -> np.ndarray:
        """Two-sided p-values of a true value of zero: the tail whose own interval ends there."""
        distances = np.abs(self.values)

        def excess(log_tails: np.ndarray) -> np.ndarray:
            tails = self._error(np.exp(log_tails)).tail_probability(distances)
            return np.log(np.maximum(tails, SMALLEST_P)) - log_tails

        begin = np.full_like(distances, np.log(1 - CONFIDENCE))
        return np.exp(_root_of_falling(excess, begin, begin + excess(begin)))

    def half_widths(self, confidence: float = CONFIDENCE) -> np.ndarray:
        """Half the width of each interval: where the p-value is 1 − confidence."""
        tails = np.full_like(self.values, 1 - confidence)
        error, widened = self._error(tails), self._widened(tails)
        quantile = (1 + confidence) / 2
        of_seeds = special.stdtrit(self.seed_degrees, quantile) * np.sqrt(self.seed_variances)
        of_normal = special.ndtri(quantile) * np.sqrt(self.seed_variances + widened)
        halves = np.maximum(of_seeds, of_normal)
        for _ in range(NEWTON_STEPS):  # a convex function's root is approached from below
            halves += (error.tail_probability(halves) - (1 - confidence)) / error.density(halves)
        return np.where(self.standard_errors > 0, halves, 0.0)

    def _error(self, tails: np.ndarray) -> "NormalMixture":
        """Student's t for seeds plus a normal variable for items: normal, given the t's χ²."""
        variances, weights = self._seed_mixture
        deviations = np.sqrt(variances + self._widened(tails)[:, None])
        return NormalMixture(np.maximum(deviations, SMALLEST_DEVIATION), weights)

    @cached_property
    def _seed_mixture(self) -> tuple[np.ndarray, np.ndarray]:
        """Possible variances of seeds and their probabilities: arrays [values, nodes]."""
        nodes, weights = log_chi_squared(self.seed_degrees, NODES)
        return (self.seed_variances * self.seed_degrees)[:, None] * np.exp(-nodes), weights

    def _widened(self, tails: np.ndarray) -> np.ndarray:
        """`item_variances` with Student's t for each tail's normal quantile, for few items."""
        outer = np.clip(tails, FARTHEST_TAIL, 0.5) / 2
        ratio = special.stdtrit(self.items - 1, outer) / special.ndtri(outer)
        return self.item_variances * ratio**2


@dataclass(frozen=True)
class NormalMixture:
    """A mixture of normal distributions around zero."""

    deviations: np.ndarray  # [values, nodes]
    weights: np.ndarray  # [values, nodes]

    def tail_probability(self, distances: np.ndarray) -> np.ndarray:
        """The probability of being at least this far from zero, on either side."""
        tails = special.ndtr(-distances[:, None] / self.deviations)
        return np.minimum(2 * (tails * self.weights).sum(axis=1), 1.0)

    def density(self, distances: np.ndarray) -> np.ndarray:
        """How fast the tail probability falls."""
        scaled = distances[:, None] / self.deviations
        heights = np.exp(-(scaled**2) / 2) / self.deviations
        return np.sqrt(2 / np.pi) * (heights * self.weights).sum(axis=1)


def method_estimates(scores: np.ndarray, products: InfluenceProducts) -> Estimates:
    """Each method's mean over seeds; scores [methods, seeds]."""
    variances = _method_variances(scores, products)
    return _estimates(scores, method_products(products), variances)


def pairwise_estimates(
    scores: np.ndarray, products: InfluenceProducts, first: np.ndarray, second: np.ndarray
) -> Estimates:
    """The differences `first` − `second` (indices of methods); scores [methods, seeds]."""
    pairs = difference_products(products, first, second)
    variances = _pairwise_variances(scores, products, first, second)
    return _estimates(scores[first] - scores[second], pairs, variances)


def _method_variances(scores: np.ndarray, products: InfluenceProducts) -> Variances:
    """How much seeds vary each method's score."""
    degrees = scores.shape[1] - 1
    variances = seed_variances(scores, method_products(products))
    if not degrees:
        return Variances(variances, np.ones_like(variances))
    classes = moving_classes(scores, products)
    most = common_degrees(scores[first_of_each(classes)])
    return moderated(variances, degrees, most, classes)


def _pairwise_variances(
    scores: np.ndarray, products: InfluenceProducts, first: np.ndarray, second: np.ndarray
) -> Variances:
    """How much seeds vary each difference."""
    degrees, pairs = scores.shape[1] - 1, difference_products(products, first, second)
    variances = seed_variances(scores[first] - scores[second], pairs)
    if not degrees:
        return Variances(variances, np.ones_like(variances))
    classes = moving_classes(scores, products)
    is_moved = classes != NO_HYPOTHESIS
    both = is_moved[first] & is_moved[second]
    kinds = np.where(both, hypotheses(classes, first, second), NO_HYPOTHESIS)
    most = residual_degrees(len(first_of_each(classes)), degrees + 1)
    paired = moderated(variances, degrees, most, kinds)

    # In a difference from a row that no seed moves, what a seed does to all others doesn't cancel.
    single = _method_variances(scores, products)
    moving, unmoved = np.where(is_moved[first], [first, second], [second, first])
    is_mixed = is_moved[first] != is_moved[second]
    sums = single.values[moving] + single.values[unmoved]
    return Variances(
        np.where(is_mixed, sums, paired.values),
        np.where(is_mixed, single.degrees[moving], paired.degrees),
    )


def _estimates(scores: np.ndarray, products: InfluenceProducts, variances: Variances) -> Estimates:
    """The means of scores [.., seeds], each seed having one of `variances`."""
    return Estimates(
        values=scores.mean(axis=1),
        seed_variances=variances.values / scores.shape[1],
        seed_degrees=variances.degrees,
        item_variances=item_variance(products),
        items=products.items,
    )


def _root_of_falling(
    function: Callable[[np.ndarray], np.ndarray], one_end: np.ndarray, other_end: np.ndarray
) -> np.ndarray:
    """The roots of falling functions between two ends each, by false position.

    The value at an end that stays is halved, so that none stays for long (after the Illinois
    method; Dowell & Jarratt 1971, BIT 11:168).
    """
    low, high = np.minimum(one_end, other_end), np.maximum(one_end, other_end)
    above, below = np.maximum(function(low), 0.0), np.minimum(function(high), 0.0)
    root = low
    for _ in range(ROOT_STEPS):
        span = above - below
        share = np.divide(above, span, out=np.zeros_like(span), where=span > 0)
        root = low + (high - low) * share
        value = function(root)
        if (np.abs(value) < ROOT_TOLERANCE).all():
            break
        is_higher = value > 0
        above, below = np.where(is_higher, [value, below / 2], [above / 2, value])
        low, high = np.where(is_higher, [root, high], [low, root])
    return root

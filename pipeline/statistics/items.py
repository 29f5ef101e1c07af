"""What items add to a score, and the variance that comes from drawing them."""

from dataclasses import dataclass

import numpy as np

ROUNDING = 1e-12  # of a sum of squares: what subtracting equal ones may leave


@dataclass(frozen=True)
class Contributions:
    """Scores Σ w v / Σ w, and what each item adds to their deviation: arrays [..., items].

    A score's influences sum to zero; to first order, another draw of items moves the score by the
    sum of theirs (a ratio's linearisation: exact where all items weigh the same).
    """

    scores: np.ndarray  # without the last axis
    influences: np.ndarray
    shares: np.ndarray  # of the weight

    def around(self, centre: np.ndarray | np.floating) -> np.ndarray:
        """What each item adds to score − centre."""
        return self.influences + (self.scores - centre)[..., None] * self.shares


def contributions(weighted: np.ndarray, weights: np.ndarray) -> Contributions:
    """Of sums w v and w with items on the last axis."""
    totals = weights.sum(axis=-1, keepdims=True)
    scores = weighted.sum(axis=-1, keepdims=True) / totals
    return Contributions(scores[..., 0], (weighted - scores * weights) / totals, weights / totals)


@dataclass(frozen=True)
class Products:
    """Sums over items of products of influences of every two methods: arrays [methods, methods]."""

    of_means: np.ndarray  # of their means over seeds
    within: np.ndarray  # summed over seeds: of each seed with itself
    seeds: int
    items: int


def products(influences: np.ndarray) -> Products:
    """Of influences [methods, seeds, items]: all that variances of any differences need."""
    methods, seeds, items = influences.shape
    means = influences.mean(axis=1)
    flat = influences.reshape(methods, seeds * items)
    return Products(means @ means.T, flat @ flat.T, seeds, items)


def of_differences(products: Products, one: np.ndarray, other: np.ndarray) -> Products:
    """The same for differences of methods `one` − `other` (indices), as arrays [pairs]."""

    def combined(table: np.ndarray) -> np.ndarray:
        whole = table[one, one] + table[other, other]
        left = whole - 2 * table[one, other]
        return np.where(left > ROUNDING * whole, left, 0.0)

    return Products(
        combined(products.of_means), combined(products.within), products.seeds, products.items
    )


def of_each(products: Products) -> Products:
    """The same for each method by itself, as arrays [methods]."""
    return Products(
        np.diag(products.of_means), np.diag(products.within), products.seeds, products.items
    )


def draw_variance(sums: Products) -> np.ndarray:
    """The variance of a mean over seeds from drawing the items anew, these checkpoints given."""
    return sums.of_means * sums.items / (sums.items - 1)


def main_variance(sums: Products) -> np.ndarray:
    """The part of `draw_variance` that more seeds would not lessen: some items suit all seeds.

    The rest, a seed's own luck with an item, is in the spread over seeds already. An estimate
    below zero counts as zero.
    """
    if sums.seeds == 1:
        return draw_variance(sums)
    own_luck = (sums.within - sums.seeds * sums.of_means) / (sums.seeds * (sums.seeds - 1))
    return np.maximum(sums.of_means - own_luck, 0.0) * sums.items / (sums.items - 1)


def standardised(differences: np.ndarray, sums: Products) -> np.ndarray:
    """Differences in standard deviations of the items' differences (d_z); NaN where that is 0."""
    deviations = np.sqrt(draw_variance(sums) * sums.items)
    found = np.full_like(differences, np.nan)
    return np.divide(differences, deviations, out=found, where=deviations > 0)

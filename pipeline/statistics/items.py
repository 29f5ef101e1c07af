"""How much each item contributes to a score, and the variance that comes from sampling items."""

from dataclasses import dataclass

import numpy as np

ROUNDING = 1e-12  # relative to a sum of squares: what subtracting equal ones may leave


@dataclass(frozen=True)
class Contributions:
    """Scores Σ w v / Σ w, and each item's influence on them: arrays [..., items].

    A score's influences sum to zero; to first order, another sample of items moves the score by the
    sum of theirs (a ratio's linearisation: exact where all items weigh the same).
    """

    scores: np.ndarray  # [...]
    influences: np.ndarray
    weight_shares: np.ndarray

    def centred_on(self, centre: float | np.floating) -> np.ndarray:
        """Each item's contribution to score − centre."""
        return self.influences + (self.scores - centre)[..., None] * self.weight_shares


def contributions(weighted: np.ndarray, weights: np.ndarray) -> Contributions:
    """Contributions from sums w v and w, with items on the last axis."""
    totals = weights.sum(axis=-1, keepdims=True)
    scores = weighted.sum(axis=-1, keepdims=True) / totals
    return Contributions(scores[..., 0], (weighted - scores * weights) / totals, weights / totals)


@dataclass(frozen=True)
class InfluenceProducts:
    """Inner products over items of every two methods' influences: arrays [methods, methods]."""

    means: np.ndarray  # of their means over seeds: Σ_i ū_i ū'_i
    within_seeds: np.ndarray  # of each seed with itself, summed over seeds: Σ_si u_si u'_si
    seeds: int
    items: int


def influence_products(influences: np.ndarray) -> InfluenceProducts:
    """Products of influences [methods, seeds, items]: all that variances of differences need."""
    methods, seeds, items = influences.shape
    means = influences.mean(axis=1)
    flat = influences.reshape(methods, seeds * items)
    return InfluenceProducts(means @ means.T, flat @ flat.T, seeds, items)


def difference_products(
    products: InfluenceProducts, first: np.ndarray, second: np.ndarray
) -> InfluenceProducts:
    """Products of the differences `first` − `second` (indices of methods), as arrays [pairs]."""

    def of_pairs(table: np.ndarray) -> np.ndarray:
        squares = table[first, first] + table[second, second]
        difference = squares - 2 * table[first, second]
        return np.where(difference > ROUNDING * squares, difference, 0.0)

    return InfluenceProducts(
        of_pairs(products.means), of_pairs(products.within_seeds), products.seeds, products.items
    )


def method_products(products: InfluenceProducts) -> InfluenceProducts:
    """Each method's products with itself, as arrays [methods]."""
    return InfluenceProducts(
        np.diag(products.means), np.diag(products.within_seeds), products.seeds, products.items
    )


def sampling_variance(products: InfluenceProducts) -> np.ndarray:
    """Variance of a mean over seeds from resampling the items, given these checkpoints."""
    return products.means * products.items / (products.items - 1)


def item_variance(products: InfluenceProducts) -> np.ndarray:
    """The part of `sampling_variance` that more seeds would not reduce.

    The rest, a single seed's luck with an item, is already in the spread over seeds. A negative
    estimate counts as zero.
    """
    if products.seeds == 1:
        return sampling_variance(products)
    shared = products.means - seed_luck(products)
    return np.maximum(shared, 0.0) * products.items / (products.items - 1)


def seed_luck(products: InfluenceProducts) -> np.ndarray:
    """What the seeds' own luck with items adds to the products of means."""
    seeds = products.seeds
    return (products.within_seeds - seeds * products.means) / (seeds * (seeds - 1))


def effect_sizes(differences: np.ndarray, products: InfluenceProducts) -> np.ndarray:
    """Differences in standard deviations of the items' differences (d_z); NaN where that is 0.

    Where all items differ by as much, rounding alone makes them scatter.
    """
    deviations = np.sqrt(sampling_variance(products) * products.items)
    effects = np.full_like(differences, np.nan)
    scatters = deviations > ROUNDING * np.abs(differences)
    return np.divide(differences, deviations, out=effects, where=scatters)

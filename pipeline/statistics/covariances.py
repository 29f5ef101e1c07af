"""The covariance of two quantities of a method over seeds and items, as variances are elsewhere."""

from dataclasses import dataclass

import numpy as np

from pipeline.statistics import copies
from pipeline.statistics import seed_variance as of_seeds
from pipeline.statistics.bootstrap import Estimates
from pipeline.statistics.items import Products


@dataclass(frozen=True)
class Covariance:
    """From both levels, with the degrees of freedom of the first."""

    from_seeds: np.ndarray  # [2, 2]
    from_items: np.ndarray
    degrees: float
    items: int

    @property
    def total(self) -> np.ndarray:
        """Of the means over seeds."""
        return self.from_seeds + self.from_items

    def critical(self, direction: np.ndarray) -> float:
        """Half of the 95 % interval of a weighted sum of the two, in its standard errors."""
        seeds = np.array([direction @ self.from_seeds @ direction])
        items = np.array([direction @ self.from_items @ direction])
        degrees = np.array([self.degrees])
        estimate = Estimates(np.zeros(1), seeds, degrees, items, self.items)
        error = float(estimate.errors[0])
        return float(estimate.half_widths()[0]) / error if error > 0 else 0.0


def shrunken(scores: np.ndarray, sums: Products) -> tuple[np.ndarray, np.ndarray]:
    """Covariances [methods, 2, 2] over seeds of scores [methods, 2, seeds], and their degrees.

    Shrunk towards their mean as `seeds.shrunken` does the variance of the first of the two, whose
    items have the products `sums`.
    """
    seeds = scores.shape[2]
    own = np.stack([np.cov(of_method) for of_method in scores])
    first, kinds = own[:, 0, 0], copies.moved_alike(scores[:, 0], sums)
    kinds = np.where(copies.negligible(first, seeds - 1), copies.APART, kinds)
    told = copies.first_of_each(kinds)
    most = of_seeds.residual_degrees(len(told) + 1, seeds)  # the baseline is one more
    found = of_seeds.shrunken(first, seeds - 1, most, kinds)
    if not len(told):
        return own, found.degrees
    of_all = ((found.degrees - (seeds - 1)) / found.degrees)[:, None, None]
    mixed = of_all * own[told].mean(axis=0) + (1 - of_all) * own
    ratio, known = np.ones_like(first), mixed[:, 0, 0] > 0
    np.divide(found.values, mixed[:, 0, 0], out=ratio, where=known)
    return mixed * ratio[:, None, None], found.degrees


def from_items(sums: Products) -> np.ndarray:
    """The matrix with `items.main_variance` on its diagonal; what is below zero counts as zero."""
    kept = sums.of_means
    if sums.seeds > 1:
        own_luck = (sums.within - sums.seeds * sums.of_means) / (sums.seeds * (sums.seeds - 1))
        sizes, directions = np.linalg.eigh(sums.of_means - own_luck)
        kept = (directions * np.maximum(sizes, 0.0)) @ directions.T
    return kept * sums.items / (sums.items - 1)

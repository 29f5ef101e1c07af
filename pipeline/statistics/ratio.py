"""Ratios of two differences over seeds and items, with Fieller's interval."""

from dataclasses import dataclass

import numpy as np

from pipeline.statistics import copies, seed_variance
from pipeline.statistics.bootstrap import Estimates
from pipeline.statistics.items import (
    InfluenceProducts,
    influence_products,
    method_products,
    seed_luck,
)


@dataclass(frozen=True)
class Ratio:
    """A ratio and its 95 % interval."""

    value: float
    low: float
    high: float


def ratios(scores: np.ndarray, influences: np.ndarray) -> list[Ratio | None]:
    """Each method's gain over the possible gain; None where that may be zero.

    Scores [methods, 2, seeds] and influences [methods, 2, seeds, items] of the two differences.
    """
    methods, _, seeds = scores.shape
    over_seeds, degrees = np.zeros((methods, 2, 2)), np.ones(methods)
    if seeds > 1:
        over_seeds, degrees = moderated_covariances(scores, influence_products(influences[:, 0]))
    ratios: list[Ratio | None] = []
    for method, (gain, possible) in enumerate(scores.mean(axis=2)):
        of_seeds = over_seeds[method] / seeds
        of_items = item_covariance(influence_products(influences[method]))
        orthogonal = np.array([possible, -gain])  # a sum of the two, zero at the ratio itself
        estimate = Estimates(
            values=np.zeros(1),
            seed_variances=np.array([orthogonal @ of_seeds @ orthogonal]),
            seed_degrees=degrees[[method]],
            item_variances=np.array([orthogonal @ of_items @ orthogonal]),
            items=influences.shape[-1],
        )
        error = float(estimate.standard_errors[0])
        critical = float(estimate.half_widths()[0]) / error if error > 0 else 0.0
        ratios.append(fieller(float(gain), float(possible), of_seeds + of_items, critical))
    return ratios


def fieller(
    numerator: float, denominator: float, covariance: np.ndarray, critical: float
) -> Ratio | None:
    """The ratio, given the covariance matrix; None where the denominator may be zero.

    The interval holds the r for which numerator − r · denominator lies within `critical` standard
    errors of zero (Fieller 1954, J. R. Statist. Soc. B 16:175). It is bounded exactly where the
    denominator's own interval excludes zero.
    """
    # a r² − 2 b r + c <= 0
    a = denominator**2 - critical**2 * covariance[1, 1]
    if not a > 0:
        return None
    b = numerator * denominator - critical**2 * covariance[0, 1]
    c = numerator**2 - critical**2 * covariance[0, 0]
    root = np.sqrt(max(b**2 - a * c, 0.0))
    return Ratio(numerator / denominator, float((b - root) / a), float((b + root) / a))


def moderated_covariances(
    scores: np.ndarray, products: InfluenceProducts
) -> tuple[np.ndarray, np.ndarray]:
    """Covariances [methods, 2, 2] over seeds of scores [methods, 2, seeds], and their degrees.

    Shrunk towards their mean as `seed_variance.moderated` does the variance of the first of the
    two, whose items have `products`.
    """
    seeds = scores.shape[2]
    covariances = np.stack([np.cov(of_method) for of_method in scores])
    variances = copies.seed_variances(scores[:, 0], method_products(products))
    covariances[:, 0, 0] = variances
    classes = copies.moving_classes(scores[:, 0], products)
    distinct = copies.first_of_each(classes)
    most = seed_variance.residual_degrees(len(distinct) + 1, seeds)  # the baseline is one more
    moderated = seed_variance.moderated(variances, seeds - 1, most, classes)
    if not len(distinct):
        return covariances, moderated.degrees
    prior_share = ((moderated.degrees - (seeds - 1)) / moderated.degrees)[:, None, None]
    mixed = prior_share * covariances[distinct].mean(axis=0) + (1 - prior_share) * covariances
    scale, known = np.ones_like(variances), mixed[:, 0, 0] > 0
    np.divide(moderated.values, mixed[:, 0, 0], out=scale, where=known)
    return mixed * scale[:, None, None], moderated.degrees


def item_covariance(products: InfluenceProducts) -> np.ndarray:
    """The matrix with `items.item_variance` on its diagonal; negative eigenvalues count as zero."""
    shared = products.means
    if products.seeds > 1:
        sizes, directions = np.linalg.eigh(products.means - seed_luck(products))
        shared = (directions * np.maximum(sizes, 0.0)) @ directions.T
    return shared * products.items / (products.items - 1)

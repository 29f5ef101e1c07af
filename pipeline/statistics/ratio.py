"""Ratios of two differences over seeds and items, with Fieller's interval."""

from dataclasses import dataclass

import numpy as np

from pipeline.statistics import covariances
from pipeline.statistics.covariances import Covariance
from pipeline.statistics.items import products


@dataclass(frozen=True)
class Ratio:
    """A ratio and its 95 % interval."""

    value: float
    low: float
    high: float


def ratios(scores: np.ndarray, influences: np.ndarray) -> list[Ratio | None]:
    """What each method gained over what there was to gain; None where that may be nothing.

    Scores [methods, 2, seeds] and influences [methods, 2, seeds, items] of the two differences.
    """
    methods, _, seeds = scores.shape
    over_seeds, degrees = np.zeros((methods, 2, 2)), np.ones(methods)
    if seeds > 1:
        over_seeds, degrees = covariances.shrunken(scores, products(influences[:, 0]))
    found: list[Ratio | None] = []
    for place, means in enumerate(scores.mean(axis=2)):
        sums, free = products(influences[place]), float(degrees[place])
        own = over_seeds[place] / seeds
        both = Covariance(own, covariances.from_items(sums), free, sums.items)
        along = np.array([means[1], -means[0]])  # what is zero at the ratio itself
        found.append(fieller(*map(float, means), both.total, both.critical(along)))
    return found


def fieller(top: float, bottom: float, covariance: np.ndarray, critical: float) -> Ratio | None:
    """The ratio top / bottom, given their covariance matrix; None where the bottom may be zero.

    The values r for which top − r · bottom lies within `critical` standard errors of zero
    (Fieller 1954, J. R. Statist. Soc. B 16:175). They are bounded exactly where the bottom's own
    interval leaves out zero.
    """
    square = critical**2
    lead = bottom**2 - square * covariance[1, 1]
    if not lead > 0:
        return None
    middle = top * bottom - square * covariance[0, 1]
    last = top**2 - square * covariance[0, 0]
    spread = np.sqrt(max(middle**2 - lead * last, 0.0))
    return Ratio(top / bottom, float((middle - spread) / lead), float((middle + spread) / lead))

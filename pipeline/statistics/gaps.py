"""Ratios of two differences, with an interval: Fieller's."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ratio:
    """A ratio and its 95 % interval."""

    value: float
    low: float
    high: float


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

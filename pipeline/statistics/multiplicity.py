"""Many tests at once."""

from dataclasses import dataclass

import numpy as np

from pipeline.statistics.copies import APART

LEVEL = 0.05  # of families with a false claim


@dataclass(frozen=True)
class Family:
    """Tests that were corrected for each other, and the level of intervals that agree with them."""

    adjusted: np.ndarray  # p-values; NaN for those that don't belong to it
    level: float


def family(p_values: np.ndarray, kinds: np.ndarray) -> Family:
    """Holm's procedure over the kinds of hypotheses, each as sure as the least sure of its tests.

    Tests of the kind −1 don't belong to it. With r of m hypotheses claimed, an interval at the
    level 1 − 0.05 / (m − r + 1) leaves out zero exactly where its difference is claimed: Holm
    claims those with p ≤ 0.05 / (m − r + 1), and all others have p > 0.05 / (m − r).
    """
    adjusted = np.full(len(p_values), np.nan)
    found, places = np.unique(kinds[kinds != APART], return_inverse=True)
    if not len(found):
        return Family(adjusted, 1 - LEVEL)
    largest = np.zeros(len(found))
    np.maximum.at(largest, places, p_values[kinds != APART])
    held = holm(largest)
    adjusted[kinds != APART] = held[places]
    left = min(len(found), len(found) - int((held < LEVEL).sum()) + 1)
    return Family(adjusted, 1 - LEVEL / left)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values of a family (1979, Scand. J. Statist. 6:65).

    Rejecting those below 0.05 makes one false rejection or more in at most 5 % of families.
    """
    order = np.argsort(p_values, kind="stable")
    left = np.arange(len(p_values), 0, -1)
    rising = np.maximum.accumulate(left * p_values[order])
    adjusted = np.empty_like(rising)
    adjusted[order] = np.minimum(rising, 1.0)
    return adjusted

"""Rows that are one row told twice, and rows that seeds move alike.

A method under two names, a cached teacher of full width beside the live one: two such rows are no
evidence of how much seeds matter, and their differences from the others are not asked twice.
"""

import numpy as np
from scipy import special
from scipy.sparse.csgraph import connected_components

from pipeline.statistics import items as of_items
from pipeline.statistics.items import Products

CLOSE_SCORES = 1e-2  # of the usual standard error of a difference
CLOSE_ITEMS = 1e-1  # of the usual scatter of two methods' items
ROUNDING = 1e-10  # of a variance over seeds: what evaluating equal models twice may leave
CHANCE = 1e-3  # that seeds which vary look as if they didn't, in any pair of a cell
APART = -1  # the kind of a pair whose two rows are of one class


def copies(scores: np.ndarray, sums: Products) -> np.ndarray:
    """The class of each row of scores [rows, seeds]: rows that are copies of each other share one.

    Copies agree in two things. In every seed their scores differ by less than a hundredth of the
    usual standard error of a difference, and their items scatter less than a tenth as much as usual
    around that. The second is seen in hundreds of values, so that no luck of a seed makes a copy.
    """
    one, other = np.triu_indices(len(scores), 1)
    if not len(one):
        return np.zeros(len(scores), dtype=np.int64)
    differences = scores[one] - scores[other]
    pairs = of_items.of_differences(sums, one, other)
    errors = np.sqrt(over_seeds(differences) / scores.shape[1] + of_items.main_variance(pairs))
    scatter = np.sqrt(pairs.within)
    near = np.abs(differences).max(axis=1) <= CLOSE_SCORES * errors.mean()
    alike = near & (scatter <= CLOSE_ITEMS * scatter.mean())
    return _joined(np.arange(len(scores)), one[alike], other[alike])


def moved_alike(scores: np.ndarray, sums: Products) -> np.ndarray:
    """The class of each row of scores [rows, seeds]: in one, differences don't vary over seeds.

    So it is with copies, and with two rows that no seed moves. A difference of two others may look
    so by chance, in one cell of a thousand.
    """
    one, other = np.triu_indices(len(scores), 1)
    still = negligible(over_seeds(scores[one] - scores[other]), scores.shape[1] - 1)
    return _joined(copies(scores, sums), one[still], other[still])


def negligible(variances: np.ndarray, degrees: int) -> np.ndarray:
    """Which are so small that not one of as many equal ones would be, but once in a thousand."""
    positive = variances[variances > 0]
    if not len(positive):
        return variances == 0
    half, chance = degrees / 2, CHANCE / len(variances)
    # P(χ² < x) is at most (x / 2)^half / Γ(half + 1), and nearly so where x is small.
    least = (chance * special.gamma(half + 1)) ** (1 / half) / half
    return variances <= max(least, ROUNDING) * np.median(positive)


def hypotheses(classes: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The kind of each pair of rows: those between the same two classes share one.

    Pairs within a class are of the kind −1.
    """
    ends = np.sort(np.stack([classes[one], classes[other]], axis=1), axis=1)
    kinds = ends[:, 0] * (classes.max(initial=0) + 1) + ends[:, 1]
    return np.where(ends[:, 0] == ends[:, 1], APART, kinds)


def first_of_each(kinds: np.ndarray) -> np.ndarray:
    """The places where the kinds stand first, without −1."""
    found, places = np.unique(kinds, return_index=True)
    return np.sort(places[found != APART])


def over_seeds(scores: np.ndarray) -> np.ndarray:
    """The variance of each row of [rows, seeds]; zero for a single seed."""
    return scores.var(axis=1, ddof=1) if scores.shape[1] > 1 else np.zeros(len(scores))


def _joined(classes: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The classes, with those of rows `one` and `other` made one; numbered from 0 without gaps."""
    same = classes[:, None] == classes
    same[one, other] = True
    return connected_components(same, directed=False)[1].astype(np.int64)

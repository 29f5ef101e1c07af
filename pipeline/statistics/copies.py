"""Rows that are practically the same, and rows that training seeds move alike.

A method under two names, or a cached teacher of full width beside the live one: two such rows are
no evidence of how much seeds matter, and their differences from the others are tested only once.
"""

import numpy as np
from scipy import special
from scipy.sparse.csgraph import connected_components

from pipeline.statistics.items import (
    InfluenceProducts,
    difference_products,
    item_variance,
    method_products,
    seed_luck,
)

CLOSE_SCORES = 1e-2  # of the usual standard error of a difference
CLOSE_ITEMS = 1e-1  # of the usual scatter of two methods' items
ROUNDING = 1e-10  # of a variance over seeds: what evaluating equal models twice may leave
CHANCE = 1e-3  # that seeds which do vary look as if they didn't, in any pair of a cell
NO_HYPOTHESIS = -1  # the hypothesis of a pair whose two rows are copies of each other


def copy_classes(scores: np.ndarray, products: InfluenceProducts) -> np.ndarray:
    """The class of each row of scores [rows, seeds]: copies of each other share one.

    Copies agree in two ways: in every seed their scores differ by less than a hundredth of the
    usual standard error of a difference, and their items scatter around that by less than a tenth
    of the usual. The second is seen in hundreds of values, so a seed's luck doesn't make a copy.
    """
    first, second = np.triu_indices(len(scores), 1)
    if not len(first):
        return np.zeros(len(scores), dtype=np.int64)
    differences = scores[first] - scores[second]
    pairs = difference_products(products, first, second)
    seed_variances = variance_over_seeds(differences) / scores.shape[1]
    standard_errors = np.sqrt(seed_variances + item_variance(pairs))
    scatter = np.sqrt(pairs.within_seeds)
    near = np.abs(differences).max(axis=1) <= CLOSE_SCORES * standard_errors.mean()
    alike = near & (scatter <= CLOSE_ITEMS * scatter.mean())
    return _joined(np.arange(len(scores)), first[alike], second[alike])


def seed_classes(scores: np.ndarray, products: InfluenceProducts) -> np.ndarray:
    """The class of each row of scores [rows, seeds]: within one, differences don't vary over seeds.

    That holds for copies, and for two rows that no seed moves. A difference of two other rows looks
    like that by chance in one cell of a thousand.
    """
    first, second = np.triu_indices(len(scores), 1)
    pairs = difference_products(products, first, second)
    variances = seed_variances(scores[first] - scores[second], pairs)
    constant = is_negligible(variances, scores.shape[1] - 1)
    return _joined(copy_classes(scores, products), first[constant], second[constant])


def moving_classes(scores: np.ndarray, products: InfluenceProducts) -> np.ndarray:
    """The class of each row that seeds move, as of `seed_classes`; −1 for the others."""
    variances = seed_variances(scores, method_products(products))
    constant = is_negligible(variances, scores.shape[1] - 1)
    return np.where(constant, NO_HYPOTHESIS, seed_classes(scores, products))


def is_negligible(variances: np.ndarray, degrees: int) -> np.ndarray:
    """Which are so small that of as many equal ones none would be, but once in a thousand."""
    return variances <= _least(variances, degrees)


def _least(variances: np.ndarray, degrees: int) -> float:
    positive = variances[variances > 0]
    if not len(positive):
        return 0.0
    half, chance = degrees / 2, CHANCE / len(variances)
    # P(χ² < x) is at most (x / 2)^half / Γ(half + 1), and nearly so where x is small.
    least = (chance * special.gamma(half + 1)) ** (1 / half) / half
    return max(least, ROUNDING) * float(np.median(positive))


def hypotheses(classes: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The hypothesis of each pair of rows: pairs between the same two classes share one.

    Pairs within a class have none, −1.
    """
    ends = np.sort(np.stack([classes[first], classes[second]], axis=1), axis=1)
    numbers = ends[:, 0] * (classes.max(initial=0) + 1) + ends[:, 1]
    return np.where(ends[:, 0] == ends[:, 1], NO_HYPOTHESIS, numbers)


def first_of_each(hypotheses: np.ndarray) -> np.ndarray:
    """The indices at which each hypothesis occurs first, without −1."""
    distinct, indices = np.unique(hypotheses, return_index=True)
    return np.sort(indices[distinct != NO_HYPOTHESIS])


def variance_over_seeds(scores: np.ndarray) -> np.ndarray:
    """The sample variance of each row of [rows, seeds]; zero for a single seed."""
    return scores.var(axis=1, ddof=1) if scores.shape[1] > 1 else np.zeros(len(scores))


def seed_variances(scores: np.ndarray, products: InfluenceProducts) -> np.ndarray:
    """The variance over seeds of each row of [rows, seeds]; `products` are those of its items.

    Two checkpoints with equally many right answers have the same score, and differ: seeds that tie
    so say nothing of how much seeds matter. In place of a negligible variance stands what the
    seeds' differences in single items alone make of a score, where that is not negligible.
    """
    variances = variance_over_seeds(scores)
    if scores.shape[1] == 1:
        return variances
    within = products.within_seeds
    of_items = products.seeds * np.where(
        products.seeds * products.means < (1 - ROUNDING) * within, seed_luck(products), 0.0
    )
    least = _least(variances, scores.shape[1] - 1)
    tied = variances <= np.maximum(least, ROUNDING * of_items)
    return np.where(tied & (of_items > least), of_items, variances)


def _joined(classes: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The classes with those of rows `first` and `second` united, numbered from 0 without gaps."""
    same = classes[:, None] == classes
    same[first, second] = True
    return connected_components(same, directed=False)[1].astype(np.int64)

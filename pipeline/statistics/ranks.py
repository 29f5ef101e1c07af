"""Ranks of methods over several rankings, and which of them don't differ significantly."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from pipeline.statistics.tests import ALPHA

FEWEST_BLOCKS = 5  # below which a test of ranks over blocks finds next to nothing


def mean_ranks(losses: np.ndarray) -> np.ndarray:
    """Each method's mean rank over blocks; losses [blocks, methods], ties share their mean rank."""
    return stats.rankdata(losses, axis=1).mean(axis=0)


def rank_bounds(worse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best and the worst rank that each method can have.

    `worse[i, j]`: method i is significantly worse than j. Where the tests of all pairs make a false
    claim in at most 5 % of experiments, all true ranks lie within these bounds in 95 % (Mogstad,
    Romano, Shaikh & Wilhelm 2024, Rev. Econ. Stud. 91:476).
    """
    return 1 + worse.sum(axis=1), len(worse) - worse.sum(axis=0)


def critical_difference(methods: int, blocks: int) -> float:
    """Nemenyi's at 5 %: how far two mean ranks must be apart (Demšar 2006, JMLR 7:1).

    It holds for all pairs of methods together, after many blocks that are independent.
    """
    quantile = stats.studentized_range.ppf(1 - ALPHA, methods, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(methods * (methods + 1) / (6 * blocks)))


def cliques(ranks: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """The longest runs of ascending ranks less than a difference apart: their first and last."""
    runs: list[tuple[int, int]] = []
    for first, rank in enumerate(ranks):
        last = max(place for place, other in enumerate(ranks) if other - rank < difference)
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return runs

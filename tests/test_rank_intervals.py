"""Ranks, what the tests leave open of them, and critical differences."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from pipeline.statistics.ranks import cliques, critical_difference, mean_ranks, rank_bounds

# Demšar 2006, table 5(a): two-tailed Nemenyi test at 5 %, for 2 to 10 methods
NEMENYI = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]


@pytest.mark.parametrize(("methods", "expected"), list(enumerate(NEMENYI, start=2)))
def test_the_critical_difference_has_the_published_quantiles(methods: int, expected: float) -> None:
    unit = np.sqrt(methods * (methods + 1) / 6)
    assert critical_difference(methods, 1) / unit == pytest.approx(expected, abs=1e-3)
    assert critical_difference(methods, 9) == pytest.approx(critical_difference(methods, 1) / 3)


def test_equal_methods_differ_by_more_than_the_critical_difference_in_one_of_twenty() -> None:
    methods, blocks, trials = 5, 30, 2000
    rng = np.random.default_rng(0)
    limit = critical_difference(methods, blocks)
    spans = [np.ptp(mean_ranks(rng.normal(size=(blocks, methods)))) for _ in range(trials)]
    # of 2000 trials at 5 %, the share has a standard deviation of 0.5 %
    assert 0.03 <= np.mean(np.array(spans) >= limit) <= 0.06


def test_ties_share_their_mean_rank() -> None:
    assert mean_ranks(np.array([[0.1, 0.3, 0.1]])).tolist() == [1.5, 3.0, 1.5]
    losses = np.random.default_rng(1).normal(size=(6, 4))
    ranks = mean_ranks(losses)
    friedman = 12 * 6 / (4 * 5) * ((ranks - 2.5) ** 2).sum()
    assert friedman == pytest.approx(stats.friedmanchisquare(*losses.T).statistic)


def test_a_method_can_have_every_rank_that_no_test_denies_it() -> None:
    worse = np.zeros((4, 4), dtype=bool)
    assert [bound.tolist() for bound in rank_bounds(worse)] == [[1] * 4, [4] * 4]
    worse[3, :3] = True  # the last is worse than all others
    worse[2, 0] = True
    best, worst = rank_bounds(worse)
    assert best.tolist() == [1, 1, 2, 4]
    assert worst.tolist() == [2, 3, 3, 4]


@pytest.mark.slow
def test_bounds_hold_the_true_ranks_in_all_but_one_of_twenty_experiments() -> None:
    truth, trials, samples = np.array([0.0, 0.3, 0.5, 1.5]), 1000, 20
    ranks, rng, missed = stats.rankdata(truth), np.random.default_rng(2), 0
    for _ in range(trials):
        values = truth + rng.normal(size=(samples, len(truth)))
        worse = np.zeros((len(truth), len(truth)), dtype=bool)
        for i, j in combinations(range(len(truth)), 2):
            test = stats.ttest_rel(values[:, i], values[:, j])
            if test.pvalue < 0.05 / 6:
                worse[(i, j) if test.statistic > 0 else (j, i)] = True
        best, worst = rank_bounds(worse)
        missed += not ((best <= ranks) & (ranks <= worst)).all()
    assert missed / trials <= 0.05


def test_cliques_are_the_longest_runs_within_a_difference() -> None:
    assert cliques([1.0, 1.5, 2.2, 4.0, 4.1], 1.0) == [(0, 1), (1, 2), (3, 4)]
    assert cliques([1.0, 1.1, 1.2], 1.0) == [(0, 2)]
    assert cliques([1.0, 3.0], 1.0) == []

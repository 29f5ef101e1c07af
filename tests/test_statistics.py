"""The statistics against scipy, against formulas and against draws."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from benchmarks.interval_coverage import Truth, draw, drawn_differences, item_draws
from pipeline.statistics import bootstrap
from pipeline.statistics.bootstrap import Estimates
from pipeline.statistics.items import (
    contributions,
    difference_products,
    effect_sizes,
    influence_products,
    item_variance,
    method_products,
    sampling_variance,
)
from pipeline.statistics.letters import compact_letters
from pipeline.statistics.power import min_detectable_difference
from pipeline.statistics.ratio import fieller
from pipeline.statistics.tests import holm, sign_flip_p_values, smallest_p_value

ONE, OTHER = np.array([0]), np.array([1])
SURE = 3.3  # standard errors: a right procedure fails one such check in a thousand


def two_methods(items: int, seed: int = 0) -> np.ndarray:
    """Values [methods, 1 seed, items] that go together, the first 0.2 higher."""
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(2, 1, items)) + rng.normal(size=items) + np.array([0.2, 0])[:, None, None]
    )


def equally_weighted(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    items = contributions(values, np.ones_like(values))
    return items.scores, items.influences


def test_one_seed_with_equal_weights_is_the_paired_t_test() -> None:
    values = two_methods(40)
    scores, influences = equally_weighted(values)
    estimates = bootstrap.pairwise_estimates(scores, influence_products(influences), ONE, OTHER)
    ours = stats.ttest_rel(values[0, 0], values[1, 0])
    interval = ours.confidence_interval()
    assert estimates.values[0] == pytest.approx(values[0].mean() - values[1].mean())
    assert estimates.values[0] - estimates.half_widths()[0] == pytest.approx(interval.low)
    assert estimates.values[0] + estimates.half_widths()[0] == pytest.approx(interval.high)


def test_two_methods_whose_items_agree_are_the_paired_t_test_over_seeds() -> None:
    by_seed = np.array([[0.31, 0.52, 0.43, 0.70], [0.28, 0.55, 0.31, 0.52]])
    values = np.repeat(by_seed[:, :, None], 50, axis=2)  # all items alike: seeds alone vary
    scores, influences = equally_weighted(values)
    estimates = bootstrap.pairwise_estimates(scores, influence_products(influences), ONE, OTHER)
    ours = stats.ttest_rel(*by_seed)
    assert estimates.p_values()[0] == pytest.approx(ours.pvalue, rel=1e-5)  # of the integral
    assert estimates.half_widths()[0] == pytest.approx(
        np.ptp(ours.confidence_interval()) / 2, rel=1e-5
    )


def test_both_levels_together_are_their_sum_in_draws() -> None:
    estimates = Estimates(np.array([4.0]), np.array([1.0]), np.array([2.0]), np.array([2.0]), 10**6)
    rng = np.random.default_rng(0)
    sums = np.abs(rng.standard_t(2, 10**6) + np.sqrt(2) * rng.standard_normal(10**6))
    error = np.sqrt(0.05 * 0.95 / 10**6)
    assert estimates.p_values()[0] == pytest.approx((sums >= 4).mean(), abs=4 * error)
    assert (sums >= estimates.half_widths()[0]).mean() == pytest.approx(0.05, abs=4 * error)


def test_the_interval_ends_where_the_p_value_is_five_per_cent() -> None:
    values = np.geomspace(0.01, 100, 9)
    estimates = Estimates(values, 1 / values, np.full(9, 1.4), values, 30)
    at_the_end = replace(estimates, values=estimates.half_widths())
    assert at_the_end.p_values() == pytest.approx(np.full(9, 0.05))


@pytest.mark.parametrize("items", [3, 8, 200])
def test_over_items_alone_p_values_are_students_however_small_and_few(items: int) -> None:
    distances = np.array([1.5, 2.0, 5.0, 12.0])
    nothing, ones = np.zeros(4), np.ones(4)
    p_values = Estimates(distances, nothing, ones, ones, items).p_values()
    expected = 2 * stats.t.sf(distances, items - 1)
    assert p_values == pytest.approx(expected, rel=0.01)  # of the false position, for three items


def test_what_varies_in_nothing_is_certain() -> None:
    nothing = np.zeros(2)
    estimates = Estimates(np.array([0.0, 0.3]), nothing, np.full(2, 3.0), nothing, 20)
    assert estimates.p_values().tolist() == pytest.approx([1.0, 0.0])
    assert estimates.half_widths() == pytest.approx([0.0, 0.0])


def test_the_variance_over_items_is_that_of_scipys_bootstrap() -> None:
    values = two_methods(300)
    difference = values[0, 0] - values[1, 0]
    _, influences = equally_weighted(values)
    variance = sampling_variance(difference_products(influence_products(influences), ONE, OTHER))[0]
    drawn = stats.bootstrap(
        (difference,),
        np.mean,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(1),
    )
    # The bootstrap's variance lacks n / (n − 1); that of 20,000 draws varies by 1 %.
    assert variance * 299 / 300 == pytest.approx(drawn.standard_error**2, rel=0.04)
    half = Estimates(ONE, np.zeros(1), np.ones(1), np.array([variance]), 300).half_widths()[0]
    middle = difference.mean()
    assert drawn.confidence_interval.low == pytest.approx(middle - half, abs=0.06 * half)
    assert drawn.confidence_interval.high == pytest.approx(middle + half, abs=0.06 * half)
    careful = stats.bootstrap((difference,), np.mean, method="BCa", rng=np.random.default_rng(1))
    assert np.ptp(careful.confidence_interval) / 2 == pytest.approx(half, rel=0.06)


def test_the_computed_bootstrap_is_the_drawn_one() -> None:
    rng = np.random.default_rng(3)
    drawn = draw(Truth("", methods=2, seeds=4, items=60, training=0.2), rng)
    items = contributions(drawn.weighted, drawn.weights)
    draws = drawn_differences(items, item_draws(60, 40_000, rng), rng)
    sums = difference_products(influence_products(items.influences), ONE, OTHER)
    by_seed = items.scores[0] - items.scores[1]
    over_seeds = by_seed.var() / 4
    over_items = sums.means[0]
    over_both = (sums.within_seeds[0] - 4 * sums.means[0]) / 16
    # Seeds, items, and what is left of each cell: the three sums of squares of the two-way layout.
    assert draws.var() == pytest.approx(over_seeds + over_items + over_both, rel=0.04)


def test_a_ratio_moves_by_the_influence_of_its_items() -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(5, 60, 400).astype(float)
    values = rng.normal(2, 0.5, 400)
    items = contributions(values * weights, weights)
    without = [
        np.average(np.delete(values, place), weights=np.delete(weights, place))
        for place in range(400)
    ]
    left_out = items.scores - np.array(without)
    assert items.influences == pytest.approx(
        left_out, rel=0.2, abs=1e-9
    )  # they differ in order 1/n
    variance = sampling_variance(method_products(influence_products(items.influences[None, None])))[
        0
    ]
    jackknife = 399 / 400 * ((without - np.mean(without)) ** 2).sum()
    assert variance == pytest.approx(jackknife, rel=0.02)


def test_items_that_suit_all_seeds_are_told_from_a_seeds_own_luck() -> None:
    rng = np.random.default_rng(5)
    lasting, luck = rng.normal(0, 0.5, (1, 1, 4000)), rng.normal(0, 2.0, (1, 5, 4000))
    _, influences = equally_weighted(lasting + luck)
    sums = method_products(influence_products(influences))
    assert item_variance(sums)[0] == pytest.approx(0.25 / 4000, rel=0.35)
    assert sampling_variance(sums)[0] == pytest.approx((0.25 + 4 / 5) / 4000, rel=0.1)


def test_an_effect_is_in_standard_deviations_of_the_items_differences() -> None:
    values = two_methods(50)
    difference = values[0, 0] - values[1, 0]
    scores, influences = equally_weighted(values)
    sums = difference_products(influence_products(influences), ONE, OTHER)
    effect = effect_sizes(scores[0] - scores[1], sums)[0]
    assert effect == pytest.approx(difference.mean() / difference.std(ddof=1))
    apart = np.stack([np.full_like(values[0], 0.3), np.full_like(values[0], 0.1)])
    scores, influences = equally_weighted(apart)
    sums = difference_products(influence_products(influences), ONE, OTHER)
    assert np.isnan(effect_sizes(scores[0] - scores[1], sums)[0])  # they don't scatter at all


@pytest.mark.parametrize("items", [6, 12])
def test_sign_flips_of_few_units_are_scipys_exact_permutation_test(items: int) -> None:
    values = two_methods(items)[:, 0]
    exact = stats.permutation_test(
        tuple(values),
        lambda first, second, axis: np.mean(first - second, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert sign_flip_p_values(values / items, ONE, OTHER)[0] == pytest.approx(exact.pvalue)


@pytest.mark.parametrize("items", [4, 8, 12, 200])
def test_sign_flips_see_a_difference_far_smaller_than_the_items_scatter(items: int) -> None:
    rng = np.random.default_rng(items)
    shared, own = rng.normal(3.0, 1.0, items), rng.normal(1e-5, 3e-6, items)
    apart = sign_flip_p_values(np.stack([shared + own, shared]), ONE, OTHER)
    assert apart == pytest.approx(sign_flip_p_values(np.stack([own, 0 * own]), ONE, OTHER))
    assert apart[0] >= smallest_p_value(items)


def test_sign_flips_of_many_units_are_scipys_with_draws() -> None:
    values = two_methods(80)[:, 0]
    drawn = stats.permutation_test(
        tuple(values),
        lambda first, second, axis: np.mean(first - second, axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    error = np.sqrt(drawn.pvalue / 5000)
    assert sign_flip_p_values(values / 80, ONE, OTHER)[0] == pytest.approx(
        drawn.pvalue, abs=4 * error
    )


def test_sign_flips_of_ranks_are_wilcoxons_test() -> None:
    difference = two_methods(11)[0, 0] - two_methods(11)[1, 0]
    ranks = np.sign(difference) * stats.rankdata(np.abs(difference))
    p_value = sign_flip_p_values(np.stack([ranks, np.zeros(11)]), ONE, OTHER)[0]
    assert p_value == pytest.approx(stats.wilcoxon(difference, method="exact").pvalue)


def test_a_p_value_beyond_the_draws_is_a_bound_that_no_exact_one_exceeds() -> None:
    units = np.stack([np.full(30, 1.0), np.zeros(30)])
    p_value = sign_flip_p_values(units, ONE, OTHER)[0]
    assert smallest_p_value(30) <= p_value <= 1e-6  # exactly 2 / 2^30; z is the square root of 30
    thousands = np.stack([np.full(2000, 1.0), np.zeros(2000)])
    assert 0 < sign_flip_p_values(thousands, ONE, OTHER)[0] < 1e-300
    assert smallest_p_value(2) == 0.5
    assert smallest_p_value(5) == 0.0625


def test_holm_is_the_closed_bonferroni_test() -> None:
    p_values = np.array([0.04, 0.001, 0.9, 0.012, 0.03])
    closed = [
        max(
            min(1.0, len(family) * p_values[list(family)].min())
            for size in range(1, 6)
            for family in combinations(range(5), size)
            if place in family
        )
        for place in range(5)
    ]
    assert holm(p_values) == pytest.approx(closed)


def test_two_things_share_a_letter_exactly_where_they_are_not_apart() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        count = int(rng.integers(2, 10))
        pairs = list(combinations(range(count), 2))
        apart = {pair for pair in pairs if rng.random() < 0.4}
        shown = compact_letters(count, apart)
        for first, second in pairs:
            assert bool(set(shown[first]) & set(shown[second])) == ((first, second) not in apart)


def test_letters_begin_with_the_best_and_none_says_what_another_does() -> None:
    assert compact_letters(4, [(0, 3), (1, 3)]) == ["a", "a", "ab", "b"]  # Piepho's own pattern
    assert compact_letters(3, []) == ["a", "a", "a"]
    assert compact_letters(3, [(0, 1), (0, 2), (1, 2)]) == ["a", "b", "c"]
    assert compact_letters(0, []) == []


def test_a_difference_that_can_be_resolved_is_found_in_four_of_five_experiments() -> None:
    rng = np.random.default_rng(0)
    for count in (3, 20):
        true = min_detectable_difference(1 / np.sqrt(count), count - 1, 0.05)
        samples = rng.normal(true, 1, (20_000, count))
        power = (stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05).mean()
        assert power == pytest.approx(0.8, abs=4 * np.sqrt(0.8 * 0.2 / 20_000))


def test_after_correction_only_larger_differences_are_resolved() -> None:
    alone, together = (
        min_detectable_difference(0.1, 1.0, 0.05),
        min_detectable_difference(0.1, 1.0, 0.05 / 5000),
    )
    assert alone < together < np.inf
    assert min_detectable_difference(0.1, 1e6, 0.05) == pytest.approx(
        0.1 * (1.959964 + 0.841621), rel=1e-4
    )


def test_a_ratio_lies_in_fiellers_interval_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covariance = np.array([[0.04, 0.03], [0.03, 0.09]])
    held = [
        interval.low <= 0.4 <= interval.high
        for top, bottom in rng.multivariate_normal([0.8, 2.0], covariance, 4000)
        if (interval := fieller(top, bottom, covariance, 1.959964))
    ]
    print(f"Fieller's interval held the ratio in {np.mean(held):.3f} of {len(held)}")
    assert len(held) > 3990
    assert np.mean(held) == pytest.approx(0.95, abs=SURE * np.sqrt(0.05 * 0.95 / len(held)))


def test_a_ratio_to_what_may_be_zero_is_not_defined() -> None:
    assert fieller(1.0, 0.5, np.diag([0.01, 0.09]), 1.96) is None  # 0.5 is within 1.96 · 0.3
    assert fieller(1.0, 0.6, np.diag([0.01, 0.09]), 1.96) is not None

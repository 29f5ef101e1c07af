"""What a report claims of methods: differences, intervals and letters from their items."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from comparing import MEANS, PAIR, RECIPES, compared, letters_of, only, rows_of
from made_up import ITEMS, Cell, drawn, made
from scipy import stats

from pipeline.methods.catalogue import METHODS
from pipeline.reporting.analysis.differences import differences_of
from pipeline.reporting.analysis.gap_closed import baseline_of
from pipeline.reporting.analysis.limits import limits_of_seeds
from pipeline.reporting.analysis.outcome import outcome
from pipeline.reporting.analysis.scores import Pair, assemble
from pipeline.reporting.analysis.verdict import verdicts
from pipeline.reporting.render.table import MISSING
from pipeline.reporting.sections.contents import comparison_tables
from pipeline.reporting.sections.score_tables import main_table
from pipeline.statistics.tests import holm


def test_every_two_methods_are_compared_and_all_of_a_measure_are_one_family() -> None:
    values = {**drawn(MEANS, 3), **drawn(MEANS, 3, teacher="small")}
    results, comparisons = compared(made(values))
    differences = [pair for pairs in comparisons.differences.values() for pair in pairs]
    assert len(differences) == 2 * 6
    expected = holm(np.array([pair.p_value for pair in differences]))
    assert [pair.adjusted_p_value for pair in differences] == pytest.approx(expected.tolist())
    for pair in differences:
        means = [results.means[row, pair.measure].value for row in (pair.first, pair.second)]
        assert pair.value == pytest.approx(means[0] - means[1])
        assert pair.interval.low < pair.value < pair.interval.high
        assert pair.seed_count == 3


def test_methods_that_differ_have_letters_of_their_own_and_the_best_has_a() -> None:
    _, comparisons = compared(made(drawn(MEANS, 3)))
    assert letters_of(comparisons) == {"akl": "a", "jsd": "b", "gkd": "b", "plain": "c"}
    _, turned = compared(made(drawn(MEANS, 3), metric="nll_nats"))
    assert letters_of(turned) == {"akl": "c", "jsd": "b", "gkd": "b", "plain": "a"}


def test_two_methods_are_told_apart_by_the_paired_t_test_where_seeds_alone_vary() -> None:
    by_seed = {"jsd": [0.31, 0.52, 0.43], "gkd": [0.28, 0.55, 0.31]}
    values = {
        Cell(method, seed): np.full(ITEMS, value)
        for method, scores in by_seed.items()
        for seed, value in enumerate(scores, start=1)
    }
    _, comparisons = compared(made(values))
    (difference,) = only(comparisons).values()
    expected = stats.ttest_rel(by_seed["jsd"], by_seed["gkd"])
    assert difference.p_value == pytest.approx(expected.pvalue, rel=1e-5)
    assert difference.interval.high == pytest.approx(expected.confidence_interval().high, rel=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_interval_contradicts_the_verdict_beside_it(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(5):
        means = dict(zip(MEANS, rng.normal(0, 0.15, 4), strict=True))
        for difference in only(compared(made(drawn(means, count)))[1]).values():
            interval = difference.interval
            assert (interval.low > 0 or interval.high < 0) == difference.significantly_different


def twins_of(values: dict[Cell, np.ndarray], method: str) -> dict[Cell, np.ndarray]:
    """The same trainings under another name, with what a cache of all tokens rounds off."""
    rng = np.random.default_rng(1)
    return {
        replace(cell, method="twin"): value + 1e-5 * rng.normal(size=len(value))
        for cell, value in values.items()
        if cell.method == method
    }


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_method_under_two_names_changes_no_letter_and_no_p_value(count: int) -> None:
    values = drawn(MEANS, count)
    alone = compared(made(values))[1]
    beside = compared(made({**values, **twins_of(values, "jsd")}))[1]
    before, after = letters_of(alone), letters_of(beside)
    assert before == {name: letters for name, letters in after.items() if name != "twin"}
    assert after["twin"] == after["jsd"]
    for names, difference in only(alone).items():
        same = only(beside)[names]
        assert same.adjusted_p_value == pytest.approx(difference.adjusted_p_value, rel=0.01)
        assert same.interval.low == pytest.approx(difference.interval.low, rel=0.01)
    (place,) = alone.detectable
    assert beside.detectable[place].after_holm == pytest.approx(
        alone.detectable[place].after_holm, rel=0.01
    )


def test_copies_are_called_so_and_their_interval_is_as_narrow_as_they_are_near() -> None:
    values = drawn(MEANS, 3)
    _, comparisons = compared(made({**values, **twins_of(values, "jsd")}))
    difference = only(comparisons)["jsd", "twin"]
    assert difference.is_copy
    assert difference.adjusted_p_value is None
    assert difference.interval.half_width < 5e-5
    assert rows_of(comparisons)["jsd", "twin"][-1] == "copies"
    assert not any("one training seed in common" in limit for limit in limits_of_seeds(comparisons))
    same = {cell: value for cell, value in values.items() if cell.method == "jsd"}
    again = {replace(cell, method="twin"): scores for cell, scores in same.items()}
    _, of_equals = compared(made({**same, **again}))
    (equal,) = only(of_equals).values()
    assert (equal.interval.low, equal.interval.high) == (0.0, 0.0)
    (finding,) = of_equals.findings
    assert finding.text.startswith("All methods score the same, ")
    (best,) = outcome(of_equals, {})["pairs"][0]["best"]
    assert best is not None
    assert best["tied"] == 1


def test_items_that_differ_by_luck_in_the_few_that_differ_tell_nothing_apart() -> None:
    right = np.repeat([1.0, 0.0], ITEMS // 2)
    better = np.where(np.arange(ITEMS) < 55, right, 1.0)  # in 5 of 60, all to the same side
    values = {Cell("jsd", 1): right, Cell("gkd", 1): better}
    difference = only(compared(made(values, metric="acc"))[1])["jsd", "gkd"]
    # of the sign test; Student's t would say 0.025
    assert difference.p_value == pytest.approx(2 / 2**5, abs=0.01)
    assert difference.interval.low <= 0 <= difference.interval.high


def test_nothing_is_said_of_values_beyond_the_scale() -> None:
    shares = {"jsd": (0.90, 1.00), "gkd": (1.00, 0.85)}
    values = {
        Cell(method, seed): (np.arange(ITEMS) < share * ITEMS).astype(float)
        for method, by_seed in shares.items()
        for seed, share in enumerate(by_seed, start=1)
    }
    _, comparisons = compared(made(values, metric="acc"))
    for interval in comparisons.intervals.values():
        assert 0 <= interval.low < interval.high == 1
    (difference,) = only(comparisons).values()
    assert -1 <= difference.interval.low < difference.interval.high <= 1
    shown = main_table(comparisons).groups[0].rows[0][2]
    assert shown.text.endswith(" to 1.000)")
    assert not shown.spread
    (resolution,) = comparisons.detectable.values()
    assert resolution.after_holm > 1
    assert "no difference within its scale" in comparisons.findings[0].text


def test_drawn_responses_to_one_prompt_are_one_item() -> None:
    rng = np.random.default_rng(0)
    responses = {
        Cell("jsd", 1): rng.normal(0.1, 1, (ITEMS, 5)),
        Cell("gkd", 1): rng.normal(0, 1, (ITEMS, 5)),
    }
    of_responses = only(compared(made(responses))[1])["jsd", "gkd"]
    means = {cell: values.mean(axis=1) for cell, values in responses.items()}
    of_means = only(compared(made(means))[1])["jsd", "gkd"]
    assert of_responses.value == pytest.approx(of_means.value)
    assert of_responses.interval.low == pytest.approx(of_means.interval.low)
    assert of_responses.p_value == pytest.approx(of_means.p_value)


def test_many_items_are_no_substitute_for_training_seeds() -> None:
    moved = {"jsd": (0.0, 0.6), "gkd": (0.9, 0.4)}  # by seed: one is ahead in each
    values = {
        cell: scores + moved[cell.method][cell.seed - 1]
        for cell, scores in drawn({"jsd": 0.0, "gkd": 0.0}, 2, spread=0.0, items=600).items()
    }
    difference = only(compared(made(values))[1])["jsd", "gkd"]
    assert difference.checkpoint_p_value < 1e-4  # these four checkpoints do differ
    assert difference.p_value > 0.05  # but the next four may not
    assert not difference.significantly_different


def test_with_one_seed_all_is_said_of_the_checkpoints() -> None:
    _, comparisons = compared(made(drawn(MEANS, 1)))
    for difference in only(comparisons).values():
        assert difference.p_value >= difference.checkpoint_p_value
        assert difference.seed_count == 1
    (finding,) = comparisons.findings
    assert finding.text.startswith("Of these checkpoints (one training seed): akl has the best")
    assert comparisons.detectable[PAIR, finding.measure].seed_count == 1


def test_one_seed_beside_more_is_not_tested_and_shares_a_letter() -> None:
    values = drawn(MEANS, 3)
    kept = {cell: value for cell, value in values.items() if cell.method != "akl" or cell.seed == 1}
    _, comparisons = compared(made(kept))
    untested = [
        difference
        for difference in only(comparisons).values()
        if difference.adjusted_p_value is None
    ]
    assert {difference.second.method for difference in untested} == {"akl"}
    assert {difference.seed_count for difference in untested} == {1}
    for names, (holm_p, _, better) in rows_of(comparisons).items():
        assert (better == "not tested") == (holm_p == MISSING) == ("akl" in names)
    shown = letters_of(comparisons)
    assert all(set(shown["akl"]) & set(letters) for letters in shown.values())


def test_methods_without_a_seed_in_common_are_not_compared() -> None:
    values = {**drawn({"jsd": 0.0}, 1), Cell("gkd", 2): np.arange(ITEMS, dtype=float)}
    _, comparisons = compared(made(values))
    assert not comparisons.differences
    (finding,) = comparisons.findings
    assert "no two methods could be compared" in finding.text
    jsd = drawn({"jsd": 0.0}, 1)
    beside_a_copy = {replace(cell, method="twin"): scores for cell, scores in jsd.items()}
    _, comparisons = compared(made({**values, **beside_a_copy}))
    (finding,) = comparisons.findings
    assert "no two methods that differ could be compared" in finding.text


def test_a_single_item_is_compared_with_nothing() -> None:
    _, comparisons = compared(made(drawn(MEANS, 3, items=1)))
    assert not comparisons.differences
    assert not comparisons.intervals


def test_parts_of_a_task_have_intervals_and_no_letters() -> None:
    results, comparisons = compared(made(drawn(MEANS, 3), part="hard"))
    assert len(results.slice_measures) == 1
    assert {measure for _, measure in comparisons.intervals} == set(results.slice_measures)
    assert not comparisons.letters


def test_pairs_whose_items_differ_are_compared_each_on_its_own() -> None:
    values = drawn(MEANS, 3)
    fewer = {replace(cell, teacher="small"): scores[1:] for cell, scores in values.items()}
    alone, together = (assemble(made(cells, part="hard")) for cells in (fewer, {**values, **fewer}))
    (measure,) = together.slice_measures
    expected = differences_of(alone, measure)[Pair("small", "student")]
    differences = differences_of(together, measure)
    assert {of_pair[0].item_count for of_pair in differences.values()} == {ITEMS, ITEMS - 1}
    for difference, as_if_alone in zip(
        differences[Pair("small", "student")], expected, strict=True
    ):
        assert difference.p_value == as_if_alone.p_value
        assert difference.checkpoint_p_value == as_if_alone.checkpoint_p_value


def test_an_interval_of_a_mean_over_items_alone_is_students() -> None:
    values = drawn({"jsd": 0.0}, 1)
    _, comparisons = compared(made(values))
    (interval,) = comparisons.intervals.values()
    sample = next(iter(values.values()))
    expected = stats.ttest_1samp(sample, 0).confidence_interval()
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_the_same_items_give_the_same_comparisons() -> None:
    inputs = made(drawn(MEANS, 2))
    assert compared(inputs)[1] == compared(inputs)[1]


def test_plain_fine_tuning_is_known_by_its_recipe_and_not_by_its_name() -> None:
    assert baseline_of(RECIPES) == "plain"
    assert baseline_of({"sft": METHODS["seqkd"], "x": METHODS["gkd"]}) == ""
    assert baseline_of({"sft": METHODS["jsd"], "second": METHODS["sft"]}) == "second"


def test_more_items_or_more_seeds_resolve_smaller_differences() -> None:
    few = compared(made(drawn(MEANS, 2)))[1]
    more = compared(made(drawn(MEANS, 5)))[1]
    (place,) = few.detectable
    assert more.detectable[place].single_test < few.detectable[place].single_test
    assert few.detectable[place].after_holm > few.detectable[place].single_test


def test_an_interval_holds_its_mean_though_rounding_left_that_below_zero() -> None:
    values = drawn(MEANS, 3, spread=1e-9)
    tiny = {cell: 1e-8 * (of_cell - of_cell.mean() - 0.01) for cell, of_cell in values.items()}
    results, comparisons = compared(made(tiny, metric="kl_to_teacher_nats"))
    for (row, measure), interval in comparisons.intervals.items():
        mean = results.means[row, measure].value
        assert mean < 0
        assert interval.low == mean < interval.high


@pytest.mark.parametrize(("items", "single", "after_holm"), [(5, False, False), (8, True, False)])
def test_one_seed_and_few_items_detect_nothing(items: int, single: bool, after_holm: bool) -> None:
    """Sign flips give no less than 2 / 2⁵ = 0.0625 of five items, 2 / 2⁸ > 0.05 / 15 of eight."""
    means = {**MEANS, "seqkd": 0.0, "reverse_kl": 0.0}
    for metric in ("rouge_l", "nll_nats"):
        _, comparisons = compared(made(drawn(means, 1, items=items), metric=metric))
        (smallest,) = comparisons.detectable.values()
        assert math.isfinite(smallest.single_test) is single
        assert math.isfinite(smallest.after_holm) is after_holm
        (finding,), (verdict,) = comparisons.findings, verdicts(comparisons)
        assert "no difference within its scale" in finding.text
        assert re.search("no difference.*80 % power", verdict.text)
        table = comparison_tables(comparisons)["Smallest detectable differences"]
        assert table.groups[0].rows[0][-1].text == "none"
    _, more = compared(made(drawn(means, 2, items=items)))
    assert all(math.isfinite(each.after_holm) for each in more.detectable.values())

"""What the report claims of methods: from items to differences, letters, shares and words."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from made_up import ITEMS, Cell, drawn, made
from scipy import stats

from pipeline.methods import METHODS
from pipeline.reporting import formats
from pipeline.reporting.capacity import step_table, teacher_steps
from pipeline.reporting.compared import Comparisons, Difference
from pipeline.reporting.comparisons import compare, comparison_plots, comparison_tables
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.scores import Pair, Results, assemble
from pipeline.reporting.shares_closed import baseline_of
from pipeline.reporting.summary import agreements, limits
from pipeline.settings.report import ReportSettings
from pipeline.statistics.multiplicity import holm

SIZES = {"small": 1000, "large": 5000, "student": 100}
RECIPES = {"plain": METHODS["sft"], **dict.fromkeys(("jsd", "gkd", "akl"), METHODS["jsd"])}


SETTINGS = ReportSettings(experiment="made", data_id="d", methods=RECIPES)


def compared(inputs: Inputs) -> tuple[Results, Comparisons]:
    results = assemble(inputs, {})
    return results, compare(inputs, results, SETTINGS)


MEANS = {"plain": 0.0, "jsd": 1.0, "gkd": 1.0, "akl": 2.0}
PAIR = Pair("large", "student")


def only(comparisons: Comparisons) -> dict[tuple[str, str], Difference]:
    """The differences of the only pair and measure, by their methods."""
    (found,) = comparisons.differences.values()
    return {(one.one.method, one.other.method): one for one in found}


def letters_of(comparisons: Comparisons) -> dict[str, str]:
    return {row.method: letters for (row, _), letters in comparisons.letters.items()}


def test_every_two_methods_are_compared_and_all_of_a_measure_are_one_family() -> None:
    values = {**drawn(MEANS, 3), **drawn(MEANS, 3, teacher="small")}
    results, comparisons = compared(made(values))
    differences = [one for found in comparisons.differences.values() for one in found]
    assert len(differences) == 2 * 6
    expected = holm(np.array([one.p_value for one in differences]))
    assert [one.adjusted for one in differences] == pytest.approx(expected.tolist())
    for one in differences:
        means = [results.means[row, one.measure].value for row in (one.one, one.other)]
        assert one.value == pytest.approx(means[0] - means[1])
        assert one.interval.low < one.value < one.interval.high
        assert one.seeds == 3


def test_methods_that_differ_have_letters_of_their_own_and_the_best_has_a() -> None:
    _, comparisons = compared(made(drawn(MEANS, 3)))
    assert letters_of(comparisons) == {"akl": "a", "jsd": "b", "gkd": "b", "plain": "c"}
    _, turned = compared(made(drawn(MEANS, 3), metric="nll_nats"))
    assert letters_of(turned) == {"akl": "c", "jsd": "b", "gkd": "b", "plain": "a"}


def test_two_methods_are_told_apart_by_the_paired_t_test_where_seeds_alone_vary() -> None:
    by_seed = {"jsd": [0.31, 0.52, 0.43], "gkd": [0.28, 0.55, 0.31]}
    values = {
        Cell(method, seed): np.full(ITEMS, value)
        for method, found in by_seed.items()
        for seed, value in enumerate(found, start=1)
    }
    _, comparisons = compared(made(values))
    (one,) = only(comparisons).values()
    expected = stats.ttest_rel(by_seed["jsd"], by_seed["gkd"])
    assert one.p_value == pytest.approx(expected.pvalue, rel=1e-5)
    assert one.interval.high == pytest.approx(expected.confidence_interval().high, rel=1e-5)


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
        cell: one + moved[cell.method][cell.seed - 1]
        for cell, one in drawn({"jsd": 0.0, "gkd": 0.0}, 2, spread=0.0, items=600).items()
    }
    one = only(compared(made(values))[1])["jsd", "gkd"]
    assert one.of_checkpoints < 1e-4  # these four checkpoints do differ
    assert one.p_value > 0.05  # but the next four may not
    assert not one.apart


def test_with_one_seed_all_is_said_of_the_checkpoints() -> None:
    _, comparisons = compared(made(drawn(MEANS, 1)))
    for one in only(comparisons).values():
        assert one.p_value == one.of_checkpoints
        assert one.seeds == 1
    (finding,) = comparisons.findings
    assert finding.text.startswith("Of these checkpoints (one training seed): akl has the best")
    said = " ".join(limits(comparisons, {}))
    assert "can't be told from the difference between two trainings" in said
    assert comparisons.seeds_of(PAIR, finding.measure) == 1


def test_one_seed_beside_more_is_not_tested_and_shares_a_letter() -> None:
    values = drawn(MEANS, 3)
    kept = {cell: one for cell, one in values.items() if cell.method != "akl" or cell.seed == 1}
    _, comparisons = compared(made(kept))
    untested = [one for one in only(comparisons).values() if one.adjusted is None]
    assert {one.other.method for one in untested} == {"akl"}
    assert {one.seeds for one in untested} == {1}
    shown = letters_of(comparisons)
    assert all(set(shown["akl"]) & set(letters) for letters in shown.values())
    assert any("one training seed in common" in limit for limit in limits(comparisons, {}))


def test_methods_without_a_seed_in_common_are_not_compared() -> None:
    values = {**drawn({"jsd": 0.0}, 1), Cell("gkd", 2): np.arange(ITEMS, dtype=float)}
    _, comparisons = compared(made(values))
    assert not comparisons.differences
    (finding,) = comparisons.findings
    assert "no two methods could be compared" in finding.text


def test_a_single_item_is_compared_with_nothing() -> None:
    _, comparisons = compared(made(drawn(MEANS, 3, items=1)))
    assert not comparisons.differences
    assert not comparisons.intervals


def test_parts_of_a_task_have_intervals_and_no_letters() -> None:
    results, comparisons = compared(made(drawn(MEANS, 3), part="hard"))
    assert len(results.sliced) == 1
    assert {measure for _, measure in comparisons.intervals} == set(results.sliced)
    assert not comparisons.letters


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


def with_teacher(ahead: float) -> dict[Cell, np.ndarray]:
    values = drawn(MEANS, 3, spread=0.01)
    plain = np.mean([values[Cell("plain", seed)] for seed in (1, 2, 3)], axis=0)
    return {Cell("teacher", 0, kind="teacher"): plain + ahead, **values}


def test_a_method_half_way_to_the_teacher_has_closed_half_of_the_gap() -> None:
    results, comparisons = compared(made(with_teacher(4.0)))
    found = {one.row.method: one for one in comparisons.shares.closed}
    assert set(found) == {"jsd", "gkd", "akl"}
    half = found["akl"]
    means = {row.method: mean.value for (row, _), mean in results.means.items()}
    expected = (means["akl"] - means["plain"]) / (means["teacher"] - means["plain"])
    assert half.value == pytest.approx(expected)
    assert half.value == pytest.approx(0.5, abs=0.05)
    assert half.interval.low < half.value < half.interval.high < 0.6


@pytest.mark.parametrize("ahead", [0.0, -1.0])
def test_no_share_is_closed_of_a_gap_that_may_not_be_there(ahead: float) -> None:
    _, comparisons = compared(made(with_teacher(ahead)))
    assert not comparisons.shares.closed
    assert len(comparisons.shares.without_gap) == 1


def test_without_plain_fine_tuning_there_is_no_share() -> None:
    inputs = made(with_teacher(4.0))
    results = assemble(inputs, {})
    without = {**RECIPES, "plain": METHODS["seqkd"]}
    recipes = ReportSettings(experiment="made", data_id="d", methods=without)
    comparisons = compare(inputs, results, recipes)
    assert comparisons.shares.baseline == ""
    assert "gap_closed" not in {
        table.name for table in comparison_tables(comparisons, results, SIZES)
    }


def under_two_teachers(gained: float) -> dict[Cell, np.ndarray]:
    """JSD gains under the larger teacher; plain fine-tuning has no teacher."""
    return {
        **drawn({"jsd": 0.0, "gkd": 0.0}, 3, teacher="small"),
        **drawn({"jsd": gained, "gkd": 0.0}, 3, teacher="large"),
    }


def test_a_larger_teacher_that_makes_a_poorer_student_is_named() -> None:
    results = assemble(made(under_two_teachers(-1.0)), {})
    steps = {step.smaller.method: step for step in teacher_steps(results, SIZES)}
    assert steps["jsd"].value == pytest.approx(-1.0, abs=0.2)
    assert steps["jsd"].smaller.teacher == "small"
    assert steps["jsd"].poorer
    assert not steps["gkd"].apart
    lower_is_better = assemble(made(under_two_teachers(-1.0), metric="nll_nats"), {})
    assert not any(step.poorer for step in teacher_steps(lower_is_better, SIZES))


def test_teachers_are_not_compared_by_what_is_relative_to_them_or_needs_none() -> None:
    relative = assemble(made(under_two_teachers(-1.0), metric="kl_to_teacher_nats"), {})
    assert not teacher_steps(relative, SIZES)
    shared = made(under_two_teachers(-1.0))
    grid = shared.grid
    gkd = grid["method"] == "gkd"
    same = grid["eval_id"].where(~gkd, "large.gkd." + grid["seed"].astype(str))
    results = assemble(replace(shared, grid=grid.assign(eval_id=same)), {})
    assert {step.smaller.method for step in teacher_steps(results, SIZES)} == {"jsd"}
    assert not teacher_steps(results, {"small": 1000, "large": 1000})


def test_more_items_or_more_seeds_resolve_smaller_differences() -> None:
    few = compared(made(drawn(MEANS, 2)))[1]
    more = compared(made(drawn(MEANS, 5)))[1]
    (place,) = few.resolvable
    assert more.resolvable[place] < few.resolvable[place]
    assert few.resolutions[place].together > few.resolutions[place].alone


def test_no_finding_says_ahead_of_what_was_not_told_apart() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        means = dict(zip(MEANS, rng.normal(0, 0.3, 4), strict=True))
        results, comparisons = compared(made(drawn(means, 3)))
        (finding,) = comparisons.findings
        best = max(results.means.items(), key=lambda found: found[1].value)[0][0].method
        assert f"{best} has the best mean" in finding.text
        ahead, _, level = finding.text.partition("Not significant")
        for names, one in only(comparisons).items():
            if best not in names:
                continue
            other = names[0] if names[1] == best else names[1]
            size = f"{other} by {abs(one.value):.2f}"
            assert (size in level) == (not one.apart)
            if "every other" not in ahead:
                assert (size in ahead) == one.apart


def test_who_is_among_the_best_everywhere_is_who_is_nowhere_told_from_the_best() -> None:
    under_small = {"plain": 0.0, "jsd": 2.0, "gkd": 1.0, "akl": 2.0}
    values = {**drawn(MEANS, 3), **drawn(under_small, 3, teacher="small")}
    results, comparisons = compared(made(values))
    (agreement,) = agreements(results, comparisons)
    assert agreement.text == "akl"


def test_the_tables_have_every_difference_and_the_plots_what_there_is() -> None:
    values = {**under_two_teachers(-1.0), **with_teacher(4.0)}
    inputs = made(values)
    results = assemble(inputs, {})
    comparisons = replace(compare(inputs, results, SETTINGS), steps=teacher_steps(results, SIZES))
    tables = {table.name: table for table in comparison_tables(comparisons, results, SIZES)}
    assert set(tables) == {"differences", "resolvable", "gap_closed", "teacher_size"}
    said = tables["teacher_size"].caption
    assert said.startswith("Of 2 comparisons, the larger teacher gives the poorer student in 0, ")
    rows = [row for group in tables["differences"].groups for row in group.rows]
    assert len(rows) == len(list(combinations(MEANS, 2))) + 1  # four methods, and two
    numbers = formats.plain_csv(tables["differences"]).splitlines()
    assert len(numbers) == 1 + len(rows)
    assert len(numbers[0].split(",")) == len(set(numbers[0].split(",")))
    plots = {plot.name: plot for plot in comparison_plots(comparisons, results, SIZES)}
    assert set(plots) == {"gap_closed", "teacher_size"}
    for plot in plots.values():
        plot.figure.draw_without_rendering()


def test_one_method_is_compared_with_nothing() -> None:
    results, comparisons = compared(made(drawn({"jsd": 0.0}, 3)))
    (finding,) = comparisons.findings
    assert finding.text.startswith("Only jsd was trained")
    assert not comparison_tables(comparisons, results, SIZES)
    assert not comparison_plots(comparisons, results, SIZES)
    assert step_table(comparisons, results, SIZES) is None

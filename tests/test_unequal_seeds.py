"""Who is best where methods lack training seeds, as in a partial report."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import synthetic
from comparing import PAIR, SETTINGS, compared, letters_of
from made_up import Cell, drawn, made

from pipeline.artifacts.artifact import Job
from pipeline.reporting.analysis.comparisons import compare
from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.limits import limits_of_seeds
from pipeline.reporting.analysis.load import read_grid, read_inputs
from pipeline.reporting.analysis.outcome import outcome
from pipeline.reporting.analysis.ranking import mean_ranking
from pipeline.reporting.analysis.scores import Row, assemble
from pipeline.reporting.analysis.summary import scope
from pipeline.reporting.analysis.verdict import verdicts
from pipeline.reporting.costs.attribution import collect_costs
from pipeline.reporting.costs.equal_budget import nll_at_budgets
from pipeline.reporting.costs.quality_vs_cost import STEPS, CostComparison, QualityCurve
from pipeline.reporting.page import page
from pipeline.reporting.page.primary_table import primary_table
from pipeline.reporting.sections.score_tables import main_table
from pipeline.settings.report import ReportSettings
from pipeline.statistics.seed_means import balanced_means

MISSING = np.nan
SMALL = synthetic.Experiment(
    teachers=("large",), students=("small",), methods=("sft",), seeds=(1, 2, 3), items=6, steps=40
)


@pytest.fixture(scope="module")
def partial() -> Comparisons:
    """The best method lacks the seed that raises all others far above it."""
    values = drawn({"plain": 0.0, "gkd": 0.5, "jsd": 1.0}, 3)
    lucky = {cell: items + 6.0 * (cell.seed == 3) for cell, items in values.items()}
    del lucky[Cell("jsd", 3)]
    return compared(made(lucky))[1]


def test_seeds_that_all_rows_have_leave_their_means_alone() -> None:
    scores = np.random.default_rng(0).normal(size=(4, 3))
    assert balanced_means(scores) == pytest.approx(scores.mean(axis=1))


def test_a_row_without_a_seed_has_the_mean_that_it_would_have_with_it() -> None:
    methods, seeds = np.array([[1.0], [2.0], [4.0]]), np.array([[-0.7, 0.2, 0.5]])
    scores = methods + seeds
    scores[0, 2], scores[1, 0] = MISSING, MISSING
    assert balanced_means(scores) == pytest.approx([1.0, 2.0, 4.0])


def test_rows_with_equal_seeds_stay_as_far_apart_as_their_means() -> None:
    scores = np.random.default_rng(1).normal(size=(3, 3))
    scores[:2, 2] = MISSING
    means = balanced_means(scores)
    assert means[0] - means[1] == pytest.approx(scores[0, :2].mean() - scores[1, :2].mean())
    assert means[2] == pytest.approx(scores[2].mean())


def test_rows_without_a_seed_in_common_keep_their_own_means() -> None:
    scores = np.array([[1.0, 3.0, MISSING], [MISSING, MISSING, 7.0]])
    assert balanced_means(scores) == pytest.approx([2.0, 7.0])


def test_a_method_is_not_ahead_by_a_seed_that_its_rival_lacks(partial: Comparisons) -> None:
    assert letters_of(partial) == {"jsd": "a", "gkd": "b", "plain": "c"}
    (verdict,) = verdicts(partial)
    assert verdict.text.startswith("jsd is significantly better than all others. It is 0.9")
    (finding,) = partial.findings
    assert "It is ahead of every other method, of gkd by 0.43" in finding.text
    assert "unequal seeds" in finding.text
    (best,) = outcome(partial, {})["pairs"][0]["best"]
    assert best
    assert (best["method"], best["tied"], best["is_best"]) == ("jsd", 0, True)


def test_tables_mark_the_best_as_the_tests_do_and_say_why(partial: Comparisons) -> None:
    table = main_table(partial)
    bold = [row[0].text for row in table.groups[0].rows if row[2].best]
    assert bold == ["jsd"]
    assert table.data.loc[table.data["is_best"], "method"].tolist() == ["jsd"]
    assert "unequal seeds" in table.caption
    first = primary_table(SETTINGS, partial, {})
    assert [row.name for row in first.methods] == ["jsd", "gkd", "plain"]
    assert [first.columns[0].cell(row.name).best for row in first.methods] == [True, False, False]
    assert "unequal seeds" in first.caption


def test_the_seeds_of_a_partial_report_are_those_of_all_methods(partial: Comparisons) -> None:
    assert ", 3 seeds: 8 trained students" in scope(partial.results)
    few, unequal = limits_of_seeds(partial)
    assert few.startswith("2 training seeds")  # that some pairs share
    assert "below 0.5." in few
    assert unequal.startswith("Methods have unequal training seeds")


def test_mean_ranks_are_over_the_same_seeds() -> None:
    both = {
        cell: items + 6.0 * (cell.seed == 3)
        for teacher in ("large", "small")
        for cell, items in drawn({"plain": 0.0, "jsd": 1.0}, 3, teacher=teacher).items()
        if (cell.method, cell.seed) != ("jsd", 3)
    }
    ranks = mean_ranking(compared(made(both))[1])
    assert ranks is not None
    assert (ranks.methods, ranks.ranks.tolist()) == (("jsd", "plain"), [1.0, 2.0])


def test_at_equal_budgets_the_lead_is_that_of_the_method_that_is_called_lowest() -> None:
    steps = np.array([0.0, 10.0])
    rows = [Row("method", "large", "student", name) for name in ("plain", "jsd")]
    level = {1: 0.0, 2: 0.1, 3: -3.0}
    curves = {
        row: {
            seed: QualityCurve(steps, np.array([5.0, 4.0 - lead + noise + level[seed]]))
            for seed, noise in zip(seeds, (0.001, -0.001, 0.0), strict=False)
        }
        for row, lead, seeds in zip(rows, (0.0, 0.5), ((1, 2, 3), (1, 2)), strict=True)
    }
    table = nll_at_budgets(CostComparison(PAIR, "own", STEPS, curves), np.array([10.0]), ["end"])
    lowest = table[table["is_lowest"]]
    assert lowest["method"].tolist() == ["jsd"]
    assert lowest["lead"].tolist() == pytest.approx([0.5])


def test_a_score_stands_under_its_own_seed_where_another_seed_has_none(tmp_path: Path) -> None:
    """As for the share of distinct words of a model that wrote nothing."""
    inputs = read_inputs(tmp_path, read_grid(synthetic.write(tmp_path, SMALL)), "docs-00000001")
    sums = inputs.item_sums
    is_left_out = (sums["metric"] == "rouge_l") & sums["eval_id"].str.startswith("sft.small.s2")
    inputs = replace(inputs, item_sums=sums[~is_left_out])
    settings = ReportSettings.model_validate(synthetic.settings(SMALL))
    results = assemble(inputs)
    job, costs = Job("r", "c", {}, {}), collect_costs(inputs, results)
    html = page.render(job, settings, compare(results, settings), costs, {}, [])
    (measure,) = (each for each in results.measures if each.metric.name == "rouge_l")
    first, third = map(measure.format, results.means[results.trained[0], measure].seed_values)
    cell = html[html.index('id="cell/method/large/small/sft"') :]
    row = re.search(r"<tr>(?=<th scope=\"row\">ROUGE-L).*?</tr>", cell)
    assert row
    texts = re.findall(r"<td[^>]*>(.*?)</td>", row[0])
    assert texts[-5:-1] == [first, "", third, str(SMALL.items)]

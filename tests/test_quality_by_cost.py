"""Scores against costs: which method leads at which budget, in tables and figures."""

from dataclasses import replace

import numpy as np
import pytest
from costing import TRAINED, collect, comparisons_of, with_costs, written

from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.costs.attribution import (
    ACCOUNTS,
    IN_FULL,
    OWN,
    CostData,
)
from pipeline.reporting.costs.crossovers import crossover_table
from pipeline.reporting.costs.equal_budget import equal_cost_table, equal_steps_table
from pipeline.reporting.costs.quality_vs_cost import (
    FLOPS,
    SECONDS,
    Unit,
    cost_comparisons,
)
from pipeline.reporting.costs.tables import cost_table
from pipeline.reporting.plots.costs import cost_choices, nll_by_cost, quality_by_cost


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    return written(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def data(inputs: ReportInputs) -> CostData:
    return collect(inputs)


def test_figures_in_full_say_that_trials_are_paid_for(data: CostData) -> None:
    tuned = replace(data, trials=frozenset(["students/a_trial-12345678"]))
    comparisons = comparisons_of(data)
    for costs, is_said in ((data, False), (tuned, True)):
        plots = quality_by_cost(costs, comparisons), nll_by_cost(costs, data.results, IN_FULL)
        for plot in plots:
            assert plot
            assert ("trials" in plot.caption) is is_said


def test_in_full_a_curve_begins_where_its_needs_are_paid(data: CostData) -> None:
    own, whole = (
        next(
            comparison
            for comparison in cost_comparisons(data, SECONDS)
            if comparison.account == account
        )
        for account in (OWN, IN_FULL)
    )
    row = next(row for row in own.curves if row.method == "forward_kl")
    needs = data.costs.loc[(IN_FULL, TRAINED), "seconds"]
    before = needs - data.jobs.loc[TRAINED, "seconds"]
    shifted = own.curves[row][1].costs + before
    assert whole.curves[row][1].costs == pytest.approx(shifted)
    assert whole.curves[row][1].costs[-1] == pytest.approx(needs)


def test_equal_cost_tables_tell_who_is_ahead_at_each_budget(data: CostData) -> None:
    table = equal_cost_table(data, FLOPS)
    assert table is not None
    for group, comparison in zip(table.groups, cost_comparisons(data, FLOPS), strict=True):
        budgets, leaders, _ = group.references
        for place in range(1, len(budgets)):
            budget = np.array([budgets[place].value])
            means = {row.method: comparison.at(row, budget).mean() for row in comparison.curves}
            known = {label: mean for label, mean in means.items() if not np.isnan(mean)}
            assert leaders[place].text == min(known, key=lambda label: known[label])
            shown = {row[0].text: row[place].value for row in group.rows}
            for label, mean in means.items():
                assert shown[label] == (None if np.isnan(mean) else pytest.approx(mean))
        ends = sorted(comparison.final_costs())
        assert budgets[1].value == pytest.approx(ends[0])
        assert budgets[-1].value == pytest.approx(ends[-1])


@pytest.mark.parametrize("unit", [SECONDS, FLOPS])
def test_at_the_last_budget_every_seed_of_every_method_has_finished(
    data: CostData, unit: Unit
) -> None:
    of_cost, of_steps = equal_cost_table(data, unit), equal_steps_table(data)
    assert of_cost is not None
    assert of_steps is not None
    cell, numbers = ["teacher", "student", "method"], ["value", "sd"]
    ends = of_cost.data.query("when == 'All finished'").set_index(cell)[numbers]
    steps = of_steps.data.query("when == '100 % of the steps'").set_index(cell)[numbers]
    assert len(ends) == len(ACCOUNTS) * len(steps)
    assert (ends == steps.reindex(ends.index)).all(axis=None)


def test_equal_steps_compare_at_shares_of_the_training(data: CostData) -> None:
    table = equal_steps_table(data)
    assert table is not None
    assert [cell.value for cell in table.groups[0].references[0][1:]] == [10, 20, 30, 40]


def test_the_page_draws_scores_at_the_costs_of_the_table(data: CostData) -> None:
    choices = cost_choices(data, comparisons_of(data))
    assert choices is not None
    labels = [method["label"] for method in choices["methods"]]
    columns = {
        (heading.title, heading.detail): i for i, heading in enumerate(cost_table(data).headings)
    }
    assert choices["units"] == ["seconds", "FLOPs"]
    for pair, group in zip(choices["pairs"], cost_table(data).groups, strict=True):
        for point, row in zip(pair["points"], group.rows, strict=True):
            assert labels[point["method"]] == row[0].text
            for account, flops in zip(ACCOUNTS, point["costs"][1], strict=True):
                assert flops == pytest.approx(row[columns["FLOPs", account]].value, rel=1e-4)
    first = choices["pairs"][0]["points"][1]
    row = data.results.methods[data.results.pairs[0]][1]
    mean = data.results.means[row, data.results.primary_measures[0]].value
    assert first["scores"][0][0] == pytest.approx(mean, rel=1e-4)


def test_in_full_a_pair_whose_curves_would_be_vertical_lines_is_left_out_and_counted(
    inputs: ReportInputs, data: CostData
) -> None:
    every = [nll_by_cost(data, data.results, account) for account in (OWN, IN_FULL)]
    assert all(plot and "vertical" not in plot.caption for plot in every)
    dear = {
        id: cost
        if not id.startswith("large-")  # the teacher
        else replace(cost, cost=replace(cost.cost, seconds=1e9, flops=1e30))
        for id, cost in inputs.costs.items()
    }
    beside = collect(replace(inputs, costs=dear))
    own = nll_by_cost(beside, beside.results)
    assert own is not None
    assert "the curves of 1 of 2 pairs would be vertical lines" in own.caption


def test_a_student_with_unknown_flops_is_compared_by_time_alone(inputs: ReportInputs) -> None:
    unknown = with_costs(inputs, flops=None)
    costs = {id: unknown[id] if "forward_kl" in id else job for id, job in inputs.costs.items()}
    data = collect(replace(inputs, costs=costs))
    for comparison in cost_comparisons(data, FLOPS):
        assert "forward_kl" not in {row.method for row in comparison.curves}
    table = equal_cost_table(data, SECONDS)
    assert table is not None
    assert "forward_kl" in {row[0].text for row in table.groups[0].rows}
    crossover_table(data)

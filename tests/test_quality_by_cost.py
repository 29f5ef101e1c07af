"""Scores against costs: which method leads at which budget, in tables and figures."""

from dataclasses import replace

import numpy as np
import pytest
from costing import TRAINED, collect, comparisons_of, with_costs

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


def test_figures_in_full_say_that_trials_are_paid_for(cost_data: CostData) -> None:
    tuned = replace(cost_data, trials=frozenset(["students/a_trial-12345678"]))
    comparisons = comparisons_of(cost_data)
    for costs, is_said in ((cost_data, False), (tuned, True)):
        plots = quality_by_cost(costs, comparisons), nll_by_cost(costs, cost_data.results, IN_FULL)
        for plot in plots:
            assert plot
            assert ("trials" in plot.caption) is is_said


def test_in_full_a_curve_begins_where_its_needs_are_paid(cost_data: CostData) -> None:
    own, whole = (
        next(
            comparison
            for comparison in cost_comparisons(cost_data, SECONDS)
            if comparison.account == account
        )
        for account in (OWN, IN_FULL)
    )
    row = next(row for row in own.curves if row.method == "forward_kl")
    needs = cost_data.costs.loc[(IN_FULL, TRAINED), "seconds"]
    before = needs - cost_data.jobs.loc[TRAINED, "seconds"]
    shifted = own.curves[row][1].costs + before
    assert whole.curves[row][1].costs == pytest.approx(shifted)
    assert whole.curves[row][1].costs[-1] == pytest.approx(needs)


def test_equal_cost_tables_tell_who_is_ahead_at_each_budget(cost_data: CostData) -> None:
    table = equal_cost_table(cost_data, FLOPS)
    assert table is not None
    for group, comparison in zip(table.groups, cost_comparisons(cost_data, FLOPS), strict=True):
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
    cost_data: CostData, unit: Unit
) -> None:
    of_cost, of_steps = equal_cost_table(cost_data, unit), equal_steps_table(cost_data)
    assert of_cost is not None
    assert of_steps is not None
    cell, numbers = ["teacher", "student", "method"], ["value", "sd"]
    ends = of_cost.data.query("when == 'All finished'").set_index(cell)[numbers]
    steps = of_steps.data.query("when == '100 % of the steps'").set_index(cell)[numbers]
    assert len(ends) == len(ACCOUNTS) * len(steps)
    assert (ends == steps.reindex(ends.index)).all(axis=None)


def test_equal_steps_compare_at_shares_of_the_training(cost_data: CostData) -> None:
    table = equal_steps_table(cost_data)
    assert table is not None
    assert [cell.value for cell in table.groups[0].references[0][1:]] == [10, 20, 30, 40]


def test_the_page_draws_scores_at_the_costs_of_the_table(cost_data: CostData) -> None:
    choices = cost_choices(cost_data, comparisons_of(cost_data))
    assert choices is not None
    labels = [method["label"] for method in choices["methods"]]
    columns = {
        (heading.title, heading.detail): i
        for i, heading in enumerate(cost_table(cost_data).headings)
    }
    assert choices["units"] == ["seconds", "FLOPs"]
    for pair, group in zip(choices["pairs"], cost_table(cost_data).groups, strict=True):
        for point, row in zip(pair["points"], group.rows, strict=True):
            assert labels[point["method"]] == row[0].text
            for account, flops in zip(ACCOUNTS, point["costs"][1], strict=True):
                assert flops == pytest.approx(row[columns["FLOPs", account]].value, rel=1e-4)
    first = choices["pairs"][0]["points"][1]
    row = cost_data.results.methods[cost_data.results.pairs[0]][1]
    mean = cost_data.results.means[row, cost_data.results.primary_measures[0]].value
    assert first["scores"][0][0] == pytest.approx(mean, rel=1e-4)


def test_in_full_a_pair_whose_curves_would_be_vertical_lines_is_left_out_and_counted(
    cost_inputs: ReportInputs, cost_data: CostData
) -> None:
    every = [nll_by_cost(cost_data, cost_data.results, account) for account in (OWN, IN_FULL)]
    assert all(plot and "vertical" not in plot.caption for plot in every)
    dear = {
        id: cost
        if not id.startswith("large-")  # the teacher
        else replace(cost, cost=replace(cost.cost, seconds=1e9, flops=1e30))
        for id, cost in cost_inputs.costs.items()
    }
    beside = collect(replace(cost_inputs, costs=dear))
    own = nll_by_cost(beside, beside.results)
    assert own is not None
    assert "the curves of 1 of 2 pairs would be vertical lines" in own.caption


def test_a_student_with_unknown_flops_is_compared_by_time_alone(cost_inputs: ReportInputs) -> None:
    unknown = with_costs(cost_inputs, flops=None)
    costs = {
        id: unknown[id] if "forward_kl" in id else job for id, job in cost_inputs.costs.items()
    }
    cost_data = collect(replace(cost_inputs, costs=costs))
    for comparison in cost_comparisons(cost_data, FLOPS):
        assert "forward_kl" not in {row.method for row in comparison.curves}
    table = equal_cost_table(cost_data, SECONDS)
    assert table is not None
    assert "forward_kl" in {row[0].text for row in table.groups[0].rows}
    crossover_table(cost_data)

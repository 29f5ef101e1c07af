"""How costs are attributed, which method leads at which budget, and where the order changes."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import synthetic

from pipeline.reporting.analysis.comparisons import compare
from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.load import ReportInputs, read_grid, read_inputs
from pipeline.reporting.analysis.scores import assemble
from pipeline.reporting.analysis.searches import Search
from pipeline.reporting.costs.attribution import (
    ACCOUNTS,
    AMORTISED,
    IN_FULL,
    MEMORY,
    OWN,
    SUMS,
    CostData,
    collect_costs,
    job_costs,
    total,
)
from pipeline.reporting.costs.crossovers import crossover_table
from pipeline.reporting.costs.equal_budget import equal_cost_table, equal_steps_table
from pipeline.reporting.costs.quality_vs_cost import (
    FLOPS,
    SECONDS,
    Unit,
    cost_comparisons,
)
from pipeline.reporting.costs.tables import cost_table, shared_cost_table
from pipeline.reporting.plots.costs import cost_choices, nll_by_cost, quality_by_cost
from pipeline.reporting.render import formats
from pipeline.reporting.render.table import MISSING
from pipeline.reporting.sections.contents import cost_section
from pipeline.reporting.sections.training import tuning_table
from pipeline.runtime.costs import JobCost
from pipeline.settings.report import ReportSettings
from pipeline.settings.tuning import Choice, TriedSetting

SMALL = synthetic.Experiment(
    students=("small",),
    methods=("sft", "forward_kl", "gkd", "seqkd"),
    cached=("forward_kl",),
    items=6,
    steps=40,
)
TRAINED = "students/large.forward_kl.small.s1-0a1b2c3d"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    folder = tmp_path_factory.mktemp("results")
    return read_inputs(folder, read_grid(synthetic.write(folder, SMALL)), "docs-00000001")


@pytest.fixture(scope="module")
def data(inputs: ReportInputs) -> CostData:
    return collect(inputs)


def collect(inputs: ReportInputs) -> CostData:
    return collect_costs(inputs, assemble(inputs, {}))


def close(costs: Mapping[str, float], expected: Mapping[str, float]) -> bool:
    return dict(costs) == pytest.approx(dict(expected), nan_ok=True)


def test_over_all_trainings_the_amortised_costs_are_each_job_once(data: CostData) -> None:
    assert close(total(data.costs.loc[AMORTISED]), total(data.jobs))
    stages = {path.partition("/")[0] for path in data.jobs.index}
    assert stages == {"students", "starts", "teachers", "caches", "texts"}


def test_in_full_a_training_pays_for_all_that_it_was_made_from(data: CostData) -> None:
    in_full = data.costs.loc[IN_FULL]
    start = "starts/small.start-55556666"
    needed = [TRAINED, "caches/large.cache-33334444", start, "teachers/large-11112222"]
    assert close(in_full.loc[TRAINED].to_dict(), total(data.jobs.loc[needed]))
    alone = "students/sft.small.s1-0a1b2c3d"
    assert close(in_full.loc[alone].to_dict(), total(data.jobs.loc[[alone, start]]))


def test_a_job_is_divided_among_the_trainings_that_use_it(data: CostData) -> None:
    users = data.jobs["trainings"]
    # of each of two teachers, three methods and two seeds; sft, once, needs none of them
    assert users["teachers/large-11112222"] == 6
    assert users["caches/large.cache-33334444"] == 2
    assert users["texts/middle.texts-44445555"] == 2
    assert users["starts/small.start-55556666"] == 2 * 6 + 2
    own = data.jobs["seconds"]
    seconds = (
        own[TRAINED]
        + own["caches/large.cache-33334444"] / 2
        + own["teachers/large-11112222"] / 6
        + own["starts/small.start-55556666"] / 14
    )
    assert data.costs.loc[(AMORTISED, TRAINED), "seconds"] == pytest.approx(seconds)


def test_a_training_pays_for_students_that_label_for_it(inputs: ReportInputs) -> None:
    first, last = "students/of_first-1", TRAINED
    made = {
        first: {"inputs": {"start": "starts/small.start-55556666"}},
        "texts/by_student-2": {"inputs": {"teacher": first}},
        last: {"inputs": {"start": "starts/small.start-55556666", "texts-0": "texts/by_student-2"}},
    }
    took = inputs.costs["sft.small.s1-0a1b2c3d"]
    data = collect(
        replace(
            inputs,
            manifests={**inputs.manifests, **made},
            costs={**inputs.costs, "of_first-1": took, "by_student-2": took},
        )
    )
    own = data.jobs["seconds"]
    expected = own[last] + 2 * took.cost.seconds + own["starts/small.start-55556666"]
    assert data.costs.loc[(IN_FULL, last), "seconds"] == pytest.approx(expected)
    assert data.jobs.loc[first, "trainings"] == 1
    assert close(total(data.costs.loc[AMORTISED]), total(data.jobs))


def test_without_the_manifest_of_a_part_only_the_own_cost_is_known(inputs: ReportInputs) -> None:
    manifests = {path: dict(manifest) for path, manifest in inputs.manifests.items()}
    manifests[TRAINED] = {"inputs": {"start": "starts/small.start-55556666", "teacher": "lost-1"}}
    data = collect(replace(inputs, manifests=manifests))
    assert data.costs.loc[(IN_FULL, TRAINED)].isna().all()
    table = cost_table(data)
    row = next(
        row
        for group in table.groups
        for row in group.rows
        if group.names[0] == "large" and row[0].text == "forward_kl"
    )
    shown = dict(zip((heading.detail for heading in table.headings), row, strict=True))
    assert shown["in full, s"].text == MISSING
    assert shown["amortised, s"].text == MISSING
    assert shown["own, s"].text != MISSING


def test_the_cost_table_has_the_means_over_seeds(data: CostData) -> None:
    table = cost_table(data)
    columns = {
        (heading.title, heading.detail): index for index, heading in enumerate(table.headings)
    }
    row = next(row for row in table.groups[0].rows if row[0].text == "forward_kl")
    paths = [TRAINED, TRAINED.replace("s1", "s2")]
    for account in ACCOUNTS:
        expected = data.costs.loc[account].loc[paths, "flops"].mean()
        assert row[columns["FLOPs", account]].value == pytest.approx(expected)
    assert ("Energy", "own, J") not in columns  # nothing measured it


def with_costs(inputs: ReportInputs, **values: float | None) -> dict[str, JobCost]:
    return {id: replace(job, cost=replace(job.cost, **values)) for id, job in inputs.costs.items()}


def test_energy_has_columns_where_it_was_measured(inputs: ReportInputs) -> None:
    table = cost_table(collect(replace(inputs, costs=with_costs(inputs, energy_joules=7.0))))
    index = [(heading.title, heading.detail) for heading in table.headings].index(
        ("Energy", "in full, J")
    )
    row = next(row for row in table.groups[0].rows if row[0].text == "forward_kl")
    assert row[index].value == 4 * 7.0  # training, start, teacher, cache


def test_the_shared_table_adds_up_to_the_grid_with_evaluations_apart(data: CostData) -> None:
    table = shared_cost_table(data)
    trained, evaluated, everything = table.groups
    index = [heading.title for heading in table.headings].index("Time")
    students = data.jobs["seconds"].filter(like="students").sum()
    rows = (*trained.rows, *evaluated.rows)
    shared = sum(row[index].value for row in rows if isinstance(row[index].value, float))
    assert everything.rows[0][index].value == pytest.approx(students + shared)
    # 2 teachers, 2 untrained, 2 started, and 14 trained checkpoints of 21 seconds each
    assert sum(row[index].value for row in evaluated.rows) == pytest.approx(
        21.0 * len(set(data.inputs.grid["eval_id"]))
    )


def test_an_evaluation_of_a_model_that_is_teacher_and_student_is_paid_once(
    inputs: ReportInputs,
) -> None:
    def whole(grid: pd.DataFrame) -> tuple[float, list[str]]:
        table = shared_cost_table(collect(replace(inputs, grid=grid)))
        assert table
        groups = {group.names[0]: group.rows for group in table.groups}
        (seconds,) = (cell.value for cell in groups["The grid"][0][2:3])
        assert isinstance(seconds, float)
        return seconds, [row[0].text for row in groups["Evaluations"]]

    grid = inputs.grid
    before = grid["kind"].isin(["untrained"])
    of_teacher = grid.loc[grid["kind"] == "teacher", "eval_id"].iloc[0]
    same = grid.assign(eval_id=grid["eval_id"].mask(before, of_teacher))
    (seconds, names), (fewer, of_same) = whole(grid), whole(same)
    untrained = grid.loc[before, "eval_id"].unique()
    gone = sum(inputs.costs[id].cost.seconds for id in untrained)
    assert fewer == pytest.approx(seconds - gone)
    assert "evaluations of kind untrained (1)" in names
    assert not any("untrained" in name for name in of_same)


def test_what_deleted_trials_cost_is_not_known(inputs: ReportInputs) -> None:
    results = assemble(inputs, {})
    tried = [TriedSetting(values={"learning_rate": 0.1}, scores={7: 1.0}, mean=1.0)]
    choice = Choice(choose_by="nll", tried=tried, chosen=0, settings={})
    for trials, hours in (((TRAINED,), True), ((TRAINED, "deleted-12345678"), False)):
        table = tuning_table(inputs, [Search(results.trained[0], choice, trials)], results)
        assert table
        texts = [cell.text for cell in table.groups[0].rows[0][-3:]]
        assert texts[0] == str(len(trials))
        assert (MISSING not in texts[1:]) is hours


def test_figures_in_full_say_that_trials_are_paid_for(data: CostData) -> None:
    tuned = replace(data, trials=frozenset(["students/a_trial-12345678"]))
    comparisons = compare(data.results, ReportSettings.model_validate(synthetic.settings(SMALL)))
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
    row = next(row for row in own.curves if row.label == "forward_kl")
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
            means = {row.label: comparison.at(row, budget).mean() for row in comparison.curves}
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


def comparisons_of(data: CostData) -> Comparisons:
    settings = ReportSettings.model_validate(synthetic.settings(SMALL))
    return compare(data.results, settings)


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


def test_every_table_and_plot_can_be_written(data: CostData) -> None:
    section = cost_section(comparisons_of(data), data)
    tables = [*section.tables, *section.folded.values()]
    names = [table.name for table in tables]
    assert names[:4] == ["cost", "cost_tokens", "cost_shared", "equal_steps"]
    assert set(names[4:]) <= {"equal_seconds", "equal_flops", "crossovers"}
    for table in tables:
        assert len(table.data)
        columns = len(table.group_headings) + len(table.headings)
        for line in formats.markdown(table).splitlines():
            assert not line.startswith("|") or line.count("|") == columns + 1
    plots = [plot.name for plot in section.plots]
    assert plots == ["quality_by_cost", "nll_by_cost", "nll_by_full_cost"]


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
        assert "forward_kl" not in {row.label for row in comparison.curves}
    table = equal_cost_table(data, SECONDS)
    assert table is not None
    assert "forward_kl" in {row[0].text for row in table.groups[0].rows}
    crossover_table(data)


def test_a_job_is_listed_with_its_whole_cost(inputs: ReportInputs) -> None:
    cost = inputs.costs["large-11112222"].cost
    (job,) = job_costs(inputs, ["teachers/large-11112222"]).to_dict("records")
    assert job == pytest.approx(
        {name: np.nan if getattr(cost, name) is None else getattr(cost, name) for name in job},
        nan_ok=True,
    )
    assert set(job) == {*SUMS, MEMORY}

"""How costs are attributed to trainings, and what the tables of costs show."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from costing import TRAINED, collect, with_costs

from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import assemble
from pipeline.reporting.analysis.searches import Search
from pipeline.reporting.costs.attribution import (
    ACCOUNTS,
    AMORTISED,
    IN_FULL,
    MEMORY,
    SUMS,
    CostData,
    job_costs,
    total,
)
from pipeline.reporting.costs.tables import cost_table, shared_cost_table
from pipeline.reporting.render.table import MISSING
from pipeline.reporting.sections.training import tuning_table
from pipeline.settings.tuning import Choice, TriedSetting


def close(costs: Mapping[str, float], expected: Mapping[str, float]) -> bool:
    return dict(costs) == pytest.approx(dict(expected), nan_ok=True)


def test_over_all_trainings_the_amortised_costs_are_each_job_once(cost_data: CostData) -> None:
    assert close(total(cost_data.costs.loc[AMORTISED]), total(cost_data.jobs))
    stages = {path.partition("/")[0] for path in cost_data.jobs.index}
    assert stages == {"students", "starts", "teachers", "caches", "texts"}


def test_in_full_a_training_pays_for_all_that_it_was_made_from(cost_data: CostData) -> None:
    in_full = cost_data.costs.loc[IN_FULL]
    start = "starts/small.start-55556666"
    needed = [TRAINED, "caches/large.cache-33334444", start, "teachers/large-11112222"]
    assert close(in_full.loc[TRAINED].to_dict(), total(cost_data.jobs.loc[needed]))
    alone = "students/sft.small.s1-0a1b2c3d"
    assert close(in_full.loc[alone].to_dict(), total(cost_data.jobs.loc[[alone, start]]))


def test_a_job_is_divided_among_the_trainings_that_use_it(cost_data: CostData) -> None:
    users = cost_data.jobs["trainings"]
    # of each of two teachers, three methods and two seeds; sft, once, needs none of them
    assert users["teachers/large-11112222"] == 6
    assert users["caches/large.cache-33334444"] == 2
    assert users["texts/middle.texts-44445555"] == 2
    assert users["starts/small.start-55556666"] == 2 * 6 + 2
    own = cost_data.jobs["seconds"]
    seconds = (
        own[TRAINED]
        + own["caches/large.cache-33334444"] / 2
        + own["teachers/large-11112222"] / 6
        + own["starts/small.start-55556666"] / 14
    )
    assert cost_data.costs.loc[(AMORTISED, TRAINED), "seconds"] == pytest.approx(seconds)


def test_a_training_pays_for_students_that_label_for_it(cost_inputs: ReportInputs) -> None:
    first, last = "students/of_first-1", TRAINED
    made = {
        first: {"inputs": {"start": "starts/small.start-55556666"}},
        "texts/by_student-2": {"inputs": {"teacher": first}},
        last: {"inputs": {"start": "starts/small.start-55556666", "texts-0": "texts/by_student-2"}},
    }
    took = cost_inputs.costs["sft.small.s1-0a1b2c3d"]
    cost_data = collect(
        replace(
            cost_inputs,
            manifests={**cost_inputs.manifests, **made},
            costs={**cost_inputs.costs, "of_first-1": took, "by_student-2": took},
        )
    )
    own = cost_data.jobs["seconds"]
    expected = own[last] + 2 * took.cost.seconds + own["starts/small.start-55556666"]
    assert cost_data.costs.loc[(IN_FULL, last), "seconds"] == pytest.approx(expected)
    assert cost_data.jobs.loc[first, "trainings"] == 1
    assert close(total(cost_data.costs.loc[AMORTISED]), total(cost_data.jobs))


def test_without_the_manifest_of_a_part_only_the_own_cost_is_known(
    cost_inputs: ReportInputs,
) -> None:
    manifests = {path: dict(manifest) for path, manifest in cost_inputs.manifests.items()}
    manifests[TRAINED] = {"inputs": {"start": "starts/small.start-55556666", "teacher": "lost-1"}}
    cost_data = collect(replace(cost_inputs, manifests=manifests))
    assert cost_data.costs.loc[(IN_FULL, TRAINED)].isna().all()
    table = cost_table(cost_data)
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


def test_the_cost_table_has_the_means_over_seeds(cost_data: CostData) -> None:
    table = cost_table(cost_data)
    columns = {
        (heading.title, heading.detail): index for index, heading in enumerate(table.headings)
    }
    row = next(row for row in table.groups[0].rows if row[0].text == "forward_kl")
    paths = [TRAINED, TRAINED.replace("s1", "s2")]
    for account in ACCOUNTS:
        expected = cost_data.costs.loc[account].loc[paths, "flops"].mean()
        assert row[columns["FLOPs", account]].value == pytest.approx(expected)
    assert ("Energy", "own, J") not in columns  # nothing measured it


def test_energy_has_columns_where_it_was_measured(cost_inputs: ReportInputs) -> None:
    table = cost_table(
        collect(replace(cost_inputs, costs=with_costs(cost_inputs, energy_joules=7.0)))
    )
    index = [(heading.title, heading.detail) for heading in table.headings].index(
        ("Energy", "in full, J")
    )
    row = next(row for row in table.groups[0].rows if row[0].text == "forward_kl")
    assert row[index].value == 4 * 7.0  # training, start, teacher, cache


def test_the_shared_table_adds_up_to_the_grid_with_evaluations_apart(cost_data: CostData) -> None:
    table = shared_cost_table(cost_data)
    trained, evaluated, everything = table.groups
    index = [heading.title for heading in table.headings].index("Time")
    students = cost_data.jobs["seconds"].filter(like="students").sum()
    rows = (*trained.rows, *evaluated.rows)
    shared = sum(row[index].value for row in rows if isinstance(row[index].value, float))
    assert everything.rows[0][index].value == pytest.approx(students + shared)
    # 2 teachers, 2 untrained, 2 started, and 14 trained checkpoints of 21 seconds each
    assert sum(row[index].value for row in evaluated.rows) == pytest.approx(
        21.0 * len(set(cost_data.inputs.grid["eval_id"]))
    )


def test_an_evaluation_of_a_model_that_is_teacher_and_student_is_paid_once(
    cost_inputs: ReportInputs,
) -> None:
    def whole(grid: pd.DataFrame) -> tuple[float, list[str]]:
        table = shared_cost_table(collect(replace(cost_inputs, grid=grid)))
        assert table
        groups = {group.names[0]: group.rows for group in table.groups}
        (seconds,) = (cell.value for cell in groups["The grid"][0][2:3])
        assert isinstance(seconds, float)
        return seconds, [row[0].text for row in groups["Evaluations"]]

    grid = cost_inputs.grid
    before = grid["kind"].isin(["untrained"])
    of_teacher = grid.loc[grid["kind"] == "teacher", "eval_id"].iloc[0]
    same = grid.assign(eval_id=grid["eval_id"].mask(before, of_teacher))
    (seconds, names), (fewer, of_same) = whole(grid), whole(same)
    untrained = grid.loc[before, "eval_id"].unique()
    gone = sum(cost_inputs.costs[id].cost.seconds for id in untrained)
    assert fewer == pytest.approx(seconds - gone)
    assert "evaluations of kind untrained (1)" in names
    assert not any("untrained" in name for name in of_same)


def test_what_deleted_trials_cost_is_not_known(cost_inputs: ReportInputs) -> None:
    results = assemble(cost_inputs)
    tried = [TriedSetting(values={"learning_rate": 0.1}, scores={7: 1.0}, mean=1.0)]
    choice = Choice(choose_by="nll", tried=tried, chosen=0, settings={})
    for trials, hours in (((TRAINED,), True), ((TRAINED, "deleted-12345678"), False)):
        table = tuning_table(cost_inputs, [Search(results.trained[0], choice, trials)], results)
        assert table
        texts = [cell.text for cell in table.groups[0].rows[0][-3:]]
        assert texts[0] == str(len(trials))
        assert (MISSING not in texts[1:]) is hours


def test_a_job_is_listed_with_its_whole_cost(cost_inputs: ReportInputs) -> None:
    cost = cost_inputs.costs["large-11112222"].cost
    (job,) = job_costs(cost_inputs, ["teachers/large-11112222"]).to_dict("records")
    assert job == pytest.approx(
        {name: np.nan if getattr(cost, name) is None else getattr(cost, name) for name in job},
        nan_ok=True,
    )
    assert set(job) == {*SUMS, MEMORY}

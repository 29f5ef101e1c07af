"""The parts of the report: scores, marks, tables, plots, words."""

import math
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import synthetic
from pydantic import ValidationError

from pipeline.artifacts import artifact
from pipeline.reporting.analysis.comparisons import compare
from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.gap_closed import gaps_closed
from pipeline.reporting.analysis.load import ReportInputs, read_grid, read_inputs
from pipeline.reporting.analysis.metrics import metric_named
from pipeline.reporting.analysis.scores import Results, assemble, measures_of
from pipeline.reporting.costs.attribution import collect_costs
from pipeline.reporting.costs.tables import shared_cost_table
from pipeline.reporting.paper.tables import paper_tables
from pipeline.reporting.plots.differences import overview_plot
from pipeline.reporting.plots.scores import reference_marks
from pipeline.reporting.sections.score_tables import main_table
from pipeline.settings.report import ReportSettings
from pipeline.stages import report

SMALL = synthetic.Experiment(
    students=("small",), methods=("sft", "forward_kl", "jsd"), items=12, steps=40
)
DATA = "docs-00000001"
ITEM = "pandas.core.frame.f3"
ONE_SEED = replace(SMALL, teachers=("large",), seeds=(3,))


def read(results: Path, experiment: synthetic.Experiment) -> tuple[ReportInputs, Results]:
    inputs = read_inputs(results, read_grid(synthetic.write(results, experiment)), DATA)
    return inputs, assemble(inputs)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[ReportInputs, Results]:
    return read(tmp_path_factory.mktemp("small"), SMALL)


def compared(results: Results) -> Comparisons:
    return compare(results, ReportSettings(**synthetic.settings(SMALL)))


@pytest.mark.slow
def test_the_main_table_has_a_letter_for_what_was_compared_and_for_nothing_else(
    small: tuple[ReportInputs, Results],
) -> None:
    _, results = small
    comparisons = compared(results)
    table = main_table(comparisons)
    for pair, group in zip(results.pairs, table.groups, strict=True):
        for column, measure in enumerate(results.measures, start=2):
            shown = [row[column].letters for row in group.rows]
            assert shown == [
                comparisons.letters.get((row, measure), "") for row in results.methods[pair]
            ]
            assert all(shown) == (measure in results.ranked_measures)
        assert not any(cell.letters for row in group.references for cell in row)


@pytest.mark.slow
def test_the_main_table_has_half_of_each_interval_or_all_of_a_cut_one_behind_its_mean(
    small: tuple[ReportInputs, Results],
) -> None:
    _, results = small
    comparisons = compared(results)
    first = results.methods[results.pairs[0]][0]
    shown = main_table(comparisons).groups[0].rows[0]
    for cell, measure in zip(shown[2:], results.measures, strict=True):
        interval = comparisons.intervals[first, measure]
        if cell.spread:
            assert cell.value == pytest.approx((interval.low + interval.high) / 2)
            assert cell.spread == measure.format((interval.high - interval.low) / 2)
        else:
            assert {interval.low, interval.high} & set(measure.metric.bounds)
            low, high = measure.format(interval.low), measure.format(interval.high)
            assert cell.text == f"{measure.format(cell.value)} ({low} to {high})"


@pytest.mark.parametrize(
    "name",
    [
        "evals/sft.small.s1.eval-0a1b2c3d/items.parquet",
        "evals/sft.small.s1.eval-0a1b2c3d/outputs.parquet",
        "students/sft.small.s1-0a1b2c3d/steps.parquet",
        "students/sft.small.s1-0a1b2c3d/cost.json",
        "teachers/large-11112222/cost.json",
        "caches/large.cache-33334444/manifest.json",
        "data/docs-00000001/card.json",
    ],
)
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_missing_or_damaged_file_is_named(tmp_path: Path, name: str, damage: str) -> None:
    grid = read_grid(synthetic.write(tmp_path, SMALL))
    path = tmp_path / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_inputs(tmp_path, grid, DATA)


def test_cells_given_twice_unknown_kinds_and_missing_columns_are_refused(tmp_path: Path) -> None:
    path = synthetic.write(tmp_path, SMALL)
    grid = pd.read_csv(path, dtype=str, keep_default_na=False)
    for bad, words in (
        (pd.concat([grid, grid.iloc[-1:]]), "a cell twice"),
        (grid.replace({"kind": {"start": "begin"}}), "begin"),
        (grid.replace({"seed": {"1": "one"}}), "one"),
        (grid.drop(columns="cache_id"), "cache_id"),
        (grid[grid["kind"] != "method"], "nothing to report"),
    ):
        bad.to_csv(path, index=False)
        with pytest.raises(ValueError, match=words):
            read_grid(path)


def test_a_teacher_as_it_came_has_a_size_and_no_cost(tmp_path: Path) -> None:
    path = synthetic.write(tmp_path, SMALL)
    for teacher in (tmp_path / "teachers").iterdir():
        shutil.rmtree(teacher)
        as_it_came = tmp_path / "models" / teacher.name
        as_it_came.mkdir()
        artifact.write_json(as_it_came / artifact.MANIFEST, {"id": teacher.name})
    grid = pd.read_csv(path, dtype=str, keep_default_na=False)
    grid["cache_id"] = grid["teacher"] + ".cache-33334444"
    grid.to_csv(path, index=False)
    inputs = read_inputs(tmp_path, read_grid(path), DATA)
    results = assemble(inputs)
    assert results.sizes["large"] == synthetic.PARAMETERS["large"]
    shared = shared_cost_table(collect_costs(inputs, results)).groups[0].rows
    assert not any(row[0].text.startswith("teachers/") for row in shared)
    assert inputs.model_folders["large-11112222"] == "models/large-11112222"


def test_what_a_teacher_reads_and_writes_for_all_is_charged_once(tmp_path: Path) -> None:
    experiment = replace(SMALL, methods=("sft", "forward_kl", "seqkd"))
    inputs, results = read(tmp_path, experiment)
    data = collect_costs(inputs, results)
    passes = [row[0].value.split(".")[0] for row in shared_cost_table(data).groups[0].rows]
    assert [name for name in passes if "caches" in name] == ["caches/large", "caches/middle"]
    assert [name for name in passes if "texts" in name] == ["texts/large", "texts/middle"]


def test_scores_over_different_items_are_not_compared(
    small: tuple[ReportInputs, Results],
) -> None:
    inputs, _ = small
    sums = inputs.item_sums
    moved = (sums["eval_id"] == "sft.small.s1.eval-0a1b2c3d") & (sums["example_id"] == ITEM)
    moved_to = sums["example_id"].astype(str).mask(moved, "another")
    other = sums.assign(example_id=moved_to.astype("category"))
    with pytest.raises(ValueError, match="same items"):
        assemble(replace(inputs, item_sums=other))


def test_an_unknown_metric_is_shown_but_nobody_is_best_at_it(tmp_path: Path) -> None:
    inputs, _ = read(tmp_path, ONE_SEED)
    renamed = inputs.item_sums.astype({"metric": str}).replace({"metric": {"rouge_l": "charm"}})
    results = assemble(replace(inputs, item_sums=renamed))
    shown = [measure for measure in results.measures if measure.metric.name == "charm"]
    assert [section.heading for section in shown] == ["charm"]
    assert not set(shown) & set(results.ranked_measures)
    assert metric_named("nll_nats").higher_is_better is False


@pytest.mark.parametrize(("highest", "upper"), [(0.9, 1.0), (1.0 + 1e-15, 1.0), (37.5, math.inf)])
def test_a_score_beyond_the_bound_of_its_name_is_on_another_scale_without_one(
    highest: float, upper: float
):
    scores = pd.DataFrame(
        {"task": "scrolls", "slice": ["", "short"], "metric": "f1", "value": [0.5, highest]}
    )
    assert [each.metric.bounds for each in measures_of(scores)] == [(0.0, upper)] * 2


def test_the_overviews_panels_stand_in_the_order_of_the_tables_columns(
    small: tuple[ReportInputs, Results],
) -> None:
    """Also where the first pair lacks a measure that is not the last."""
    _, results = small
    comparisons, measures = compared(results), results.primary_measures
    lacking = {(results.pairs[0], measures[1]): ()}
    plot = overview_plot(replace(comparisons, differences={**comparisons.differences, **lacking}))
    assert plot is not None
    titles = [axes.get_title().strip() for axes in plot.figure().axes]
    assert titles == [measure.heading for measure in measures]


def test_means_over_tokens_are_not_held_against_a_teacher_of_another_vocabulary(
    tmp_path: Path,
) -> None:
    _, results = read(tmp_path, replace(SMALL, foreign=("large",)))
    of_foreign, of_shared = (
        {gap.measure.metric.name for gap in gaps_closed(each, "sft") if gap.row.teacher == "large"}
        for each in (results, replace(results, foreign=()))
    )
    assert "nll_nats" in of_shared
    assert of_foreign == of_shared - {"nll_nats", "ece"}
    findings = compared(results).findings
    of_nll = {
        finding.pair.teacher: finding.text
        for finding in findings
        if finding.measure.key == "heldout/nll_nats"
    }
    marks = reference_marks(results, {pair: pair.teacher for pair in results.pairs})
    nll = {
        title: kinds
        for (title, measure), kinds in marks.items()
        if measure.key == "heldout/nll_nats"
    }
    assert {title: "teacher" in kinds for title, kinds in nll.items()} == {
        "large": False,
        "middle": True,
    }
    assert {*nll["middle"]["start"]} == {pair.student for pair in results.pairs}
    caption = main_table(compared(results)).caption
    assert "NLL and Calibration error of large: over the tokens of another vocabulary" in caption
    paper = next(paper_tables(compared(results), {}))
    first, *_ = [group.columns[0].cells for group in paper.groups]
    assert "teacher" not in first
    assert "The teacher scores" not in of_nll["large"]
    assert all("The teacher scores" in of_nll[name] for name in of_nll.keys() - {"large"})


def test_a_misspelt_setting_or_a_method_without_a_card_is_refused() -> None:
    settings = synthetic.settings(SMALL)
    with pytest.raises(ValidationError, match="titels"):
        ReportSettings(**settings, titels={})
    with pytest.raises(ValueError, match="unheard_of"):
        report.check_cards({"sft", "unheard_of"}, ReportSettings(**settings))


@pytest.mark.slow
def test_the_report_does_not_load_torch() -> None:
    code = "import sys, pipeline.stages.report; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0

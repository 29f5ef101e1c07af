"""What the report claims of shares of the gap, of teachers' sizes, and in tables and plots."""

import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import synthetic
from comparing import MEANS, RECIPES, SETTINGS, compared, sized
from drawn_texts import faults
from made_up import Cell, drawn, made

from pipeline.methods.catalogue import METHODS
from pipeline.reporting.analysis.changes import teacher_size_effects
from pipeline.reporting.analysis.comparisons import compare
from pipeline.reporting.analysis.load import read_grid, read_inputs
from pipeline.reporting.analysis.scores import assemble
from pipeline.reporting.plots.differences import (
    gap_closed_plot,
    overview_plot,
    teacher_size_plot,
)
from pipeline.reporting.plots.looks import PAPER
from pipeline.reporting.sections.contents import comparison_tables
from pipeline.reporting.sections.difference_tables import teacher_size_table
from pipeline.settings.report import ReportSettings


def with_teacher(ahead: float) -> dict[Cell, np.ndarray]:
    values = drawn(MEANS, 3, spread=0.01)
    plain = np.mean([values[Cell("plain", seed)] for seed in (1, 2, 3)], axis=0)
    return {Cell("teacher", 0, kind="teacher"): plain + ahead, **values}


def test_a_method_half_way_to_the_teacher_has_closed_half_of_the_gap() -> None:
    results, comparisons = compared(made(with_teacher(4.0)))
    gaps = {gap.row.method: gap for gap in comparisons.gaps_closed}
    assert set(gaps) == {"jsd", "gkd", "akl"}
    half = gaps["akl"]
    means = {row.method: mean.value for (row, _), mean in results.means.items()}
    expected = (means["akl"] - means["plain"]) / (means["teacher"] - means["plain"])
    assert half.share == pytest.approx(expected)
    assert half.share == pytest.approx(0.5, abs=0.05)
    assert half.interval.low < half.share < half.interval.high < 0.6


@pytest.mark.parametrize("ahead", [0.0, -1.0])
def test_no_share_is_closed_of_a_gap_that_may_not_be_there(ahead: float) -> None:
    _, comparisons = compared(made(with_teacher(ahead)))
    assert not comparisons.gaps_closed


def test_without_plain_fine_tuning_there_is_no_share() -> None:
    inputs = made(with_teacher(4.0))
    results = sized(inputs)
    without = {**RECIPES, "plain": METHODS["seqkd"]}
    recipes = ReportSettings(experiment="made", data_id="d", methods=without)
    comparisons = compare(results, recipes)
    assert comparisons.gap_baseline == ""
    tables = comparison_tables(comparisons).values()
    assert "gap_closed" not in {table.name for table in tables}


def under_two_teachers(gained: float) -> dict[Cell, np.ndarray]:
    """JSD gains under the larger teacher; plain fine-tuning has no teacher."""
    return {
        **drawn({"jsd": 0.0, "gkd": 0.0}, 3, teacher="small"),
        **drawn({"jsd": gained, "gkd": 0.0}, 3, teacher="large"),
    }


def test_a_larger_teacher_that_makes_a_poorer_student_is_named() -> None:
    results = sized(made(under_two_teachers(-1.0)))
    steps = {step.second.method: step for step in teacher_size_effects(results)}
    assert steps["jsd"].value == pytest.approx(-1.0, abs=0.2)
    assert steps["jsd"].second.teacher == "small"
    assert steps["jsd"].first_is_worse
    assert not steps["gkd"].significantly_different
    lower_is_better = sized(made(under_two_teachers(-1.0), metric="nll_nats"))
    assert not any(step.first_is_worse for step in teacher_size_effects(lower_is_better))


def test_teachers_are_not_compared_by_what_is_relative_to_them_or_needs_none() -> None:
    relative = sized(made(under_two_teachers(-1.0), metric="kl_to_teacher_nats"))
    assert not teacher_size_effects(relative)
    shared = made(under_two_teachers(-1.0))
    grid = shared.grid
    gkd = grid["method"] == "gkd"
    same = grid["eval_id"].where(~gkd, "large.gkd." + grid["seed"].astype(str))
    results = sized(replace(shared, grid=grid.assign(eval_id=same)))
    assert {step.second.method for step in teacher_size_effects(results)} == {"jsd"}
    assert not teacher_size_effects(replace(results, sizes={"small": 1000, "large": 1000}))


def test_the_tables_have_every_difference_and_the_plots_what_there_is() -> None:
    values = {**under_two_teachers(-1.0), **with_teacher(4.0)}
    inputs = made(values)
    results = sized(inputs)
    comparisons = compare(results, SETTINGS)
    every = comparison_tables(comparisons).values()
    tables = {table.name: table for table in every}
    assert set(tables) == {"differences", "detectable", "gap_closed", "teacher_size"}
    assert re.match(
        r"Of 2 comparisons, .* better in \d, significantly worse in 0\.",
        tables["teacher_size"].caption,
    )
    rows = [row for group in tables["differences"].groups for row in group.rows]
    assert len(rows) == len(list(combinations(MEANS, 2))) + 1  # four methods, and two
    assert len(tables["differences"].data) == len(rows)
    for draw in (gap_closed_plot, teacher_size_plot):
        plot = draw(comparisons)
        assert plot is not None
        assert faults(plot.figure()) == []


def test_one_method_is_compared_with_nothing() -> None:
    _, comparisons = compared(made(drawn({"jsd": 0.0}, 3)))
    (finding,) = comparisons.findings
    assert finding.text.startswith("Only jsd was trained")
    assert not comparison_tables(comparisons)
    assert gap_closed_plot(comparisons) is None
    assert teacher_size_plot(comparisons) is None
    assert teacher_size_table(comparisons) is None
    assert overview_plot(comparisons) is None


@pytest.mark.parametrize("metric", ["kl_to_teacher_nats", "rouge_l"])
def test_the_overview_shows_every_methods_difference_to_sft_as_in_the_table(metric: str) -> None:
    results, comparisons = compared(made(drawn({**MEANS, "gkd": 0.01}, 3), metric=metric))
    (table, *_) = comparison_tables(comparisons).values()
    expected = {}  # by method: value, interval, whether it is significant
    for cells in (row for group in table.groups for row in group.rows):
        methods, numbers = [cell.text for cell in cells[1:3]], [cell.value for cell in cells[4:7]]
        if "plain" in methods:
            sign, other = (1, methods[0]) if methods[1] == "plain" else (-1, methods[1])
            value, *ends = (sign * number for number in numbers)
            expected[other] = value, sorted(ends), cells[-1].text in methods
    best_first = sorted(expected, key=lambda method: expected[method][0])
    best_first = best_first[::-1] if metric == "rouge_l" else best_first

    plot = overview_plot(comparisons)
    assert plot is not None
    (axes,) = plot.figure().axes
    assert [label.get_text() for label in axes.get_yticklabels()] == best_first
    assert "Teacher large (5k), student student (100)" in {text.get_text() for text in axes.texts}
    assert axes.get_title().strip() == results.primary_measures[0].heading
    bars = [line for line in axes.lines if len(line.get_xdata()) == 2][: len(expected)]
    marked = [line for line in axes.lines if line.get_marker() != "None"]
    markers = [line for line in marked if line.get_clip_on()]  # others: arrows at the edge
    shown = {
        best_first[round(bar.get_ydata()[0])]: (
            float(marker.get_xdata()[0]),
            sorted(bar.get_xdata()),
            marker.get_markerfacecolor() != PAPER,
        )
        for bar, marker in zip(bars, markers, strict=True)
    }
    assert shown == expected
    assert {significant for _, _, significant in shown.values()} == {True, False}


def test_the_overview_has_every_pair_and_needs_sft_and_two_more_methods() -> None:
    both = {**drawn(MEANS, 3, teacher="small"), **drawn(MEANS, 3)}
    _, comparisons = compared(made(both))
    plot = overview_plot(comparisons)
    assert plot is not None
    (legend,) = plot.figure().legends
    titles = {text.get_text() for text in legend.get_texts()}
    assert titles == {"small → student", "large → student"}
    for methods in ({"plain": 0.0, "jsd": 1.0}, {"jsd": 1.0, "gkd": 0.0, "akl": 2.0}):
        _, comparisons = compared(made(drawn(methods, 3)))
        assert overview_plot(comparisons) is None


def test_a_student_that_is_named_as_a_teacher_has_a_size_of_its_own(tmp_path: Path) -> None:
    path = synthetic.write(tmp_path, replace(synthetic.Experiment(items=6), students=("small",)))
    grid = read_grid(path)
    named = grid["student"].mask(grid["kind"] != "teacher", "large")
    inputs = read_inputs(tmp_path, grid.assign(student=named), "docs-00000001")
    results = assemble(inputs)
    assert [results.title(pair) for pair in results.pairs] == [
        "Teacher large (5.3M), student large (1.31M)",
        "Teacher middle (2.1M), student large (1.31M)",
    ]
    effects = teacher_size_effects(results)
    assert {(each.second.teacher, each.first.teacher) for each in effects} == {("middle", "large")}

"""Scores on parts of a task: of its items, or of their tokens."""

from collections.abc import Mapping

from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.parts import Part, parts_of
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.render.table import (
    MISSING,
    Cell,
    Group,
    Heading,
    Table,
    mean_cell,
    method_cell,
)
from pipeline.reporting.render.units import pair_title


def slice_table(results: Results, sizes: Mapping[str, int]) -> Table | None:
    """Every score on a part of a task; None where nothing was measured on parts."""
    if not results.slice_measures:
        return None
    metrics = list(dict.fromkeys(measure.metric for measure in results.slice_measures))
    headings = [Heading(Measure("", metric).heading, metric.unit) for metric in metrics]
    groups = [
        _group(
            results,
            pair,
            part,
            [Measure(part.task, metric, part.name) for metric in metrics],
            sizes,
        )
        for pair in results.pairs
        for part in parts_of(results.slice_measures)
    ]
    return Table(
        name="slices",
        caption=(
            "Scores on parts of the items, or of their tokens: mean ± sample standard deviation "
            f"over training seeds. {MISSING}: not measured."
        ),
        group_headings=("Teacher", "Student", "Task", "Part"),
        headings=(Heading("Method", numeric=False), *headings),
        groups=tuple(groups),
    )


def _group(
    results: Results, pair: Pair, part: Part, measures: list[Measure], sizes: Mapping[str, int]
) -> Group:
    def cells(row: Row) -> tuple[Cell, ...]:
        means = [(measure, results.means.get((row, measure))) for measure in measures]
        scores = (mean_cell(measure, mean) for measure, mean in means)
        return (method_cell(row), *scores)

    return Group(
        title=f"{pair_title(pair, sizes)}: {part.task}, {part.name}",
        names=(pair.teacher, pair.student, part.task, part.name),
        references=tuple(cells(row) for row in results.references[pair]),
        rows=tuple(cells(row) for row in results.methods[pair]),
    )

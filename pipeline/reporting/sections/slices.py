"""Scores on parts of a task: of its items, or of their tokens."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.render.figures import (
    Plot,
    draw_line,
    handles_of,
    small_multiples,
    styles_of,
)
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


@dataclass(frozen=True)
class Part:
    """One part of a task."""

    task: str
    name: str

    @property
    def kind(self) -> str:
        """The name without its numbers: "tokens 1-8" and "tokens 9-32" are of one kind."""
        return re.sub(r"\d+", "", self.name) if re.search(r"\d", self.name) else ""

    @property
    def order(self) -> tuple[str, list[int], str]:
        """Parts of a kind by their numbers, not by their digits."""
        return (self.kind, [int(digits) for digits in re.findall(r"\d+", self.name)], self.name)


def _parts(measures: Iterable[Measure]) -> list[Part]:
    parts = dict.fromkeys(Part(measure.task, measure.slice) for measure in measures)
    return sorted(parts, key=lambda part: (part.task, part.order))


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
        for part in _parts(results.slice_measures)
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


def scores_by_part(results: Results, sizes: Mapping[str, int]) -> Plot | None:
    """A line for each method over the parts of a task; None where there are no two to compare."""
    parts = _comparable_parts(results)
    if not parts:
        return None
    styles = styles_of(results.labels)
    rows = {pair: pair_title(pair, sizes) for pair in results.pairs}
    columns = {measure: f"{measure.heading}\n{measure.detail}" for measure in parts}
    figure, panels = small_multiples(rows, columns, 2.1, handles_of(styles))
    for panel in panels:
        axes, slices = panel.axes, parts[panel.column]
        for row in results.methods[panel.row]:
            means = [results.means.get((row, measure)) for measure in slices]
            x = [index for index, mean in enumerate(means) if mean]
            draw_line(axes, x, [mean.value for mean in means if mean], styles[row.label])
        axes.set_xticks(
            range(len(slices)), [re.sub(r"^\D+(?=\d)", "", measure.slice) for measure in slices]
        )
        axes.margins(x=0.15)
        axes.yaxis.set_major_locator(MaxNLocator(5))
    return Plot(
        "scores_by_part",
        "Score by part of the task",
        "Means over training seeds, on parts of the items or of their tokens. Hard tokens are "
        "those of which the teacher is less certain than of the median one. Axes don't begin at "
        "zero.",
        figure,
    )


def _comparable_parts(results: Results) -> dict[Measure, list[Measure]]:
    """For each ranked metric and kind of parts, the parts in their order, where there are two."""
    parts: dict[Measure, list[Measure]] = {}
    for part in _parts(results.slice_measures):
        for measure in results.slice_measures:
            ranked = measure.metric.higher_is_better is not None
            if ranked and (measure.task, measure.slice) == (part.task, part.name):
                kind = " ".join(part.kind.replace("-", " ").split())
                panel = Measure(measure.task, measure.metric, kind)
                parts.setdefault(panel, []).append(measure)
    return {panel: slices for panel, slices in parts.items() if len(slices) > 1}

"""Scores on parts of a task: of its items, or of their tokens."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Mean, Pair, Results, Row
from pipeline.reporting.render.plot_style import (
    Look,
    Panel,
    Plot,
    handles_of,
    legend_below,
    legend_height,
    looks_of,
    measure_panels,
)
from pipeline.reporting.render.table import MISSING, Cell, Group, Heading, Table, named, pair_title


@dataclass(frozen=True)
class Part:
    """One part of a task."""

    task: str
    name: str

    @property
    def kind(self) -> str:
        """What parts have in common that are neighbours: "tokens 1-8" and "tokens 9-32"."""
        return re.sub(r"\d+", "", self.name) if re.search(r"\d", self.name) else ""

    @property
    def order(self) -> tuple[str, list[int], str]:
        """Parts of a kind by their numbers, not by their digits."""
        return (self.kind, [int(digits) for digits in re.findall(r"\d+", self.name)], self.name)


def _parts(measures: Iterable[Measure]) -> list[Part]:
    found = dict.fromkeys(Part(one.task, one.slice) for one in measures)
    return sorted(found, key=lambda part: (part.task, part.order))


def slice_table(results: Results, sizes: Mapping[str, int]) -> Table | None:
    """Every score on a part of a task; None where nothing was measured on parts."""
    if not results.slice_measures:
        return None
    metrics = list(dict.fromkeys(one.metric for one in results.slice_measures))
    headings = [Heading(Measure("", one).heading, one.unit) for one in metrics]
    groups = [
        _group(results, pair, part, [Measure(part.task, one, part.name) for one in metrics], sizes)
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
        means = [(one, results.means.get((row, one))) for one in measures]
        scores = (score_cell(measure, mean) for measure, mean in means)
        return (named(row), *scores)

    return Group(
        title=f"{pair_title(pair, sizes)}: {part.task}, {part.name}",
        names=(pair.teacher, pair.student, part.task, part.name),
        references=tuple(cells(row) for row in results.references[pair]),
        rows=tuple(cells(row) for row in results.methods[pair]),
    )


def score_cell(measure: Measure, mean: Mean | None) -> Cell:
    """A mean over seeds with its spread."""
    if mean is None:
        return Cell(MISSING)
    if mean.spread is None:
        return Cell(measure.format(mean.value), mean.value)
    beside = (("spread", mean.spread),)
    return Cell(measure.format(mean.value), mean.value, measure.format(mean.spread), beside=beside)


def scores_by_part(results: Results, sizes: Mapping[str, int]) -> Plot | None:
    """A line for each method over the parts of a task; None where there are no two to compare."""
    shown = _panels(results)
    if not shown:
        return None
    looks = looks_of(results.labels)
    below = legend_height(results.labels)
    figure, found = measure_panels(results.pairs, list(shown), row_height=2.1, legend=below)
    for panel in found:
        _panel(panel, results, shown[panel.measure], looks)
        if panel.first:
            panel.axis.set_ylabel(pair_title(panel.key, sizes).replace(", ", "\n"))
    legend_below(figure, handles_of(looks, lines=True))
    return Plot(
        "scores_by_part",
        "Score by part of the task",
        "Means over training seeds, over parts of the items or of their tokens. Axes don't begin "
        "at zero.",
        figure,
    )


def _panels(results: Results) -> dict[Measure, list[Measure]]:
    """For each judged metric and kind of parts, the parts in their order."""
    found: dict[Measure, list[Measure]] = {}
    for part in _parts(results.slice_measures):
        for one in results.slice_measures:
            judged = one.metric.higher_is_better is not None
            if judged and (one.task, one.slice) == (part.task, part.name):
                kind = " ".join(part.kind.replace("-", " ").split())
                found.setdefault(Measure(one.task, one.metric, kind), []).append(one)
    return {panel: parts for panel, parts in found.items() if len(parts) > 1}


def _panel(
    panel: Panel[Pair], results: Results, parts: list[Measure], looks: Mapping[str, Look]
) -> None:
    axis = panel.axis
    for row in results.methods[panel.key]:
        look = looks[row.label]
        means = [results.means.get((row, part)) for part in parts]
        points = [(place, mean.value) for place, mean in enumerate(means) if mean]
        axis.plot(
            [place for place, _ in points],
            [value for _, value in points],
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markersize=4,
            linewidth=1.2,
        )
    axis.set_xticks(range(len(parts)), [re.sub(r"^\D+(?=\d)", "", one.slice) for one in parts])
    axis.margins(x=0.12)
    axis.yaxis.set_major_locator(MaxNLocator(5))
    axis.set_title(f"{panel.measure.heading}\n{panel.measure.detail}")

"""Figures of scores: by method, and against the teacher's size."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row, best_first
from pipeline.reporting.plots.figures import Panel, Plot, draw_line, small_multiples
from pipeline.reporting.plots.intervals import Estimate, Layout, interval_plot
from pipeline.reporting.plots.looks import (
    INK,
    PAPER,
    Style,
    handles_of,
    numbered_styles,
    styles_of,
)
from pipeline.reporting.render.units import amount, sized

SIDE_BY_SIDE = 4  # names of teachers that a panel has room for: of more, each second is lower
APART = 0.5  # of the way to the next teacher, that methods at the same one are spread over
REFERENCES = {"teacher": INK, "start": PAPER}  # by kind, the face of its mark


def scores_by_method(
    results: Results, sizes: Mapping[str, int], comparisons: Comparisons
) -> Plot | None:
    """A line for each method, a panel for each measure, a row of panels for each teacher."""
    students = {pair.student: f"student {sized(pair.student, sizes)}" for pair in results.pairs}
    rows = {
        pair: f"Teacher {sized(pair.teacher, sizes)}" * bool(pair.teacher) for pair in results.pairs
    }
    estimates = [
        _estimate(results, comparisons, row, measure, rows[pair], students[pair.student])
        for measure in results.ranked_measures
        for pair in results.pairs
        for row in results.means_by_row(results.methods[pair], measure)
    ]
    if len(students) == 1:
        estimates = [replace(estimate, series="") for estimate in estimates]
    marks = _marks(results, rows)
    return interval_plot(
        "scores_by_method",
        "Scores by method",
        "Means with 95 % intervals over seeds and items (items alone where there is one seed), "
        f"sorted by {results.ranked_measures[0].heading if estimates else ''}. On the upper edge: "
        "the teacher and the student's start, where they are within the axis.",
        estimates,
        Layout(
            numbered_styles(list(students.values())) if len(students) > 1 else styles_of(results),
            _by_rank(results),
            decorate=lambda panel: _mark_references(panel, marks),
            legend=[
                _reference_handle(kind, face)
                for kind, face in REFERENCES.items()
                if any(kind in found for found in marks.values())
            ],
        ),
    )


def _estimate(
    results: Results,
    comparisons: Comparisons,
    row: Row,
    measure: Measure,
    title: str,
    series: str,
) -> Estimate:
    value = results.means[row, measure].value
    interval = comparisons.intervals.get((row, measure))
    low, high = (interval.low, interval.high) if interval else (value, value)
    return Estimate(title, measure, row.label, series, value, low, high)


def _by_rank(results: Results) -> list[str]:
    """The methods by their mean rank over pairs on the first measure, the best first."""
    ranks: dict[str, list[int]] = {label: [] for label in results.labels}
    for measure in results.ranked_measures[:1]:
        for pair in results.pairs:
            ordered = best_first(results.means_by_row(results.methods[pair], measure), measure)
            for rank, row in enumerate(ordered):
                ranks[row.label].append(rank)
    means = {label: sum(some) / len(some) for label, some in ranks.items() if some}
    return sorted(ranks, key=lambda label: means.get(label, float("inf")))


Marks = Mapping[tuple[str, Measure], Mapping[str, Sequence[float]]]


def _marks(results: Results, rows: Mapping[Pair, str]) -> Marks:
    """The scores of teacher and start by kind, for each panel."""
    marks: dict[tuple[str, Measure], dict[str, list[float]]] = {}
    for pair, title in rows.items():
        for measure in results.ranked_measures:
            for row, mean in results.means_by_row(results.references[pair], measure).items():
                relative = row.kind == "teacher" and measure.metric.relative_to_teacher
                if row.kind in REFERENCES and not relative:
                    of_panel = marks.setdefault((title, measure), {})
                    of_panel.setdefault(row.kind, []).append(mean.value)
    return marks


def _mark_references(panel: Panel[str, Measure], marks: Marks) -> None:
    low, high = panel.axes.get_xlim()
    for kind, values in marks.get((panel.row, panel.column), {}).items():
        for value in values:
            if low <= value <= high:
                panel.axes.plot(
                    value,
                    1.0,
                    marker="v",
                    markersize=5,
                    color=INK,
                    markerfacecolor=REFERENCES[kind],
                    transform=panel.axes.get_xaxis_transform(),
                    clip_on=False,
                )


def _reference_handle(kind: str, face: str) -> Line2D:
    return Line2D([], [], label=kind, linestyle="none", marker="v", color=INK, markerfacecolor=face)


def scores_by_teacher_size(
    results: Results, sizes: Mapping[str, int], comparisons: Comparisons
) -> Plot | None:
    """A line for each method over its teachers' sizes; None where no student has two of them."""
    known = [pair for pair in results.pairs if pair.teacher in sizes]
    by_student: dict[str, list[Pair]] = {}
    for pair in sorted(known, key=lambda pair: sizes[pair.teacher]):
        by_student.setdefault(pair.student, []).append(pair)
    several = {student: pairs for student, pairs in by_student.items() if len(pairs) > 1}
    if not several:
        return None

    def draw(width: float) -> Figure:
        styles = styles_of(results)
        rows = {student: f"Student {sized(student, sizes)}" for student in several}
        columns = {measure: measure.heading for measure in results.primary_measures}
        legend = handles_of(styles)
        figure, panels = small_multiples(rows, columns, (width, 1.5), legend)
        for panel in panels:
            _draw_sizes(panel, results, comparisons, several[panel.row], styles)
            _name_teachers(panel.axes, several[panel.row], sizes)
            panel.axes.set_ylabel(panel.column.detail)
        return figure

    caption = (
        "Means over training seeds with 95 % intervals; methods at the same teacher are drawn side "
        "by side. Scores don't begin at zero."
    )
    return Plot("scores_by_teacher_size", "Score against teacher size", caption, draw)


def _draw_sizes(
    panel: Panel[str, Measure],
    results: Results,
    comparisons: Comparisons,
    pairs: Sequence[Pair],
    styles: Mapping[str, Style],
) -> None:
    axes, places = panel.axes, range(len(pairs))
    for number, (label, style) in enumerate(styles.items()):
        shift = APART * (number / max(1, len(styles) - 1) - 0.5)
        estimates = {
            place + shift: _estimate(results, comparisons, row, panel.column, "", "")
            for place, pair in zip(places, pairs, strict=True)
            for row in results.means_by_row(results.methods[pair], panel.column)
            if row.label == label
        }
        draw_line(axes, list(estimates), [one.value for one in estimates.values()], style)
        for x, one in estimates.items():
            axes.plot((x, x), (one.low, one.high), color=style.colour, linewidth=0.8, alpha=0.7)


def _name_teachers(axes: Axes, pairs: Sequence[Pair], sizes: Mapping[str, int]) -> None:
    axes.margins(x=0.15)
    axes.xaxis.set_major_locator(FixedLocator(range(len(pairs))))
    axes.xaxis.set_minor_locator(NullLocator())
    names = [f"{pair.teacher}\n{amount(sizes[pair.teacher])}" for pair in pairs]
    if len(names) > SIDE_BY_SIDE:
        names[1::2] = [f"\n\n{name}" for name in names[1::2]]
    axes.set_xticklabels(names)
    axes.yaxis.set_major_locator(MaxNLocator(4))

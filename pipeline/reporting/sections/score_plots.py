"""Figures of scores: by method with every training seed, and against the teacher's size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Mean, Pair, Results, Row
from pipeline.reporting.render.figures import (
    GREY,
    INK,
    Panel,
    Plot,
    draw_line,
    draw_seeds,
    handles_of,
    label_lines,
    small_multiples,
    styles_of,
)
from pipeline.reporting.render.units import amount, sized

OFFSET = 0.2  # lines between a method's name and its outermost student
STRETCH = 2.5  # times the span of the methods: as far as an axis extends to show a reference
MARKERS = ("o", "s", "^", "D", "v", "P")  # of students, where a method has a line of its own


@dataclass(frozen=True)
class Mark:
    """How the results of one student are drawn on a method's line."""

    marker: str
    offset: float  # from the middle of the line, in lines
    filled: bool


def scores_by_method(results: Results, sizes: Mapping[str, int]) -> Plot:
    """A line for each method, a panel for each measure, a row of panels for each teacher."""
    marks = _marks(results)
    teachers = dict.fromkeys(pair.teacher for pair in results.pairs)
    lines = {teacher: _lines(results, teacher) for teacher in teachers}
    height = 0.75 + max(map(len, lines.values())) * (0.11 + 0.08 * len(marks))
    rows = {name: f"teacher {sized(name, sizes)}" if name else "" for name in teachers}
    columns = {measure: measure.heading for measure in results.ranked_measures}
    figure, panels = small_multiples(rows, columns, max(1.9, height), _legend(marks, sizes))
    for panel in panels:
        _method_panel(panel, results, marks, lines[panel.row])
    return Plot(
        "scores_by_method",
        "Score by method",
        "Each marker is a training seed, the vertical stroke their mean, the dashed line the "
        "teacher. Axes don't begin at zero: they fit the methods, and the value of a reference far "
        "from them is written at the edge.",
        figure,
    )


def _marks(results: Results) -> dict[str, Mark]:
    students = list(dict.fromkeys(pair.student for pair in results.pairs))
    step = 2 * OFFSET / max(1, len(students) - 1)
    first = -OFFSET if len(students) > 1 else 0.0
    return {
        student: Mark(MARKERS[index % len(MARKERS)], first + index * step, index % 2 == 0)
        for index, student in enumerate(students)
    }


def _legend(marks: Mapping[str, Mark], sizes: Mapping[str, int]) -> list[Line2D]:
    students = [
        Line2D(
            [],
            [],
            linestyle="none",
            color=INK,
            marker=mark.marker,
            markerfacecolor=INK if mark.filled else "white",
            label=f"student {sized(name, sizes)}",
        )
        for name, mark in marks.items()
    ]
    return [*students, Line2D([], [], color=INK, linestyle="--", linewidth=1, label="teacher")]


def _lines(results: Results, teacher: str) -> list[str]:
    """The labels on the vertical axis: references, then methods."""
    pairs = [pair for pair in results.pairs if pair.teacher == teacher]
    rows = [row for pair in pairs for row in results.references[pair] if row.kind != "teacher"]
    rows += [row for pair in pairs for row in results.methods[pair]]
    return list(dict.fromkeys(row.label for row in rows))


def _method_panel(
    panel: Panel[str, Measure], results: Results, marks: Mapping[str, Mark], lines: Sequence[str]
) -> None:
    axes, measure = panel.axes, panel.column
    styles = styles_of(results.labels)
    pairs = [pair for pair in results.pairs if pair.teacher == panel.row]
    limits = _limits(results, pairs, measure)
    axes.set_xlim(limits)
    for pair in pairs:
        mark = marks[pair.student]
        for row, mean in _means(results, pair, measure).items():
            if row.kind == "teacher":
                axes.axvline(mean.value, color=INK, linestyle="--", linewidth=1)
                continue
            height = lines.index(row.label) + mark.offset
            if limits[0] <= mean.value <= limits[1]:
                colour = styles[row.label].colour if row.kind == "method" else GREY
                _draw_mean(axes, mean, height, colour, mark)
            else:
                _write_at_edge(axes, mean.value, measure, height, above=mean.value > limits[1])
    label_lines(panel, lines)
    axes.set_xlabel(measure.detail)


def _means(results: Results, pair: Pair, measure: Measure) -> dict[Row, Mean]:
    """The means of a pair; of the teacher none that is relative to itself."""
    rows = (*results.methods[pair], *results.references[pair])
    means = results.means_by_row(rows, measure)
    relative = measure.metric.relative_to_teacher
    return {row: mean for row, mean in means.items() if not (relative and row.kind == "teacher")}


def _limits(results: Results, pairs: Sequence[Pair], measure: Measure) -> tuple[float, float]:
    """The span of all seeds, with teacher and start in it unless they stretch it too far."""
    means = [item for pair in pairs for item in _means(results, pair, measure).items()]
    points = [point for row, mean in means if row.kind == "method" for point in mean.seed_values]
    if not points:
        return 0.0, 1.0
    low, high = min(points), max(points)
    widest = STRETCH * (high - low)
    for value in sorted(mean.value for row, mean in means if row.kind in ("teacher", "start")):
        if max(high, value) - min(low, value) <= widest:
            low, high = min(low, value), max(high, value)
    margin = 0.08 * (high - low) or 0.05 * abs(low) or 1.0
    return low - margin, high + margin


def _draw_mean(axes: Axes, mean: Mean, height: float, colour: str, mark: Mark) -> None:
    ends = [min(mean.seed_values), max(mean.seed_values)]
    axes.plot(ends, [height, height], color=colour, linewidth=1, alpha=0.6)
    axes.plot(
        mean.seed_values,
        [height] * mean.seed_count,
        linestyle="none",
        marker=mark.marker,
        markersize=3.6,
        color=colour,
        markerfacecolor=colour if mark.filled else "white",
        markeredgewidth=0.9,
    )
    if mean.seed_count > 1:
        axes.plot(mean.value, height, marker="|", markersize=8, markeredgewidth=1.6, color=colour)


def _write_at_edge(
    axes: Axes, value: float, measure: Measure, height: float, *, above: bool
) -> None:
    text = measure.format(value)
    axes.annotate(
        f"{text} →" if above else f"← {text}",
        (0.99 if above else 0.01, height),
        xycoords=("axes fraction", "data"),
        ha="right" if above else "left",
        va="center",
        fontsize=6,
        color="#4A4A4A",
    )


def scores_by_teacher_size(results: Results, sizes: Mapping[str, int]) -> Plot | None:
    """A line for each method over the sizes of its teachers; None for fewer than two sizes."""
    known = [pair for pair in results.pairs if pair.teacher in sizes]
    by_student: dict[str, list[Pair]] = {}
    for pair in sorted(known, key=lambda pair: sizes[pair.teacher]):
        by_student.setdefault(pair.student, []).append(pair)
    several = {student: pairs for student, pairs in by_student.items() if len(pairs) > 1}
    if not several:
        return None
    rows = {student: f"student {sized(student, sizes)}" for student in several}
    columns = {
        measure: f"{measure.heading}\n{measure.detail}" for measure in results.ranked_measures
    }
    legend = handles_of(styles_of(results.labels))
    figure, panels = small_multiples(rows, columns, 2.1, legend)
    for panel in panels:
        _teacher_size_panel(panel, results, several[panel.row], sizes)
    return Plot(
        "scores_by_teacher_size",
        "Score against teacher size",
        "Lines join means over training seeds, small dots are the seeds. Sizes are on a "
        "logarithmic scale; scores don't begin at zero.",
        figure,
    )


def _teacher_size_panel(
    panel: Panel[str, Measure],
    results: Results,
    pairs: Sequence[Pair],
    sizes: Mapping[str, int],
) -> None:
    axes = panel.axes
    rows = [row for pair in pairs for row in results.methods[pair]]
    for label, style in styles_of(results.labels).items():
        means = results.means_by_row(tuple(row for row in rows if row.label == label), panel.column)
        x = [sizes[row.teacher] for row in means]
        draw_line(axes, x, [mean.value for mean in means.values()], style)
        for size, mean in zip(x, means.values(), strict=True):
            draw_seeds(axes, [size] * mean.seed_count, mean.seed_values, style.colour)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.xaxis.set_major_locator(FixedLocator([sizes[pair.teacher] for pair in pairs]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{pair.teacher}\n{amount(sizes[pair.teacher])}" for pair in pairs])
    axes.yaxis.set_major_locator(MaxNLocator(5))

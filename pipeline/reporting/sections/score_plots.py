"""Scores by method: a line each, with every training seed on it."""

from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Mean, Pair, Results, Row
from pipeline.reporting.render.plot_style import (
    GREY,
    INK,
    MANY_SEEDS,
    Panel,
    Plot,
    legend_below,
    looks_of,
    measure_panels,
)
from pipeline.reporting.render.table import sized

APART = 0.2  # lines between a method's name and its outermost student
STRETCH = 2.5  # times the span of the methods: as far as an axis goes to show a reference
SHAPES = ("o", "s", "^", "D", "v", "P")  # of students, where a method has a line of its own


@dataclass(frozen=True)
class Mark:
    """How one student's results stand on a method's line."""

    shape: str
    offset: float  # from the middle of the line, in lines
    filled: bool


CEILING = Mark("", 0.0, filled=True)  # the teacher has a line of its own


def scores_by_method(results: Results, sizes: Mapping[str, int]) -> Plot:
    """A line for each method, a panel for each measure, a row of panels for each teacher."""
    teachers = list(dict.fromkeys(pair.teacher for pair in results.pairs))
    marks = _marks(results)
    lines = max(len(_lines_of(results, teacher)) for teacher in teachers)
    row_height = max(1.9, 0.75 + lines * (0.11 + 0.08 * len(marks)))
    figure, found = measure_panels(teachers, results.ranked_measures, row_height, legend=0.35)
    for panel in found:
        _method_panel(panel, results, marks)
        if panel.first and panel.key:
            panel.axis.set_ylabel(f"teacher {sized(panel.key, sizes)}")
    legend_below(figure, _mark_handles(marks, sizes))
    return Plot(
        "scores_by_method",
        "Score by method",
        "Each marker is a training seed, the upright stroke their mean; the dashed line is the "
        "teacher. Axes don't begin at zero: they fit the methods, and a reference that lies "
        "far from them is written at the edge.",
        figure,
    )


def _marks(results: Results) -> dict[str, Mark]:
    students = list(dict.fromkeys(pair.student for pair in results.pairs))
    step = 2 * APART / max(1, len(students) - 1)
    return {
        student: Mark(
            SHAPES[place % len(SHAPES)],
            0.0 if len(students) == 1 else place * step - APART,
            filled=place % 2 == 0,
        )
        for place, student in enumerate(students)
    }


def _mark_handles(marks: Mapping[str, Mark], sizes: Mapping[str, int]) -> list[Line2D]:
    students = [
        Line2D(
            [],
            [],
            linestyle="none",
            color=INK,
            marker=mark.shape,
            markersize=4.5,
            markerfacecolor=INK if mark.filled else "white",
            label=f"student {sized(name, sizes)}",
        )
        for name, mark in marks.items()
    ]
    return [*students, Line2D([], [], color=INK, linestyle="--", linewidth=1, label="teacher")]


def _lines_of(results: Results, teacher: str) -> list[str]:
    """What stands on the vertical axis: references, then methods."""
    pairs = [pair for pair in results.pairs if pair.teacher == teacher]
    rows = [row for pair in pairs for row in results.references[pair]]
    rows += [row for pair in pairs for row in results.methods[pair]]
    return list(dict.fromkeys(row.label for row in rows))


def _method_panel(panel: Panel[str], results: Results, marks: Mapping[str, Mark]) -> None:
    looks = looks_of(results.labels)
    lines = _lines_of(results, panel.key)
    limits = _limits(results, panel)
    for pair in results.pairs:
        if pair.teacher != panel.key:
            continue
        mark = marks[pair.student]
        for row, mean in results.means_by_row(results.methods[pair], panel.measure).items():
            height = lines.index(row.label) + mark.offset
            _seed_points(panel.axis, mean, height, looks[row.label].colour, mark)
        for row, mean in _references(results, pair, panel.measure).items():
            one = CEILING if row.kind == "teacher" else mark
            _reference(panel, mean, lines.index(row.label) + one.offset, one, limits)
    _finish_method_panel(panel, lines, limits)


def _references(results: Results, pair: Pair, measure: Measure) -> dict[Row, Mean]:
    """What the methods are compared with; of a teacher nothing that is relative to itself."""
    found = results.means_by_row(results.references[pair], measure)
    relative = measure.metric.relative_to_teacher
    return {row: mean for row, mean in found.items() if not (relative and row.kind == "teacher")}


def _limits(results: Results, panel: Panel[str]) -> tuple[float, float]:
    """The span of all seeds, with teacher and start in it unless they stretch it too far."""
    pairs = [pair for pair in results.pairs if pair.teacher == panel.key]
    methods = [results.means_by_row(results.methods[pair], panel.measure) for pair in pairs]
    references = [
        mean
        for pair in pairs
        for row, mean in _references(results, pair, panel.measure).items()
        if row.kind != "untrained"
    ]
    points = [point for found in methods for mean in found.values() for point in mean.seed_values]
    if not points:
        return 0.0, 1.0

    low, high = min(points), max(points)
    farthest = STRETCH * (high - low)
    for value in sorted(mean.value for mean in references):
        if max(high, value) - min(low, value) <= farthest:
            low, high = min(low, value), max(high, value)
    margin = 0.08 * (high - low) or 0.05 * abs(low) or 1.0
    return low - margin, high + margin


def _seed_points(axis: Axes, mean: Mean, height: float, colour: str, mark: Mark) -> None:
    points = mean.seed_values
    axis.plot([min(points), max(points)], [height, height], color=colour, linewidth=1, alpha=0.6)
    axis.plot(
        points,
        [height] * len(points),
        linestyle="none",
        marker=mark.shape,
        markersize=3.6,
        color=colour,
        markerfacecolor=colour if mark.filled else "white",
        markeredgewidth=0.9,
        rasterized=len(points) > MANY_SEEDS,
    )
    if len(points) > 1:
        axis.plot(mean.value, height, marker="|", markersize=8, markeredgewidth=1.6, color=colour)


def _reference(
    panel: Panel[str], mean: Mean, height: float, mark: Mark, limits: tuple[float, float]
) -> None:
    low, high = limits
    if low <= mean.value <= high:
        if mark is CEILING:
            panel.axis.axvline(mean.value, color=INK, linestyle="--", linewidth=1)
        else:
            _seed_points(panel.axis, mean, height, GREY, mark)
        return
    above = mean.value > high
    text = panel.measure.format(mean.value)
    panel.axis.annotate(
        f"{text} →" if above else f"← {text}",
        (0.99 if above else 0.01, height),
        xycoords=("axes fraction", "data"),
        ha="right" if above else "left",
        va="center",
        fontsize=6,
        color="#4A4A4A",
    )


def _finish_method_panel(panel: Panel[str], lines: list[str], limits: tuple[float, float]) -> None:
    axis = panel.axis
    axis.set_xlim(limits)
    axis.set_ylim(len(lines) - 0.5, -0.5)
    axis.set_yticks(range(len(lines)), lines if panel.first else [""] * len(lines))
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    for line in range(0, len(lines), 2):
        axis.axhspan(line - 0.5, line + 0.5, color="#F4F4F4", linewidth=0, zorder=0)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.set_title(panel.measure.heading)
    axis.set_xlabel(panel.measure.detail)

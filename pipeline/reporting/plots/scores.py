"""Figures of scores: by method, and against the teacher's size."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.analysis.standings import ranking
from pipeline.reporting.analysis.texts import amount
from pipeline.reporting.plots.figures import Panel, Plot, draw_line, multiples_plot
from pipeline.reporting.plots.intervals import Estimate, by_mean, interval_plot
from pipeline.reporting.plots.looks import INK, PAPER, handles_of, numbered_styles, styles_of

SIDE_BY_SIDE = 4  # names of teachers that a panel has room for: of more, each second is lower
APART = 0.5  # of the way to the next teacher, that methods at the same one are spread over
REFERENCES = {"teacher": INK, "start": PAPER}  # by kind, the face of its mark


def scores_by_method(comparisons: Comparisons) -> Plot | None:
    """A line for each method, a panel for each measure, a row of panels for each teacher."""
    results = comparisons.results
    students = {
        pair.student: f"student {results.sized_student(pair.student)}" for pair in results.pairs
    }
    several = len(students) > 1
    rows = {pair: f"Teacher {results.sized_teacher(pair.teacher)}" for pair in results.pairs}
    estimates = [
        estimate_of(comparisons, row, measure, rows[pair], students[pair.student] * several)
        for measure in results.ranked_measures
        for pair in results.pairs
        for row in results.means_by_row(results.methods[pair], measure)
    ]
    marks = reference_marks(results, rows)
    styles = numbered_styles(students.values()) if several else styles_of(results)
    colours = {student: styles[title].colour for student, title in students.items() if several}
    kinds = {kind for of_panel in marks.values() for kind in of_panel}
    return interval_plot(
        "scores_by_method",
        "Scores by method",
        "Means with 95 % intervals over seeds and items (items alone where there is one seed), "
        f"sorted by {results.ranked_measures[0].heading if estimates else ''}; an arrow marks one "
        "that exceeds the axis. On the upper edge: "
        "the teacher and the student's start, where they are within the axis.",
        estimates,
        styles,
        _by_rank(results),
        decorate=lambda panel: _mark_references(panel, marks, colours),
        legend=[
            Line2D(
                [], [], label=kind, linestyle="none", marker="v", color=INK, markerfacecolor=face
            )
            for kind, face in REFERENCES.items()
            if kind in kinds
        ],
    )


def estimate_of(
    comparisons: Comparisons, row: Row, measure: Measure, title: str = "", series: str = ""
) -> Estimate:
    """A row's mean on a measure, with its interval."""
    value = comparisons.results.means[row, measure].value
    interval = comparisons.intervals.get((row, measure))
    low, high = (interval.low, interval.high) if interval else (value, value)
    return Estimate(title, measure, row.method, series, value, low, high)


def _by_rank(results: Results) -> list[str]:
    """The methods by their mean rank over pairs on the first measure, the best first."""
    ranks: dict[str, list[int]] = {method: [] for method in results.method_names}
    for measure in results.ranked_measures[:1]:
        for pair in results.pairs:
            for rank, row in enumerate(ranking(results, pair, measure)):
                ranks[row.method].append(rank)
    return by_mean(ranks)


Marks = Mapping[tuple[str, Measure], Mapping[str, Mapping[str, float]]]


def reference_marks(results: Results, rows: Mapping[Pair, str]) -> Marks:
    """The scores of teacher and start by kind, then by student, for each panel."""
    marks: dict[tuple[str, Measure], dict[str, dict[str, float]]] = {}
    for pair, title in rows.items():
        for measure in results.ranked_measures:
            for row, mean in results.means_by_row(results.references[pair], measure).items():
                is_held = row.kind != "teacher" or results.is_held_against_teacher(pair, measure)
                if row.kind in REFERENCES and is_held:
                    of_panel = marks.setdefault((title, measure), {})
                    of_panel.setdefault(row.kind, {})[pair.student] = mean.value
    return marks


def _mark_references(panel: Panel[str, Measure], marks: Marks, colours: Mapping[str, str]) -> None:
    """Marks teacher and start on the upper edge, a start in the colour of its student if known."""
    axes, (low, high) = panel.axes, panel.axes.get_xlim()
    for kind, values in marks.get((panel.row, panel.column), {}).items():
        for student, value in values.items():
            if low <= value <= high:
                axes.plot(
                    value,
                    1.0,
                    marker="v",
                    markersize=5,
                    color=colours.get(student, INK) if kind == "start" else INK,
                    markerfacecolor=REFERENCES[kind],
                    transform=axes.get_xaxis_transform(),
                    clip_on=False,
                )


def scores_by_teacher_size(comparisons: Comparisons) -> Plot | None:
    """A line for each method over its teachers' sizes; None where no student has two of them."""
    results = comparisons.results
    known = [pair for pair in results.pairs if pair.teacher in results.sizes]
    by_student: dict[str, list[Pair]] = {}
    for pair in sorted(known, key=lambda pair: results.sizes[pair.teacher]):
        by_student.setdefault(pair.student, []).append(pair)
    several = {student: pairs for student, pairs in by_student.items() if len(pairs) > 1}
    if not several:
        return None
    styles = styles_of(results)

    def draw(panel: Panel[str, Measure]) -> None:
        """Draws a line for each method over the teachers of a student."""
        axes, pairs = panel.axes, several[panel.row]
        for number, (method, style) in enumerate(styles.items()):
            shift = APART * (number / max(1, len(styles) - 1) - 0.5)
            estimates = {
                place + shift: estimate_of(comparisons, row, panel.column)
                for place, pair in enumerate(pairs)
                for row in results.means_by_row(results.methods[pair], panel.column)
                if row.method == method
            }
            draw_line(axes, list(estimates), [each.value for each in estimates.values()], style)
            for x, each in estimates.items():
                axes.plot(
                    (x, x), (each.low, each.high), color=style.colour, linewidth=0.8, alpha=0.7
                )
        _name_teachers(axes, pairs, results.sizes)
        axes.set_ylabel(panel.column.detail)

    return multiples_plot(
        "scores_by_teacher_size",
        "Score against teacher size",
        "Means over training seeds with 95 % intervals; methods at the same teacher are drawn side "
        "by side. Scores don't begin at zero.",
        draw,
        {student: f"Student {results.sized_student(student)}" for student in several},
        {measure: measure.heading for measure in results.primary_measures},
        1.5,
        legend=lambda: handles_of(styles),
    )


def _name_teachers(axes: Axes, pairs: Sequence[Pair], sizes: Mapping[str, int]) -> None:
    axes.margins(x=0.15)
    axes.xaxis.set_major_locator(FixedLocator(range(len(pairs))))
    axes.xaxis.set_minor_locator(NullLocator())
    names = [f"{pair.teacher}\n{amount(sizes[pair.teacher])}" for pair in pairs]
    if len(names) > SIDE_BY_SIDE:
        names[1::2] = [f"\n\n{name}" for name in names[1::2]]
    axes.set_xticklabels(names)
    axes.yaxis.set_major_locator(MaxNLocator(4))

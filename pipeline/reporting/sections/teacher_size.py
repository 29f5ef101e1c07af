"""Table and figure of the effect of a larger teacher, method by method."""

from collections import Counter
from collections.abc import Mapping, Sequence

from pipeline.reporting.analysis.findings import Comparisons, Difference
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results
from pipeline.reporting.render.figures import (
    FAINT,
    INK,
    Panel,
    Plot,
    Style,
    draw_interval,
    label_lines,
    small_multiples,
    styles_of,
)
from pipeline.reporting.render.table import Cell, Group, Heading, Table, number_cell, text_cell
from pipeline.reporting.render.units import p_text, sized

CAPTION = (
    "A student under the larger teacher minus the same under the smaller one, paired over "
    "shared seeds and items; with one seed, of these checkpoints only. A measure that is relative "
    "to the teacher can't be compared. p after Holm over the table's rows of a measure, and "
    "intervals that are corrected to agree with it. Worse: the larger teacher gives the worse "
    "student, p < 0.05."
)
HEADINGS = (
    Heading("Method", numeric=False),
    Heading("Measure", numeric=False),
    Heading("Smaller", "teacher", numeric=False),
    Heading("Larger", "teacher", numeric=False),
    Heading("Seeds"),
    Heading("Difference"),
    Heading("Low", "95 % corrected"),
    Heading("High", "95 % corrected"),
    Heading("p"),
    Heading("p", "Holm"),
    Heading("Larger is", numeric=False),
)


def teacher_size_table(
    comparisons: Comparisons, results: Results, sizes: Mapping[str, int]
) -> Table | None:
    """A row for each method, measure and two teachers; None where there are no two."""
    if not comparisons.teacher_size_effects:
        return None
    students = dict.fromkeys(pair.student for pair in results.pairs)
    return Table(
        name="teacher_size",
        caption=f"{_counted(comparisons.teacher_size_effects)} {CAPTION}",
        group_headings=("Student",),
        headings=HEADINGS,
        groups=tuple(
            Group(f"Student {sized(student, sizes)}", (student,), (), rows)
            for student in students
            if (rows := _rows(comparisons, student))
        ),
    )


def _counted(effects: Sequence[Difference]) -> str:
    """How often a larger teacher gives a better or a worse student."""
    counts = Counter(map(verdict_of, effects))
    return (
        f"Of {len(effects)} comparisons, the larger teacher gives the worse student in "
        f"{counts['worse']}, the better one in {counts['better']}."
    )


def _rows(comparisons: Comparisons, student: str) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        (
            text_cell(effect.second.label),
            Cell(f"{effect.measure.heading}, {effect.measure.task}", effect.measure.key),
            text_cell(effect.second.teacher),
            text_cell(effect.first.teacher),
            number_cell(effect.seed_count, str),
            number_cell(effect.value, effect.measure.format),
            number_cell(effect.interval.low, effect.measure.format),
            number_cell(effect.interval.high, effect.measure.format),
            number_cell(effect.p_value, p_text),
            number_cell(effect.adjusted_p_value, p_text),
            text_cell(verdict_of(effect)),
        )
        for effect in comparisons.teacher_size_effects
        if effect.second.student == student
    )


def verdict_of(effect: Difference) -> str:
    """The larger teacher's significant effect, if any."""
    if effect.first_is_worse:
        return "worse"
    return "better" if effect.significantly_different else "no significant difference"


def teacher_size_plot(
    comparisons: Comparisons, results: Results, sizes: Mapping[str, int]
) -> Plot | None:
    """A line for each method and two teachers, a panel for each measure of each student."""
    effects = [
        effect
        for effect in comparisons.teacher_size_effects
        if {Pair(row.teacher, row.student) for row in (effect.first, effect.second)}
        <= set(results.pairs)
    ]
    if not effects:
        return None
    lines = list(dict.fromkeys(map(_line_of, effects)))
    rows = {
        effect.second.student: f"student\n{sized(effect.second.student, sizes)}"
        for effect in effects
    }
    columns = {effect.measure: effect.measure.heading for effect in effects}
    figure, panels = small_multiples(rows, columns, 0.8 + 0.17 * len(lines))
    for panel in panels:
        here = [
            effect
            for effect in effects
            if (effect.second.student, effect.measure) == (panel.row, panel.column)
        ]
        _draw_effects(panel, here, lines, styles_of(results.labels))
        panel.axes.set_xlabel(panel.column.detail)
    return Plot(
        "teacher_size",
        "Effect of a larger teacher",
        "The student's score under the larger teacher minus its score under the smaller one, with "
        "95 % intervals over seeds and items (items alone where there is one seed). Filled: "
        "significantly different from zero after Holm; the shaded side is the worse one.",
        figure,
    )


def _line_of(effect: Difference) -> str:
    return f"{effect.second.label}: {effect.second.teacher} → {effect.first.teacher}"


def _draw_effects(
    panel: Panel[str, Measure],
    effects: Sequence[Difference],
    lines: Sequence[str],
    styles: Mapping[str, Style],
) -> None:
    axes = panel.axes
    for effect in effects:
        colour = styles[effect.second.label].colour
        ends = effect.interval.low, effect.interval.high
        face = colour if effect.significantly_different else "white"
        draw_interval(axes, lines.index(_line_of(effect)), effect.value, ends, colour, face)
    axes.axvline(0, color=INK, linestyle="--", linewidth=0.8)
    low, high = axes.get_xlim()
    label_lines(panel, lines)
    worse = (low, 0) if panel.column.metric.higher_is_better else (0, high)
    axes.axvspan(*worse, color=FAINT, alpha=0.5, linewidth=0, zorder=0)
    axes.set_xlim(low, high)

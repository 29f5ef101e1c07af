"""Table and plot of what a larger teacher changes, method by method."""

from collections import Counter
from collections.abc import Mapping, Sequence

from matplotlib.ticker import MaxNLocator

from pipeline.reporting.analysis.findings import Comparisons, TeacherSizeEffect
from pipeline.reporting.analysis.scores import Results
from pipeline.reporting.render.plot_style import (
    FAINT,
    INK,
    Look,
    Panel,
    Plot,
    looks_of,
    measure_panels,
)
from pipeline.reporting.render.table import Cell, Group, Heading, Table, p_text, sized

CAPTION = (
    "A student under the larger teacher minus the same under the smaller one, paired over "
    "seeds and items; a measure that is relative to the teacher can't be compared. Seeds "
    "that both have; with one, of these checkpoints only. p after Holm over the table's "
    "rows of a measure, and intervals that are corrected to agree with it. Poorer: the larger "
    "teacher gives the poorer student, p < 0.05."
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


def step_table(
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
            if (rows := _step_rows(comparisons, student))
        ),
    )


def _counted(steps: Sequence[TeacherSizeEffect]) -> str:
    """How often a larger teacher made what difference."""
    counts = Counter(map(verdict_of, steps))
    return (
        f"Of {len(steps)} comparisons, the larger teacher gives the poorer student in "
        f"{counts['poorer']}, the better one in {counts['better']}."
    )


def _step_rows(comparisons: Comparisons, student: str) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        _step_row(step)
        for step in comparisons.teacher_size_effects
        if step.smaller.student == student
    )


def _step_row(step: TeacherSizeEffect) -> tuple[Cell, ...]:
    text = step.measure.format
    verdict = verdict_of(step)
    return (
        Cell(step.smaller.label, step.smaller.label),
        Cell(f"{step.measure.heading}, {step.measure.task}", step.measure.key),
        Cell(step.smaller.teacher, step.smaller.teacher),
        Cell(step.larger.teacher, step.larger.teacher),
        Cell(str(step.seed_count), step.seed_count),
        Cell(text(step.value), step.value),
        Cell(text(step.interval.low), step.interval.low),
        Cell(text(step.interval.high), step.interval.high),
        Cell(p_text(step.p_value), step.p_value),
        Cell(p_text(step.adjusted_p_value), step.adjusted_p_value),
        Cell(verdict, verdict),
    )


def verdict_of(step: TeacherSizeEffect) -> str:
    """What may be claimed of the larger teacher."""
    if step.significantly_worse:
        return "poorer"
    return "better" if step.significantly_different else "not told apart"


def step_plot(comparisons: Comparisons, results: Results, sizes: Mapping[str, int]) -> Plot | None:
    """A line for each method and two teachers, a panel for each measure of each student."""
    steps = [
        one
        for one in comparisons.teacher_size_effects
        if {one.smaller_pair, one.larger_pair} <= set(results.pairs)
    ]
    if not steps:
        return None
    students = list(dict.fromkeys(step.smaller.student for step in steps))
    measures = list(dict.fromkeys(step.measure for step in steps))
    lines = list(dict.fromkeys(map(_line_of, steps)))
    figure, panels = measure_panels(students, measures, 0.8 + 0.17 * len(lines), legend=0.0)
    looks = looks_of(results.labels)
    for panel in panels:
        here = [
            one for one in steps if (one.smaller.student, one.measure) == (panel.key, panel.measure)
        ]
        _step_panel(panel, here, lines, looks)
        if panel.first:
            panel.axis.set_ylabel(f"student {sized(panel.key, sizes)}")
    return Plot(
        "teacher_size",
        "What a larger teacher changes",
        "The student's score under the larger teacher minus its score under the smaller one, with "
        "95 % intervals over seeds and items (items alone where there is one seed). Filled: told "
        "apart from zero after Holm; the shaded side is the poorer one.",
        figure,
    )


def _line_of(step: TeacherSizeEffect) -> str:
    return f"{step.smaller.label}: {step.smaller.teacher} → {step.larger.teacher}"


def _step_panel(
    panel: Panel[str],
    steps: Sequence[TeacherSizeEffect],
    lines: list[str],
    looks: Mapping[str, Look],
) -> None:
    axis = panel.axis
    for step in steps:
        height, colour = lines.index(_line_of(step)), looks[step.smaller.label].colour
        ends = [step.interval.low, step.interval.high]
        axis.plot(ends, [height, height], color=colour, linewidth=1.4, alpha=0.7)
        face = colour if step.significantly_different else "white"
        axis.plot(
            step.value, height, marker="o", markersize=4.5, color=colour, markerfacecolor=face
        )
    axis.axvline(0, color=INK, linestyle="--", linewidth=0.8)
    low, high = axis.get_xlim()
    poorer = (low, 0) if panel.measure.metric.higher_is_better else (0, high)
    axis.axvspan(*poorer, color=FAINT, alpha=0.5, linewidth=0, zorder=0)
    axis.set_xlim(low, high)
    axis.set_ylim(len(lines) - 0.5, -0.5)
    axis.set_yticks(range(len(lines)), lines if panel.first else [""] * len(lines))
    axis.tick_params(axis="y", length=0)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.set_title(panel.measure.heading)
    axis.set_xlabel(panel.measure.detail)

"""Table of the effect of a larger teacher, method by method."""

from collections import Counter
from collections.abc import Mapping, Sequence

from pipeline.reporting.analysis.findings import Comparisons, Difference
from pipeline.reporting.analysis.scores import Results
from pipeline.reporting.render.table import Cell, Group, Heading, Table, text_cell
from pipeline.reporting.render.units import sized
from pipeline.reporting.sections.difference_tables import TESTED, difference_data, tested_cells

CAPTION = (
    "A student under the larger teacher minus the same under the smaller one, paired over "
    "shared seeds and items; with one seed, of these checkpoints only. A measure that is relative "
    "to the teacher can't be compared. p after Holm over the table's rows of a measure, and "
    "intervals that are corrected to agree with it. Better, worse: the student under the larger "
    "teacher is, p (Holm) < 0.05."
)
HEADINGS = (
    Heading("Method", numeric=False),
    Heading("Measure", numeric=False),
    Heading("Smaller", "teacher", numeric=False),
    Heading("Larger", "teacher", numeric=False),
    *TESTED,
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
        data=difference_data(comparisons.teacher_size_effects),
    )


def _counted(effects: Sequence[Difference]) -> str:
    """How often a larger teacher gives a better or a worse student."""
    counts = Counter(map(verdict_of, effects))
    return (
        f"Of {len(effects)} comparisons, the student under the larger teacher is significantly "
        f"better in {counts['better']}, significantly worse in {counts['worse']}."
    )


def _rows(comparisons: Comparisons, student: str) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        (
            text_cell(effect.second.label),
            text_cell(f"{effect.measure.heading}, {effect.measure.task}"),
            text_cell(effect.second.teacher),
            text_cell(effect.first.teacher),
            *tested_cells(effect),
            text_cell(verdict_of(effect)),
        )
        for effect in comparisons.teacher_size_effects
        if effect.second.student == student
    )


def verdict_of(effect: Difference) -> str:
    """The larger teacher's significant effect, or why none is claimed."""
    return effect.why_no_claim or ("worse" if effect.first_is_worse else "better")

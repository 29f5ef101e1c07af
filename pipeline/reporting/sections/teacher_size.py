"""Whether a larger teacher makes a better student, method by method."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from matplotlib.ticker import MaxNLocator

from pipeline.reporting.analysis.differences import Runs, runs_of, stacked
from pipeline.reporting.analysis.findings import Comparisons, TeacherStep, interval_of_difference
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
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
from pipeline.statistics import bootstrap, copies
from pipeline.statistics.bootstrap import Estimates
from pipeline.statistics.items import products
from pipeline.statistics.multiplicity import LEVEL, family
from pipeline.statistics.tests import sign_flips

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


@dataclass(frozen=True)
class Step:
    """Methods under two teachers, before their tests: those that share training seeds."""

    smaller: tuple[Row, ...]
    larger: tuple[Row, ...]
    seeds: tuple[int, ...]
    estimates: Estimates  # larger − smaller
    classes: np.ndarray  # equal for methods that are one method told twice
    units: np.ndarray  # [2 methods, items]: the smaller's, then the larger's


def teacher_steps(results: Results, sizes: Mapping[str, int]) -> tuple[TeacherStep, ...]:
    """Each method under every two teachers of different size, where it has a seed with both.

    A measure that is relative to the teacher isn't compared between teachers, nor is a student
    that needs no teacher. The tests of a measure are one family.
    """
    found: list[TeacherStep] = []
    for measure in results.judged:
        if measure.metric.relative:
            continue
        steps = list(_steps(results, sizes, measure))
        if steps:
            found += _judged(steps, measure)
    return tuple(found)


def _steps(results: Results, sizes: Mapping[str, int], measure: Measure) -> Iterator[Step]:
    for smaller, larger in _teacher_pairs(results, sizes):
        runs = [
            {row.method: (row, by_seed) for row, by_seed in runs.items()}
            for pair in (smaller, larger)
            for runs in [runs_of(results, results.methods[pair], measure)]
        ]
        by_seeds: dict[tuple[int, ...], list[str]] = {}
        for method in [name for name in runs[0] if name in runs[1]]:
            small, large = runs[0][method][1], runs[1][method][1]
            shared = tuple(sorted(set(small) & set(large)))
            if shared and small[shared[0]] is not large[shared[0]]:
                by_seeds.setdefault(shared, []).append(method)
        for seeds, methods in by_seeds.items():
            rows = [tuple(of_teacher[name][0] for name in methods) for of_teacher in runs]
            found = _step({**dict(runs[0].values()), **dict(runs[1].values())}, *rows, seeds)
            if found:
                yield found


def _teacher_pairs(results: Results, sizes: Mapping[str, int]) -> Iterator[tuple[Pair, Pair]]:
    known = [pair for pair in results.pairs if pair.teacher in sizes]
    for one, other in combinations(sorted(known, key=lambda pair: sizes[pair.teacher]), 2):
        if one.student == other.student and sizes[one.teacher] < sizes[other.teacher]:
            yield one, other


def _step(
    runs: Runs, smaller: tuple[Row, ...], larger: tuple[Row, ...], seeds: tuple[int, ...]
) -> Step | None:
    """None for a single item."""
    items = stacked(runs, [*smaller, *larger], seeds)
    if items.shares.shape[-1] == 1:
        return None
    half = len(smaller)
    moved = items.scores[half:] - items.scores[:half]
    sums = products(items.influences[half:] - items.influences[:half])
    units = items.around(items.scores.mean()).mean(axis=1)
    estimates = bootstrap.of_methods(moved, sums)
    return Step(smaller, larger, seeds, estimates, copies.copies(moved, sums), units)


def _judged(steps: Sequence[Step], measure: Measure) -> Iterator[TeacherStep]:
    """The steps of a measure, corrected for each other."""
    p_values = [_p_values(step) for step in steps]
    starts = np.cumsum([0, *map(len, p_values)])
    kinds = [step.classes + start for step, start in zip(steps, starts[:-1], strict=True)]
    of_all = family(np.concatenate(p_values), np.concatenate(kinds))
    for step, ps, held in zip(
        steps, p_values, np.split(of_all.adjusted, starts[1:-1]), strict=True
    ):
        yield from _named(step, measure, of_all.level, ps, held)


def _p_values(step: Step) -> np.ndarray:
    p_values = step.estimates.p_values()
    if len(step.seeds) > 1:
        return p_values
    places = np.arange(len(step.smaller))
    return np.maximum(p_values, sign_flips(step.units, places + len(step.smaller), places))


def _named(
    step: Step, measure: Measure, level: float, p_values: np.ndarray, adjusted: np.ndarray
) -> Iterator[TeacherStep]:
    halves = step.estimates.half_widths(level)
    for place, (smaller, larger) in enumerate(zip(step.smaller, step.larger, strict=True)):
        value, half = float(step.estimates.values[place]), float(halves[place])
        held = float(adjusted[place])
        yield TeacherStep(
            measure=measure,
            smaller=smaller,
            larger=larger,
            seeds=len(step.seeds),
            value=value,
            interval=interval_of_difference(measure, value, half, level=held >= LEVEL),
            p_value=float(p_values[place]),
            adjusted=held,
        )


def step_table(
    comparisons: Comparisons, results: Results, sizes: Mapping[str, int]
) -> Table | None:
    """A row for each method, measure and two teachers; None where there are no two."""
    if not comparisons.steps:
        return None
    students = dict.fromkeys(pair.student for pair in results.pairs)
    return Table(
        name="teacher_size",
        caption=f"{_counted(comparisons.steps)} {CAPTION}",
        group_headings=("Student",),
        headings=HEADINGS,
        groups=tuple(
            Group(f"Student {sized(student, sizes)}", (student,), (), rows)
            for student in students
            if (rows := _step_rows(comparisons, student))
        ),
    )


def _counted(steps: Sequence[TeacherStep]) -> str:
    """How often a larger teacher made what difference."""
    counts = Counter(map(verdict_of, steps))
    return (
        f"Of {len(steps)} comparisons, the larger teacher gives the poorer student in "
        f"{counts['poorer']}, the better one in {counts['better']}."
    )


def _step_rows(comparisons: Comparisons, student: str) -> tuple[tuple[Cell, ...], ...]:
    return tuple(_step_row(step) for step in comparisons.steps if step.smaller.student == student)


def _step_row(step: TeacherStep) -> tuple[Cell, ...]:
    text = step.measure.text
    verdict = verdict_of(step)
    return (
        Cell(step.smaller.label, step.smaller.label),
        Cell(f"{step.measure.heading}, {step.measure.task}", step.measure.key),
        Cell(step.smaller.teacher, step.smaller.teacher),
        Cell(step.larger.teacher, step.larger.teacher),
        Cell(str(step.seeds), step.seeds),
        Cell(text(step.value), step.value),
        Cell(text(step.interval.low), step.interval.low),
        Cell(text(step.interval.high), step.interval.high),
        Cell(p_text(step.p_value), step.p_value),
        Cell(p_text(step.adjusted), step.adjusted),
        Cell(verdict, verdict),
    )


def verdict_of(step: TeacherStep) -> str:
    """What may be claimed of the larger teacher."""
    if step.poorer:
        return "poorer"
    return "better" if step.apart else "not told apart"


def step_plot(comparisons: Comparisons, results: Results, sizes: Mapping[str, int]) -> Plot | None:
    """A line for each method and two teachers, a panel for each measure of each student."""
    steps = [one for one in comparisons.steps if {one.before, one.after} <= set(results.pairs)]
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


def _line_of(step: TeacherStep) -> str:
    return f"{step.smaller.label}: {step.smaller.teacher} → {step.larger.teacher}"


def _step_panel(
    panel: Panel[str], steps: Sequence[TeacherStep], lines: list[str], looks: Mapping[str, Look]
) -> None:
    axis = panel.axis
    for step in steps:
        height, colour = lines.index(_line_of(step)), looks[step.smaller.label].colour
        ends = [step.interval.low, step.interval.high]
        axis.plot(ends, [height, height], color=colour, linewidth=1.4, alpha=0.7)
        face = colour if step.apart else "white"
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

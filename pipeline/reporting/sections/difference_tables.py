"""Tables of differences between methods, and of the smallest detectable ones."""

from collections.abc import Callable, Iterator, Mapping

from pipeline.reporting.analysis.findings import Comparisons, Difference
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results
from pipeline.reporting.render.table import (
    MISSING,
    Cell,
    Group,
    Heading,
    Table,
    method_cell,
    number_cell,
)
from pipeline.reporting.render.units import p_text, pair_title

ABOUT_DIFFERENCES = (
    "All pairs of methods under the same teacher and student, paired over training seeds and "
    "items. With one seed all columns are of these checkpoints; with more, p is of the "
    "methods, and the last p, of sign flips over items, of these checkpoints. Effect: in "
    "standard deviations of the items' differences. Holm: over all rows of a measure. "
    "Intervals are corrected for as many comparisons as Holm leaves unrejected, so that they "
    "exclude zero where p (Holm) < 0.05, and clipped to the scale. Better: the better "
    "method where p (Holm) < 0.05. Copies: practically equal in every seed and item, not tested, "
    "and their other rows count once; their interval is of one comparison. "
    f"{MISSING}: not tested, or not defined."
)
ABOUT_DETECTABLE = (
    "The smallest true difference between two methods that a grid like this one detects with 80 % "
    "power (two-sided, 5 %), for the median standard error of each teacher's and student's "
    "comparisons: of a single test, and after Holm, as the least certain comparison of the family. "
    "With one seed, between checkpoints. None: larger than the scale."
)
DIFFERENCES = (
    Heading("Measure", numeric=False),
    Heading("Method", numeric=False),
    Heading("minus", numeric=False),
    Heading("Seeds"),
    Heading("Difference"),
    Heading("Low", "95 % corrected"),
    Heading("High", "95 % corrected"),
    Heading("Effect", "d of items"),
    Heading("p"),
    Heading("p", "Holm"),
    Heading("p", "these checkpoints"),
    Heading("Better", numeric=False),
)


def differences_table(
    comparisons: Comparisons, results: Results, sizes: Mapping[str, int]
) -> Table | None:
    """All pairs of methods of every teacher and student; None where there are no two methods."""
    if not comparisons.differences:
        return None
    return Table(
        name="differences",
        caption=ABOUT_DIFFERENCES,
        group_headings=("Teacher", "Student"),
        headings=DIFFERENCES,
        groups=tuple(
            Group(
                pair_title(pair, sizes),
                (pair.teacher, pair.student),
                (),
                tuple(_rows(comparisons, results, pair)),
            )
            for pair in results.pairs
        ),
    )


def _rows(comparisons: Comparisons, results: Results, pair: Pair) -> Iterator[tuple[Cell, ...]]:
    for measure in results.ranked_measures:
        for one in comparisons.differences.get((pair, measure), ()):
            yield _row(one, measure)


def _row(one: Difference, measure: Measure) -> tuple[Cell, ...]:
    better = _better(one)
    return (
        Cell(f"{measure.heading}, {measure.task}", measure.key),
        method_cell(one.first),
        method_cell(one.second),
        Cell(str(one.seed_count), one.seed_count),
        number_cell(one.value, measure.format),
        number_cell(one.interval.low, measure.format),
        number_cell(one.interval.high, measure.format),
        _optional_cell(one.effect_size, "{:.2f}".format),
        Cell(p_text(one.p_value), one.p_value),
        _optional_cell(one.adjusted_p_value, p_text),
        Cell(p_text(one.checkpoint_p_value), one.checkpoint_p_value),
        Cell(better, better),
    )


def _optional_cell(value: float | None, text: Callable[[float], str]) -> Cell:
    return Cell(MISSING) if value is None else Cell(text(value), value)


def _better(one: Difference) -> str:
    if one.is_copy:
        return "copies"
    if one.adjusted_p_value is None:
        return "not tested"
    if not one.significantly_different:
        return "no significant difference"
    first = (one.value > 0) == one.measure.metric.higher_is_better
    return (one.first if first else one.second).label


def detectable_table(
    comparisons: Comparisons, results: Results, sizes: Mapping[str, int]
) -> Table | None:
    """The smallest differences that each cell can be expected to detect; None where none is."""
    if not comparisons.detectable:
        return None
    return Table(
        name="detectable",
        caption=ABOUT_DETECTABLE,
        group_headings=("Teacher", "Student"),
        headings=(
            Heading("Measure", numeric=False),
            Heading("Seeds"),
            Heading("Detectable", "single test"),
            Heading("Detectable", "after Holm"),
        ),
        groups=tuple(
            Group(pair_title(pair, sizes), (pair.teacher, pair.student), (), rows)
            for pair in results.pairs
            if (rows := tuple(_detectable_rows(comparisons, results, pair)))
        ),
    )


def _detectable_rows(
    comparisons: Comparisons, results: Results, pair: Pair
) -> Iterator[tuple[Cell, ...]]:
    for measure in results.ranked_measures:
        if smallest := comparisons.detectable.get((pair, measure)):
            yield (
                Cell(f"{measure.metric.title}, {measure.detail}", measure.key),
                Cell(str(smallest.seed_count), smallest.seed_count),
                _detectable_cell(measure, smallest.single_test),
                _detectable_cell(measure, smallest.after_holm),
            )


def _detectable_cell(measure: Measure, difference: float) -> Cell:
    """A detectable difference; one beyond the scale is none."""
    if difference > measure.metric.largest_difference:
        return Cell("none", "none")
    return Cell(measure.format(difference), difference)

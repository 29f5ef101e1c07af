"""Tables of differences, and of the differences that could have been found."""

from collections.abc import Iterator, Mapping

from pipeline.reporting.analysis.findings import Comparisons, Difference
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results
from pipeline.reporting.render.table import (
    MISSING,
    Cell,
    Group,
    Heading,
    Table,
    named,
    p_text,
    pair_title,
)

ABOUT_DIFFERENCES = (
    "Every two methods under the same teacher and student, paired over training seeds and "
    "items. With one seed all columns are of these checkpoints; with more, p is of the "
    "methods, and the last p, of sign flips over items, of these checkpoints. Effect: in "
    "standard deviations of the items' differences. Holm: over all rows of a measure. The "
    "intervals are corrected for as many comparisons as Holm leaves unclaimed, so that they leave "
    "out zero where p (Holm) < 0.05, and they end where the scale does. Better: the better "
    "method where p (Holm) < 0.05. Copies: in every seed and item as good as the same, not tested, "
    "and their other rows count once; their interval is of one comparison. "
    f"{MISSING}: not tested, or not defined."
)
ABOUT_RESOLUTION = (
    "The smallest true difference between two methods that a grid like this one finds in "
    "4 of 5 experiments (power 80 %, two-sided, 5 %), with the middle of the standard "
    "errors of each teacher's and student's comparisons: alone, as if it were the only "
    "comparison; together, as the first that Holm's procedure looks at. With one seed, "
    "between checkpoints. None: larger than the scale."
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
    """Every two methods of every teacher and student; None where there are no two."""
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
        named(one.first),
        named(one.second),
        Cell(str(one.seed_count), one.seed_count),
        Cell(measure.format(one.value), one.value),
        Cell(measure.format(one.interval.low), one.interval.low),
        Cell(measure.format(one.interval.high), one.interval.high),
        Cell(MISSING)
        if one.effect_size is None
        else Cell(f"{one.effect_size:.2f}", one.effect_size),
        Cell(p_text(one.p_value), one.p_value),
        Cell(MISSING)
        if one.adjusted_p_value is None
        else Cell(p_text(one.adjusted_p_value), one.adjusted_p_value),
        Cell(p_text(one.checkpoint_p_value), one.checkpoint_p_value),
        Cell(better, better),
    )


def _better(one: Difference) -> str:
    if one.is_copy:
        return "copies"
    if one.adjusted_p_value is None:
        return "not tested"
    if not one.significantly_different:
        return "not told apart"
    first = (one.value > 0) == one.measure.metric.higher_is_better
    return (one.first if first else one.second).label


def resolution_table(
    comparisons: Comparisons, results: Results, sizes: Mapping[str, int]
) -> Table | None:
    """The smallest differences that each cell can be expected to find; None where none is."""
    if not comparisons.detectable:
        return None
    return Table(
        name="resolvable",
        caption=ABOUT_RESOLUTION,
        group_headings=("Teacher", "Student"),
        headings=(
            Heading("Measure", numeric=False),
            Heading("Seeds"),
            Heading("Resolvable", "alone"),
            Heading("Resolvable", "together"),
        ),
        groups=tuple(
            Group(pair_title(pair, sizes), (pair.teacher, pair.student), (), rows)
            for pair in results.pairs
            if (rows := tuple(_resolutions(comparisons, results, pair)))
        ),
    )


def _resolutions(
    comparisons: Comparisons, results: Results, pair: Pair
) -> Iterator[tuple[Cell, ...]]:
    for measure in results.ranked_measures:
        if found := comparisons.detectable.get((pair, measure)):
            yield (
                Cell(f"{measure.metric.title}, {measure.detail}", measure.key),
                Cell(str(found.seed_count), found.seed_count),
                _resolved(measure, found.single_test),
                _resolved(measure, found.after_holm),
            )


def _resolved(measure: Measure, difference: float) -> Cell:
    """A difference that is found; larger than the scale it is none."""
    if difference > measure.metric.largest_difference:
        return Cell("none", "none")
    return Cell(measure.format(difference), difference)

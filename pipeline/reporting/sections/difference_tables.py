"""Tables of differences between methods, and of the smallest detectable ones."""

from collections.abc import Mapping

from pipeline.reporting.analysis.findings import Comparisons, Difference
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Results
from pipeline.reporting.render.table import (
    MISSING,
    Cell,
    Heading,
    Table,
    method_cell,
    number_cell,
    pair_table,
    text_cell,
)
from pipeline.reporting.render.units import p_text

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


DETECTABLE = (
    Heading("Measure", numeric=False),
    Heading("Seeds"),
    Heading("Detectable", "single test"),
    Heading("Detectable", "after Holm"),
)


def differences_table(
    comparisons: Comparisons, results: Results, sizes: Mapping[str, int]
) -> Table | None:
    """All pairs of methods of every teacher and student; None where there are no two methods."""
    rows = {
        pair: [
            _row(difference, measure)
            for measure in results.ranked_measures
            for difference in comparisons.differences.get((pair, measure), ())
        ]
        for pair in results.pairs
    }
    return pair_table("differences", ABOUT_DIFFERENCES, DIFFERENCES, rows, sizes)


def _row(difference: Difference, measure: Measure) -> tuple[Cell, ...]:
    return (
        Cell(f"{measure.heading}, {measure.task}", measure.key),
        method_cell(difference.first),
        method_cell(difference.second),
        number_cell(difference.seed_count, str),
        number_cell(difference.value, measure.format),
        number_cell(difference.interval.low, measure.format),
        number_cell(difference.interval.high, measure.format),
        number_cell(difference.effect_size, "{:.2f}".format),
        number_cell(difference.p_value, p_text),
        number_cell(difference.adjusted_p_value, p_text),
        number_cell(difference.checkpoint_p_value, p_text),
        text_cell(_better(difference)),
    )


def _better(difference: Difference) -> str:
    if difference.is_copy:
        return "copies"
    if difference.adjusted_p_value is None:
        return "not tested"
    if not difference.significantly_different:
        return "no significant difference"
    first = (difference.value > 0) == difference.measure.metric.higher_is_better
    return (difference.first if first else difference.second).label


def detectable_table(
    comparisons: Comparisons, results: Results, sizes: Mapping[str, int]
) -> Table | None:
    """The smallest differences that each cell can be expected to detect; None where none is."""
    rows = {
        pair: [
            (
                Cell(f"{measure.metric.title}, {measure.detail}", measure.key),
                number_cell(smallest.seed_count, str),
                _detectable_cell(measure, smallest.single_test),
                _detectable_cell(measure, smallest.after_holm),
            )
            for measure in results.ranked_measures
            if (smallest := comparisons.detectable.get((pair, measure)))
        ]
        for pair in results.pairs
    }
    return pair_table("detectable", ABOUT_DETECTABLE, DETECTABLE, rows, sizes)


def _detectable_cell(measure: Measure, difference: float) -> Cell:
    """A detectable difference; one beyond the scale is none."""
    if difference > measure.metric.largest_difference:
        return text_cell("none")
    return number_cell(difference, measure.format)

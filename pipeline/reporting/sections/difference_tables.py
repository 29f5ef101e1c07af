"""Tables of differences between methods, and of the smallest detectable ones."""

import math
from collections.abc import Iterable, Iterator, Mapping

import pandas as pd

from pipeline.reporting.analysis.findings import (
    Comparisons,
    Difference,
    MinimumDetectableDifference,
)
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
NUMBERS = (  # of number_cells
    Heading("Seeds"),
    Heading("Difference"),
    Heading("Low", "95 % corrected"),
    Heading("High", "95 % corrected"),
)
TESTED = (*NUMBERS, Heading("p"), Heading("p", "Holm"))  # of tested_cells
DIFFERENCES = (
    Heading("Measure", numeric=False),
    Heading("Method", numeric=False),
    Heading("minus", numeric=False),
    *NUMBERS,
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
    differences = {
        pair: [
            difference
            for measure in results.ranked_measures
            for difference in comparisons.differences.get((pair, measure), ())
        ]
        for pair in results.pairs
    }
    rows = {pair: map(_row, of_pair) for pair, of_pair in differences.items()}
    every = (difference for of_pair in differences.values() for difference in of_pair)
    return pair_table(
        "differences", ABOUT_DIFFERENCES, DIFFERENCES, rows, sizes, difference_data(every)
    )


def _row(difference: Difference) -> tuple[Cell, ...]:
    measure = difference.measure
    better = difference.second if difference.first_is_worse else difference.first
    return (
        text_cell(f"{measure.heading}, {measure.task}"),
        method_cell(difference.first),
        method_cell(difference.second),
        *number_cells(difference),
        number_cell(difference.effect_size, "{:.2f}".format),
        number_cell(difference.p_value, p_text),
        number_cell(difference.adjusted_p_value, p_text),
        number_cell(difference.checkpoint_p_value, p_text),
        text_cell(difference.why_no_claim or better.label),
    )


def number_cells(difference: Difference) -> Iterator[Cell]:
    """Seeds, the difference and its interval."""
    measure, interval = difference.measure, difference.interval
    yield number_cell(difference.seed_count, str)
    yield number_cell(difference.value, measure.format)
    yield from (number_cell(end, measure.format_end) for end in (interval.low, interval.high))


def tested_cells(difference: Difference) -> Iterator[Cell]:
    """Seeds, the difference, its interval and both p-values."""
    yield from number_cells(difference)
    yield number_cell(difference.p_value, p_text)
    yield number_cell(difference.adjusted_p_value, p_text)


def difference_data(differences: Iterable[Difference]) -> pd.DataFrame:
    """A row for each difference of two methods, or of one method under two teachers."""
    return pd.DataFrame(
        {
            "teacher": difference.first.teacher,
            "student": difference.first.student,
            "method": difference.first.method,
            "minus_teacher": difference.second.teacher,
            "minus_method": difference.second.method,
            **difference.measure.columns,
            "value": difference.value,
            "low": difference.interval.low,
            "high": difference.interval.high,
            "low_uncorrected": difference.uncorrected.low,
            "high_uncorrected": difference.uncorrected.high,
            "effect_size": _or_nan(difference.effect_size),
            "p": difference.p_value,
            "p_holm": _or_nan(difference.adjusted_p_value),
            "p_checkpoints": difference.checkpoint_p_value,
            "is_significant": difference.significantly_different,
            "is_copy": difference.is_copy,
            "n_seeds": difference.seed_count,
            "n_items": difference.item_count,
        }
        for difference in differences
    )


def _or_nan(number: float | None) -> float:
    return math.nan if number is None else number


def detectable_table(
    comparisons: Comparisons, results: Results, sizes: Mapping[str, int]
) -> Table | None:
    """The smallest differences that each cell can be expected to detect; None where none is."""
    smallest = {
        (pair, measure): comparisons.detectable[pair, measure]
        for pair in results.pairs
        for measure in results.ranked_measures
        if (pair, measure) in comparisons.detectable
    }
    rows = {
        pair: [_smallest_row(key[1], one) for key, one in smallest.items() if key[0] == pair]
        for pair in results.pairs
    }
    data = pd.DataFrame(
        {
            "teacher": pair.teacher,
            "student": pair.student,
            **measure.columns,
            "single_test": _possible(measure, one.single_test),
            "after_holm": _possible(measure, one.after_holm),
            "n_seeds": one.seed_count,
        }
        for (pair, measure), one in smallest.items()
    )
    return pair_table("detectable", ABOUT_DETECTABLE, DETECTABLE, rows, sizes, data)


def _smallest_row(measure: Measure, smallest: MinimumDetectableDifference) -> tuple[Cell, ...]:
    return (
        text_cell(f"{measure.metric.title}, {measure.detail}"),
        number_cell(smallest.seed_count, str),
        _detectable_cell(measure, smallest.single_test),
        _detectable_cell(measure, smallest.after_holm),
    )


def _possible(measure: Measure, difference: float) -> float:
    """A detectable difference; NaN for one beyond the scale, which is none."""
    return difference if difference <= measure.metric.largest_difference else math.nan


def _detectable_cell(measure: Measure, difference: float) -> Cell:
    possible = _possible(measure, difference)
    return text_cell("none") if math.isnan(possible) else number_cell(possible, measure.format)

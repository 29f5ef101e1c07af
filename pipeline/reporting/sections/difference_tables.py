"""Tables of tests: differences, detectable ones, teachers' sizes, other tasks, and contrasts."""

import math
from collections import Counter
from collections.abc import Iterable

import pandas as pd

from pipeline.reporting.analysis.findings import (
    Comparisons,
    Contrast,
    Difference,
    MinimumDetectableDifference,
    Tested,
)
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Row
from pipeline.reporting.analysis.texts import p_text
from pipeline.reporting.render.table import (
    MISSING,
    Cell,
    Column,
    Heading,
    Table,
    number_cell,
    text_cell,
)

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
    "With one seed, between checkpoints. None: larger than the scale, or so few items and one seed "
    "that no test of them can be significant."
)
ABOUT_TEACHER_SIZES = (
    "A student under the larger teacher minus the same under the smaller one, paired over "
    "shared seeds and items; with one seed, of these checkpoints only. A measure that is relative "
    "to the teacher can't be compared. p after Holm over the table's rows of a measure, and "
    "intervals that are corrected to agree with it. Better, worse: the student under the larger "
    "teacher is, p (Holm) < 0.05."
)
ABOUT_RETENTION = (
    "Tasks of other data than the experiment trains on: students after training minus the "
    "same model before any, paired over items, and over seeds where each has weights of its own; "
    "with one seed, of these checkpoints only. p after Holm over the table's rows of a measure, "
    "and intervals that are corrected to agree with it. Forgotten: worse than before, p (Holm) < "
    "0.05; gained: better."
)
ABOUT_CONTRASTS = (
    "Sums of scores by the weights that the configuration gives, on the training seeds that all "
    "rows of a contrast have, paired over items; a term without a teacher or student is the mean "
    "over all of them. p after Holm over a family's contrasts on a measure, and intervals that are "
    "corrected to agree with it. Claim: above or below zero, p (Holm) < 0.05."
)
NUMBERS: tuple[Column[Tested], ...] = (
    Column.number("Seeds", lambda tested: tested.seed_count),
    Column(Heading("Difference"), lambda tested: number_cell(tested.value, tested.measure.format)),
    Column(Heading("Low", "95 % corrected"), lambda tested: _end(tested, tested.interval.low)),
    Column(Heading("High", "95 % corrected"), lambda tested: _end(tested, tested.interval.high)),
)
P_VALUES: tuple[Column[Tested], ...] = (
    Column.number("p", lambda tested: tested.p_value, p_text),
    Column.number("p", lambda tested: tested.adjusted_p_value, p_text, "Holm"),
)
MEASURE: Column[Difference] = Column.text(
    "Measure", lambda difference: f"{difference.measure.heading}, {difference.measure.task}"
)
FIRST: Column[Difference] = Column.method(lambda difference: difference.first)


def _end(tested: Tested, end: float) -> Cell:
    return number_cell(end, tested.measure.format_end)


def differences_table(comparisons: Comparisons) -> Table | None:
    """All pairs of methods of every teacher and student; None where there are no two methods."""
    results = comparisons.results
    differences = {
        pair: [
            difference
            for measure in results.ranked_measures
            for difference in comparisons.differences.get((pair, measure), ())
        ]
        for pair in results.pairs
    }
    columns: tuple[Column[Difference], ...] = (
        MEASURE,
        FIRST,
        Column.method(lambda difference: difference.second, "minus"),
        *NUMBERS,
        Column.number("Effect", lambda each: each.effect_size, "{:z.2f}".format, "d of items"),
        *P_VALUES,
        Column.number("p", lambda each: each.checkpoint_p_value, p_text, "these checkpoints"),
        Column.text(
            "Better",
            lambda each: (
                each.why_no_claim or (each.second if each.first_is_worse else each.first).method
            ),
        ),
    )
    data = difference_data(difference for of_pair in differences.values() for difference in of_pair)
    return Table.of_pairs("differences", ABOUT_DIFFERENCES, columns, differences, results, data)


def difference_data(differences: Iterable[Difference]) -> pd.DataFrame:
    """A row for each difference of two methods, or of one method under two teachers."""
    return pd.DataFrame(
        {
            "teacher": difference.first.teacher,
            "student": difference.first.student,
            "method": difference.first.method,
            "minus_teacher": difference.second.teacher,
            "minus_method": difference.second.method,
            **_numbers(difference),
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


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _numbers(tested: Tested) -> dict[str, object]:
    return {
        **tested.measure.columns,
        "value": tested.value,
        "low": tested.interval.low,
        "high": tested.interval.high,
        "low_uncorrected": tested.uncorrected.low,
        "high_uncorrected": tested.uncorrected.high,
    }


def detectable_table(comparisons: Comparisons) -> Table | None:
    """The smallest differences that each cell can be expected to detect; None where none is."""
    results = comparisons.results
    smallest = {
        pair: [
            (measure, detectable)
            for measure in results.ranked_measures
            if (detectable := comparisons.detectable.get((pair, measure)))
        ]
        for pair in results.pairs
    }
    columns: tuple[Column[tuple[Measure, MinimumDetectableDifference]], ...] = (
        Column.text("Measure", lambda row: f"{row[0].metric.title}, {row[0].detail}"),
        Column.number("Seeds", lambda row: row[1].seed_count),
        Column(Heading("Detectable", "single test"), lambda row: _size(row[0], row[1].single_test)),
        Column(Heading("Detectable", "after Holm"), lambda row: _size(row[0], row[1].after_holm)),
    )
    data = pd.DataFrame(
        {
            "teacher": pair.teacher,
            "student": pair.student,
            **measure.columns,
            "single_test": _possible(measure, detectable.single_test),
            "after_holm": _possible(measure, detectable.after_holm),
            "n_seeds": detectable.seed_count,
        }
        for pair, of_pair in smallest.items()
        for measure, detectable in of_pair
    )
    return Table.of_pairs("detectable", ABOUT_DETECTABLE, columns, smallest, results, data)


def _possible(measure: Measure, difference: float) -> float:
    """A detectable difference; NaN for one beyond the scale, which is none."""
    return difference if measure.metric.is_possible(difference) else math.nan


def _size(measure: Measure, difference: float) -> Cell:
    possible = _possible(measure, difference)
    return text_cell("none") if math.isnan(possible) else number_cell(possible, measure.format_end)


def teacher_size_table(comparisons: Comparisons) -> Table | None:
    """A row for each method, measure and two teachers; None where there are no two."""
    results, effects = comparisons.results, comparisons.teacher_size_effects
    columns: tuple[Column[Difference], ...] = (
        Column.text("Method", lambda effect: effect.second.method),
        MEASURE,
        Column.text("Smaller", lambda effect: effect.second.teacher, "teacher"),
        Column.text("Larger", lambda effect: effect.first.teacher, "teacher"),
        *NUMBERS,
        *P_VALUES,
        Column.text("Larger is", larger_is),
    )
    students = dict.fromkeys(pair.student for pair in results.pairs)
    items = {
        (name,): [each for each in effects if each.second.student == name] for name in students
    }
    counts = Counter(map(larger_is, effects))
    caption = (
        f"Of {len(effects)} comparisons, the student under the larger teacher is significantly "
        f"better in {counts['better']}, significantly worse in {counts['worse']}. "
        f"{ABOUT_TEACHER_SIZES}"
    )
    data, titled = difference_data(effects), lambda name: f"Student {results.sized_student(name)}"
    return Table.of("teacher_size", caption, columns, items, ("Student",), data, titled)


def larger_is(effect: Difference) -> str:
    """The larger teacher's significant effect, or why none is claimed."""
    return effect.why_no_claim or ("worse" if effect.first_is_worse else "better")


def retention_table(comparisons: Comparisons) -> Table | None:
    """A row for each method and measure of another task; None where there is no such task."""
    results, changes = comparisons.results, comparisons.changes_elsewhere

    def mean_cell(row: Row, measure: Measure) -> Cell:
        return number_cell(results.means[row, measure].value, measure.format)

    columns: tuple[Column[Difference], ...] = (
        FIRST,
        MEASURE,
        Column(Heading("Before"), lambda change: mean_cell(change.second, change.measure)),
        Column(Heading("After"), lambda change: mean_cell(change.first, change.measure)),
        *NUMBERS,
        *P_VALUES,
        Column.text("Result", result_of),
    )
    items = {pair: [each for each in changes if each.first.pair == pair] for pair in results.pairs}
    counts = Counter(map(result_of, changes))
    caption = (
        f"Of {len(changes)} scores, {counts['forgotten']} are significantly worse than before, "
        f"{counts['gained']} better. {ABOUT_RETENTION}"
    )
    return Table.of_pairs("retention", caption, columns, items, results, difference_data(changes))


def result_of(change: Difference) -> str:
    """Whether something was forgotten or gained, or why neither is claimed."""
    return change.why_no_claim or ("forgotten" if change.first_is_worse else "gained")


def contrast_table(comparisons: Comparisons) -> Table | None:
    """A row for each contrast and measure; None where the configuration asks for none."""
    columns: tuple[Column[Contrast], ...] = (
        Column.text("Contrast", lambda contrast: contrast.name),
        Column.text("Is", lambda contrast: contrast.terms),
        Column.text("Measure", lambda each: f"{each.measure.metric.title}, {each.measure.place}"),
        NUMBERS[0],
        Column(Heading("Value"), NUMBERS[1].cell),
        *NUMBERS[2:],
        *P_VALUES,
        Column.text("Claim", _claim),
    )
    contrasts = comparisons.contrasts
    items = {
        (family,): [contrast for contrast in contrasts if contrast.family == family]
        for family in dict.fromkeys(contrast.family for contrast in contrasts)
    }
    data = pd.DataFrame(
        {
            "family": contrast.family,
            "contrast": contrast.name,
            "terms": contrast.terms,
            **_numbers(contrast),
            "se": contrast.standard_error,
            "p": contrast.p_value,
            "p_holm": contrast.adjusted_p_value,
            "is_significant": contrast.significantly_different,
            "n_seeds": contrast.seed_count,
            "n_items": contrast.item_count,
        }
        for contrast in contrasts
    )
    return Table.of("contrasts", ABOUT_CONTRASTS, columns, items, ("Family",), data)


def _claim(contrast: Contrast) -> str:
    if not contrast.significantly_different:
        return "none"
    return "above zero" if contrast.value > 0 else "below zero"

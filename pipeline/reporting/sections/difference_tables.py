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
from pipeline.reporting.analysis.scores import Results, Row
from pipeline.reporting.analysis.texts import p_text
from pipeline.reporting.render.table import (
    MISSING,
    Cell,
    Column,
    Heading,
    Table,
    method_column,
    number_cell,
    number_column,
    pair_table,
    table,
    text_cell,
    text_column,
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
    "With one seed, between checkpoints. None: larger than the scale."
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
    number_column("Seeds", lambda one: one.seed_count),
    Column(Heading("Difference"), lambda one: number_cell(one.value, one.measure.format)),
    Column(Heading("Low", "95 % corrected"), lambda one: _end_cell(one, one.interval.low)),
    Column(Heading("High", "95 % corrected"), lambda one: _end_cell(one, one.interval.high)),
)
P_VALUES: tuple[Column[Tested], ...] = (
    number_column("p", lambda one: one.p_value, p_text),
    number_column("p", lambda one: one.adjusted_p_value, p_text, "Holm"),
)
MEASURE: Column[Difference] = text_column(
    "Measure", lambda one: f"{one.measure.heading}, {one.measure.task}"
)


def _end_cell(one: Tested, end: float) -> Cell:
    return number_cell(end, one.measure.format_end)


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
        method_column(lambda one: one.first),
        method_column(lambda one: one.second, "minus"),
        *NUMBERS,
        number_column("Effect", lambda one: one.effect_size, "{:.2f}".format, "d of items"),
        *P_VALUES,
        number_column("p", lambda one: one.checkpoint_p_value, p_text, "these checkpoints"),
        text_column("Better", _better),
    )
    data = difference_data(one for of_pair in differences.values() for one in of_pair)
    return pair_table("differences", ABOUT_DIFFERENCES, columns, differences, results, data)


def _better(one: Difference) -> str:
    return one.why_no_claim or (one.second if one.first_is_worse else one.first).label


def difference_data(differences: Iterable[Difference]) -> pd.DataFrame:
    """A row for each difference of two methods, or of one method under two teachers."""
    return pd.DataFrame(
        {
            "teacher": one.first.teacher,
            "student": one.first.student,
            "method": one.first.method,
            "minus_teacher": one.second.teacher,
            "minus_method": one.second.method,
            **_numbers(one),
            "effect_size": math.nan if one.effect_size is None else one.effect_size,
            "p": one.p_value,
            "p_holm": math.nan if one.adjusted_p_value is None else one.adjusted_p_value,
            "p_checkpoints": one.checkpoint_p_value,
            "is_significant": one.significantly_different,
            "is_copy": one.is_copy,
            "n_seeds": one.seed_count,
            "n_items": one.item_count,
        }
        for one in differences
    )


def _numbers(one: Tested) -> dict[str, object]:
    return {
        **one.measure.columns,
        "value": one.value,
        "low": one.interval.low,
        "high": one.interval.high,
        "low_uncorrected": one.uncorrected.low,
        "high_uncorrected": one.uncorrected.high,
    }


def detectable_table(comparisons: Comparisons) -> Table | None:
    """The smallest differences that each cell can be expected to detect; None where none is."""
    results = comparisons.results
    smallest = {
        pair: [
            (measure, comparisons.detectable[pair, measure])
            for measure in results.ranked_measures
            if (pair, measure) in comparisons.detectable
        ]
        for pair in results.pairs
    }
    columns: tuple[Column[tuple[Measure, MinimumDetectableDifference]], ...] = (
        text_column("Measure", lambda one: f"{one[0].metric.title}, {one[0].detail}"),
        number_column("Seeds", lambda one: one[1].seed_count),
        Column(Heading("Detectable", "single test"), lambda one: _size(one[0], one[1].single_test)),
        Column(Heading("Detectable", "after Holm"), lambda one: _size(one[0], one[1].after_holm)),
    )
    data = pd.DataFrame(
        {
            "teacher": pair.teacher,
            "student": pair.student,
            **measure.columns,
            "single_test": _possible(measure, least.single_test),
            "after_holm": _possible(measure, least.after_holm),
            "n_seeds": least.seed_count,
        }
        for pair, of_pair in smallest.items()
        for measure, least in of_pair
    )
    return pair_table("detectable", ABOUT_DETECTABLE, columns, smallest, results, data)


def _possible(measure: Measure, difference: float) -> float:
    """A detectable difference; NaN for one beyond the scale, which is none."""
    return difference if difference <= measure.metric.largest_difference else math.nan


def _size(measure: Measure, difference: float) -> Cell:
    possible = _possible(measure, difference)
    return text_cell("none") if math.isnan(possible) else number_cell(possible, measure.format)


def teacher_size_table(comparisons: Comparisons) -> Table | None:
    """A row for each method, measure and two teachers; None where there are no two."""
    results, effects = comparisons.results, comparisons.teacher_size_effects
    columns: tuple[Column[Difference], ...] = (
        text_column("Method", lambda one: one.second.label),
        MEASURE,
        text_column("Smaller", lambda one: one.second.teacher, "teacher"),
        text_column("Larger", lambda one: one.first.teacher, "teacher"),
        *NUMBERS,
        *P_VALUES,
        text_column("Larger is", larger_is),
    )
    students = dict.fromkeys(pair.student for pair in results.pairs)
    items = {(name,): [one for one in effects if one.second.student == name] for name in students}
    counts = Counter(map(larger_is, effects))
    caption = (
        f"Of {len(effects)} comparisons, the student under the larger teacher is significantly "
        f"better in {counts['better']}, significantly worse in {counts['worse']}. "
        f"{ABOUT_TEACHER_SIZES}"
    )
    return table(
        "teacher_size",
        caption,
        columns,
        items,
        ("Student",),
        difference_data(effects),
        lambda name: f"Student {results.sized(name)}",
    )


def larger_is(effect: Difference) -> str:
    """The larger teacher's significant effect, or why none is claimed."""
    return effect.why_no_claim or ("worse" if effect.first_is_worse else "better")


def retention_table(comparisons: Comparisons) -> Table | None:
    """A row for each method and measure of another task; None where there is no such task."""
    results, changes = comparisons.results, comparisons.changes_elsewhere
    columns: tuple[Column[Difference], ...] = (
        method_column(lambda one: one.first),
        MEASURE,
        Column(Heading("Before"), lambda one: _mean_cell(results, one.second, one.measure)),
        Column(Heading("After"), lambda one: _mean_cell(results, one.first, one.measure)),
        *NUMBERS,
        *P_VALUES,
        text_column("Result", result_of),
    )
    items = {pair: [one for one in changes if one.first.pair == pair] for pair in results.pairs}
    counts = Counter(map(result_of, changes))
    caption = (
        f"Of {len(changes)} scores, {counts['forgotten']} are significantly worse than before, "
        f"{counts['gained']} better. {ABOUT_RETENTION}"
    )
    return pair_table("retention", caption, columns, items, results, difference_data(changes))


def _mean_cell(results: Results, row: Row, measure: Measure) -> Cell:
    return number_cell(results.means[row, measure].value, measure.format)


def result_of(change: Difference) -> str:
    """Whether something was forgotten or gained, or why neither is claimed."""
    return change.why_no_claim or ("forgotten" if change.first_is_worse else "gained")


def contrast_table(comparisons: Comparisons) -> Table | None:
    """A row for each contrast and measure; None where the configuration asks for none."""
    columns: tuple[Column[Contrast], ...] = (
        text_column("Contrast", lambda one: one.name),
        text_column("Is", lambda one: one.terms),
        text_column("Measure", lambda one: f"{one.measure.metric.title}, {one.measure.place}"),
        NUMBERS[0],
        Column(Heading("Value"), NUMBERS[1].cell),
        *NUMBERS[2:],
        *P_VALUES,
        text_column("Claim", claim),
    )
    contrasts = comparisons.contrasts
    items = {
        (family,): [one for one in contrasts if one.family == family]
        for family in dict.fromkeys(one.family for one in contrasts)
    }
    data = pd.DataFrame(
        {
            "family": one.family,
            "contrast": one.name,
            "terms": one.terms,
            **_numbers(one),
            "se": one.standard_error,
            "p": one.p_value,
            "p_holm": one.adjusted_p_value,
            "is_significant": one.significantly_different,
            "n_seeds": one.seed_count,
            "n_items": one.item_count,
        }
        for one in contrasts
    )
    return table("contrasts", ABOUT_CONTRASTS, columns, items, ("Family",), data)


def claim(contrast: Contrast) -> str:
    """What the report claims of a contrast."""
    if not contrast.significantly_different:
        return "none"
    return "above zero" if contrast.value > 0 else "below zero"

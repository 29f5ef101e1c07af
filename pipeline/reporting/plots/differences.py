"""Figures of differences: to plain fine-tuning, to the teacher, between teachers, on parts."""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.reporting.analysis.differences import differences_of
from pipeline.reporting.analysis.findings import Comparisons, Difference, minus
from pipeline.reporting.analysis.metrics import Measure, part_title, parts_of
from pipeline.reporting.analysis.texts import counted
from pipeline.reporting.plots.figures import Plot
from pipeline.reporting.plots.intervals import Estimate, by_mean, interval_plot
from pipeline.reporting.plots.looks import COLOURS, Style, numbered_styles, styles_of

FEWEST = 2  # methods beside the baseline: of a single one the main table says as much
PAIRS = 4  # in one panel, at most
MOST_LINES = 60  # of a panel
MOST_ON_PARTS = 8  # methods whose differences on parts are drawn
FILLED = (
    "with 95 % intervals that are corrected for all comparisons of a measure. Filled: significant "
    "after Holm. The shaded side is the better one; an arrow marks an interval that exceeds the "
    "axis."
)


def overview_plot(comparisons: Comparisons) -> Plot | None:
    """Each method minus plain fine-tuning, the best on top; None for fewer than two others."""
    results = comparisons.results
    baseline, measures = comparisons.gap_baseline, results.primary_measures
    differences = {
        (pair, measure): comparisons.to_baseline(pair, measure)
        for pair in results.pairs
        for measure in measures
    }
    known = {pair for (pair, _), of_pair in differences.items() if len(of_pair) >= FEWEST}
    # the largest teacher and the smallest student first; equal pairs stay in the grid's order
    widest_first = sorted(
        known,
        key=lambda pair: (
            -results.sizes.get(pair.teacher, 0),
            results.student_sizes.get(pair.student, 0),
        ),
    )
    shown = widest_first[:PAIRS]
    titles = {pair: pair.short_title for pair in results.pairs if pair in shown}
    several = len(shown) > 1
    estimates = [
        _estimate(each, row="" if several else results.title(pair), series=title * several)
        for measure in measures  # panels stand in the order of the table's columns
        for pair, title in titles.items()
        for each in differences[pair, measure]
    ]
    left_out = len(results.pairs) - len(shown)
    others = f"{counted(left_out, 'more pair')} of teacher and student"
    more = f" {others} {'is' if left_out == 1 else 'are'} in the table." if left_out else ""
    return interval_plot(
        "overview",
        f"Difference to {baseline}",
        f"Each method minus {baseline}, paired over seeds and items, {FILLED}{more}",
        estimates,
        numbered_styles(titles.values()) if several else styles_of(results),
        _best_first(estimates),
        zeros=(0.0,),
        better_side=True,
    )


def _estimate(
    difference: Difference, *, row: str = "", series: str = "", line: str = ""
) -> Estimate:
    name, interval = line or difference.first.method, difference.interval
    ends, filled = (interval.low, interval.high), difference.significantly_different
    return Estimate(row, difference.measure, name, series, difference.value, *ends, filled)


def _best_first(estimates: Sequence[Estimate]) -> list[str]:
    """The lines by the mean of their values on the first measure."""
    values: dict[str, list[float]] = {estimate.line: [] for estimate in estimates}
    for estimate in estimates:
        if estimate.column == estimates[0].column:
            higher = estimate.column.metric.higher_is_better
            values[estimate.line].append(-estimate.value if higher else estimate.value)
    return by_mean(values)


def gap_closed_plot(comparisons: Comparisons) -> Plot | None:
    """Each method's share of the gap to the teacher; None where there is none."""
    results = comparisons.results
    estimates = [
        Estimate(
            results.title(gap.row.pair),
            gap.measure,
            gap.row.method,
            "",
            100 * gap.share,
            100 * gap.interval.low,
            100 * gap.interval.high,
        )
        for gap in comparisons.gaps_closed
        if gap.row.pair in results.pairs
    ]
    return interval_plot(
        "gap_closed",
        "Share of the gap closed",
        f"0 % is {comparisons.gap_baseline}, 100 % the teacher. Bars are 95 % intervals over seeds "
        "and items (items alone where there is one seed), of each share alone: one may exclude "
        "zero where the difference is not significant after Holm. An arrow marks one that exceeds "
        "the axis. Empty: the teacher is not significantly better.",
        estimates,
        styles_of(results),
        results.method_names,
        zeros=(0.0, 100.0),
        unit="% of the gap",
        shared=True,
    )


def teacher_size_plot(comparisons: Comparisons) -> Plot | None:
    """Each method under a larger teacher minus under a smaller one; None without two teachers."""
    results, sizes = comparisons.results, comparisons.results.sizes
    primary, all_effects = results.primary_measures, comparisons.teacher_size_effects
    effects = [effect for effect in all_effects if effect.measure in primary]
    teachers = dict.fromkeys(map(_teachers, effects))
    more = ""
    if len(teachers) * len(results.method_names) > MOST_LINES and len(teachers) > 1:
        farthest = max(teachers, key=lambda pair: sizes[pair[1]] / sizes[pair[0]])
        effects = [effect for effect in effects if _teachers(effect) == farthest]
        more = " Of the teachers, the smallest and the largest; the table has all."
    alone = len(set(map(_teachers, effects))) == 1
    estimates = [
        _estimate(
            effect,
            row=f"Student {results.sized_student(effect.second.student)}"
            + f", teacher {ends}" * alone,
            line=effect.second.method + f": {ends}" * (not alone),
        )
        for effect in effects
        for ends in [" → ".join(_teachers(effect))]
    ]
    lines = list(dict.fromkeys(estimate.line for estimate in estimates))
    return interval_plot(
        "teacher_size",
        "Effect of a larger teacher",
        f"The student's score under the larger teacher minus under the smaller one, {FILLED}{more}",
        estimates,
        dict.fromkeys(lines, Style(COLOURS[0], "o", "-")),
        lines,
        zeros=(0.0,),
        better_side=True,
    )


def _teachers(effect: Difference) -> tuple[str, str]:
    """The smaller and the larger teacher."""
    return effect.second.teacher, effect.first.teacher


def scores_by_part(comparisons: Comparisons) -> Plot | None:
    """Each method minus plain fine-tuning on the parts of a task; None where there are no parts."""
    results, baseline = comparisons.results, comparisons.gap_baseline
    names = {measure.key: measure for measure in results.primary_measures}
    parts = {
        measure: whole
        for measure in results.slice_measures
        if (whole := names.get(Measure(measure.task, measure.metric).key))
    }
    best_first = _best_first(
        [
            _estimate(difference)
            for measure in results.primary_measures[:1]
            for pair in results.pairs
            for difference in comparisons.to_baseline(pair, measure)
        ]
    )
    shown, left_out = best_first[:MOST_ON_PARTS], len(best_first[MOST_ON_PARTS:])
    more = f" The {len(shown)} best methods: {left_out} more are in the table." if left_out else ""
    estimates = [
        replace(_estimate(each, row=results.title(pair), series=method, line=line), column=whole)
        for part, whole in parts.items()
        for line in [part_title(part.slice)]
        for pair, differences in differences_of(results, part, baseline).items()
        for each in minus(baseline, differences)
        if (method := each.first.method) in shown
    ]
    return interval_plot(
        "scores_by_part",
        f"Difference to {baseline} on parts of a task",
        "Parts are of the items, or of their tokens; hard tokens are those that the teacher finds "
        f"no likelier than the median one. Each method minus {baseline}, {FILLED}{more}",
        estimates,
        styles_of(results),
        [part_title(part) for _, part in parts_of(parts)],
        zeros=(0.0,),
        better_side=True,
    )

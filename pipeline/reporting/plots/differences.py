"""Figures of differences: to plain fine-tuning, to the teacher, between teachers, on parts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipeline.reporting.analysis.differences import differences_of
from pipeline.reporting.analysis.findings import Comparisons, Difference, minus
from pipeline.reporting.analysis.metrics import Measure, part_title, parts_of
from pipeline.reporting.analysis.scores import Pair
from pipeline.reporting.analysis.texts import counted
from pipeline.reporting.plots.figures import Plot
from pipeline.reporting.plots.intervals import Estimate, Layout, interval_plot
from pipeline.reporting.plots.looks import COLOURS, Style, numbered_styles, styles_of

FEWEST = 2  # methods beside the baseline: of a single one the main table says as much
PAIRS = 4  # in one panel, at most
MOST_LINES = 60  # of a panel
MOST_ON_PARTS = 8  # methods whose differences on parts are drawn
FILLED = (
    "with 95 % intervals that are corrected for all comparisons of a measure. Filled: significant "
    "after Holm. The shaded side is the better one."
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
    known = {pair for (pair, _), found in differences.items() if len(found) >= FEWEST}
    shown = sorted(known, key=lambda pair: _widest_first(pair, results.sizes))[:PAIRS]
    several = len(shown) > 1
    titles = {pair: pair.short_title for pair in results.pairs if pair in shown}
    estimates = [
        _estimate(one, row="", series=title) if several else _estimate(one, row=results.title(pair))
        for measure in measures  # panels stand in the order of the table's columns
        for pair, title in titles.items()
        for one in differences[pair, measure]
    ]
    left_out = len(results.pairs) - len(shown)
    others = f"{counted(left_out, 'more pair')} of teacher and student"
    more = f" {others} {'is' if left_out == 1 else 'are'} in the table." if left_out else ""
    return interval_plot(
        "overview",
        f"Difference to {baseline}",
        f"Each method minus {baseline}, paired over seeds and items, {FILLED}{more}",
        estimates,
        Layout(
            numbered_styles(list(titles.values())) if several else styles_of(results),
            _best_first(estimates),
            zeros=(0.0,),
            better_side=True,
        ),
    )


def _widest_first(pair: Pair, sizes: Mapping[str, int]) -> tuple[int, int]:
    """Sorts by largest teacher, then smallest student; equal pairs stay in the grid's order."""
    return -sizes.get(pair.teacher, 0), sizes.get(pair.student, 0)


def _estimate(one: Difference, *, row: str = "", series: str = "", line: str = "") -> Estimate:
    return Estimate(
        row,
        one.measure,
        line or one.first.label,
        series,
        one.value,
        one.interval.low,
        one.interval.high,
        one.significantly_different,
    )


def _best_first(estimates: Sequence[Estimate]) -> list[str]:
    """The lines by the mean of their values on the first measure."""
    values: dict[str, list[float]] = {estimate.line: [] for estimate in estimates}
    for estimate in estimates:
        if estimate.column == estimates[0].column:
            higher = estimate.column.metric.higher_is_better
            values[estimate.line].append(-estimate.value if higher else estimate.value)
    means = {line: sum(some) / len(some) for line, some in values.items() if some}
    return sorted(values, key=lambda line: means.get(line, float("inf")))


def gap_closed_plot(comparisons: Comparisons) -> Plot | None:
    """Each method's share of the gap to the teacher; None where there is none."""
    results = comparisons.results
    estimates = [
        Estimate(
            row=results.title(gap.row.pair),
            column=gap.measure,
            line=gap.row.label,
            series="",
            value=100 * gap.share,
            low=100 * gap.interval.low,
            high=100 * gap.interval.high,
        )
        for gap in comparisons.gaps_closed
        if gap.row.pair in results.pairs
    ]
    return interval_plot(
        "gap_closed",
        "Share of the gap closed",
        f"0 % is {comparisons.gap_baseline}, 100 % the teacher. Bars are 95 % intervals over seeds "
        "and items (items alone where there is one seed); an arrow marks one that exceeds the "
        "axis. Empty: the teacher is not significantly better.",
        estimates,
        Layout(
            styles_of(results), results.labels, zeros=(0.0, 100.0), unit="% of the gap", shared=True
        ),
    )


def teacher_size_plot(comparisons: Comparisons) -> Plot | None:
    """Each method under a larger teacher minus under a smaller one; None without two teachers."""
    results, sizes = comparisons.results, comparisons.results.sizes
    effects = [
        effect
        for effect in comparisons.teacher_size_effects
        if effect.measure in results.primary_measures
    ]
    teachers = dict.fromkeys(map(_teachers, effects))
    more = ""
    if len(teachers) * len(results.labels) > MOST_LINES and len(teachers) > 1:
        farthest = max(teachers, key=lambda pair: sizes[pair[1]] / sizes[pair[0]])
        effects = [effect for effect in effects if _teachers(effect) == farthest]
        more = " Of the teachers, the smallest and the largest; the table has all."
    alone = len(set(map(_teachers, effects))) == 1
    estimates = [
        _estimate(
            effect,
            row=f"Student {results.sized(effect.second.student)}"
            + (f", teacher {' → '.join(_teachers(effect))}" if alone else ""),
            line=effect.second.label + ("" if alone else f": {' → '.join(_teachers(effect))}"),
        )
        for effect in effects
    ]
    lines = list(dict.fromkeys(estimate.line for estimate in estimates))
    return interval_plot(
        "teacher_size",
        "Effect of a larger teacher",
        f"The student's score under the larger teacher minus under the smaller one, {FILLED}{more}",
        estimates,
        Layout(
            dict.fromkeys(lines, Style(COLOURS[0], "o", "-")), lines, zeros=(0.0,), better_side=True
        ),
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
    ordered = _best_first(
        [
            _estimate(one)
            for measure in results.primary_measures[:1]
            for pair in results.pairs
            for one in comparisons.to_baseline(pair, measure)
        ]
    )
    shown = ordered[:MOST_ON_PARTS]
    left_out = len(ordered) - len(shown)
    more = f" The {len(shown)} best methods: {left_out} more are in the table." if left_out else ""
    estimates = [
        replace(
            _estimate(
                one, row=results.title(pair), series=one.first.label, line=part_title(part.slice)
            ),
            column=parts[part],
        )
        for part in parts
        for pair, differences in differences_of(results, part, baseline).items()
        for one in minus(baseline, differences)
        if one.first.label in shown
    ]
    return interval_plot(
        "scores_by_part",
        f"Difference to {baseline} on parts of a task",
        "Parts are of the items, or of their tokens; hard tokens are those of which the teacher "
        f"is less certain than of the median one. Each method minus {baseline}, {FILLED}{more}",
        estimates,
        Layout(
            styles_of(results),
            [part_title(part) for _, part in parts_of(parts)],
            zeros=(0.0,),
            better_side=True,
        ),
    )

"""All methods against each other: intervals, differences, letters and detectable differences."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pipeline.reporting.analysis import changes, gap_closed, summary
from pipeline.reporting.analysis.contrasts import contrasts_of
from pipeline.reporting.analysis.differences import differences_of
from pipeline.reporting.analysis.findings import (
    Comparisons,
    Difference,
    Interval,
    MinimumDetectableDifference,
    mean_interval,
)
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.analysis.standings import ranking
from pipeline.settings.report import ReportSettings
from pipeline.statistics import bootstrap
from pipeline.statistics.items import influence_products
from pipeline.statistics.letters import compact_letters
from pipeline.statistics.power import min_detectable_difference
from pipeline.statistics.tests import ALPHA, smallest_p_value

Differences = Mapping[tuple[Pair, Measure], tuple[Difference, ...]]
Detectable = Mapping[tuple[Pair, Measure], MinimumDetectableDifference]


def compare(
    results: Results, settings: ReportSettings, manifests: Mapping[str, Mapping] | None = None
) -> Comparisons:
    """Every two methods of each teacher and student, on each measure with a better direction."""
    differences = {
        (pair, measure): of_pair
        for measure in results.ranked_measures
        for pair, of_pair in differences_of(results, measure).items()
    }
    detectable = detectable_differences(differences)
    trained_on = changes.trained_on(settings.config, manifests or {})
    plain = gap_closed.baseline_of(settings.methods)
    baseline = plain if plain in results.method_names else ""
    return Comparisons(
        results=results,
        intervals=dict(_intervals(results)),
        differences=differences,
        letters=dict(_letters(results, differences)),
        detectable=detectable,
        gap_baseline=baseline,
        gaps_closed=tuple(gap_closed.gaps_closed(results, baseline)),
        teacher_size_effects=changes.teacher_size_effects(results),
        contrasts=contrasts_of(results, settings.contrasts),
        changes_elsewhere=changes.changes_elsewhere(results, trained_on),
        findings=tuple(summary.findings(results, differences, detectable)),
    )


def _intervals(results: Results) -> Iterator[tuple[tuple[Row, Measure], Interval]]:
    """Intervals of all means over more than one item; with one seed, over items alone.

    The variances of methods with the same seeds are pooled, those of references are not.
    """
    for measure in (*results.measures, *results.slice_measures):
        for pair in results.pairs:
            for rows in (results.methods[pair], *((row,) for row in results.references[pair])):
                by_seeds = results.by_seeds(((row,) for row in rows), measure)
                for seeds, pooled in by_seeds.items():
                    yield from _pooled([row for (row,) in pooled], seeds, measure, results)


def _pooled(
    rows: Sequence[Row], seeds: Sequence[int], measure: Measure, results: Results
) -> Iterator[tuple[tuple[Row, Measure], Interval]]:
    items = results.contributions(rows, seeds, measure)
    if items.influences.shape[-1] > 1:
        products = influence_products(items.influences)
        estimates = bootstrap.method_estimates(items.scores, products)
        half_widths = estimates.half_widths()
        for row, mean, half_width in zip(rows, estimates.values, half_widths, strict=True):
            yield (row, measure), mean_interval(measure, float(mean), float(half_width))


def _letters(
    results: Results, differences: Differences
) -> Iterator[tuple[tuple[Row, Measure], str]]:
    for (pair, measure), of_pair in differences.items():
        ordered = ranking(results, pair, measure)
        rank = {row: i for i, row in enumerate(ordered)}
        different = [
            (rank[difference.first], rank[difference.second])
            for difference in of_pair
            if difference.significantly_different
        ]
        for row, text in zip(ordered, compact_letters(len(ordered), different), strict=True):
            yield (row, measure), text


def detectable_differences(differences: Differences) -> Detectable:
    """The minimum detectable difference of each cell, from its differences' median variance."""
    tested = {key: _without_copies(of_pair) for key, of_pair in differences.items()}
    family_sizes = Counter(measure for (_, measure), of_pair in tested.items() for _ in of_pair)
    return {
        (pair, measure): _detectable(of_pair, family_sizes[measure])
        for (pair, measure), of_pair in tested.items()
        if of_pair
    }


def _without_copies(differences: Sequence[Difference]) -> list[Difference]:
    """Tested differences, leaving out rows that are copies of an earlier one."""
    copies = {difference.second for difference in differences if difference.is_copy}
    return [
        difference
        for difference in differences
        if difference.adjusted_p_value is not None
        and not {difference.first, difference.second} & copies
    ]


def _detectable(differences: Sequence[Difference], family_size: int) -> MinimumDetectableDifference:
    error = float(np.sqrt(np.median([difference.standard_error**2 for difference in differences])))
    degrees = float(np.median([difference.degrees_of_freedom for difference in differences]))
    seed_count = max(difference.seed_count for difference in differences)
    items = max(difference.item_count for difference in differences)

    def smallest(alpha: float) -> float:
        """With one seed claims rest on sign flips, too, which few items make too few of."""
        if seed_count == 1 and smallest_p_value(items) >= alpha:
            return math.inf
        return min_detectable_difference(error, degrees, alpha)

    return MinimumDetectableDifference(smallest(ALPHA), smallest(ALPHA / family_size), seed_count)

"""All methods against each other: differences, letters, and what they come to."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pipeline.reporting.analysis import gap_closed, summary, teacher_size
from pipeline.reporting.analysis.differences import differences_of, runs_of, stacked
from pipeline.reporting.analysis.findings import (
    Comparisons,
    Difference,
    Interval,
    MinimumDetectableDifference,
    mean_interval,
)
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.model_sizes import sizes_of
from pipeline.reporting.analysis.scores import Pair, Results, Row, best_first
from pipeline.settings.report import ReportSettings
from pipeline.statistics import bootstrap
from pipeline.statistics.items import influence_products
from pipeline.statistics.letters import compact_letters
from pipeline.statistics.power import min_detectable_difference
from pipeline.statistics.tests import ALPHA

Differences = Mapping[tuple[Pair, Measure], tuple[Difference, ...]]


def compare(inputs: ReportInputs, results: Results, settings: ReportSettings) -> Comparisons:
    """Every two methods of every teacher and student, on every measure that has a better end."""
    differences = {
        (pair, measure): found
        for measure in results.ranked_measures
        for pair, found in differences_of(results, measure).items()
    }
    found = resolutions(differences)
    return Comparisons(
        intervals=dict(_intervals(results)),
        differences=differences,
        letters=dict(_letters(results, differences)),
        detectable=found,
        gap_baseline=gap_closed.baseline_label(results, settings.methods),
        gaps_closed=tuple(gap_closed.gaps_closed(results, settings.methods)),
        teacher_size_effects=teacher_size.teacher_size_effects(results, sizes_of(inputs)),
        findings=tuple(summary.findings(results, differences, found)),
    )


def _intervals(results: Results) -> Iterator[tuple[tuple[Row, Measure], Interval]]:
    """Of every mean over more than one item: over items alone where there is one seed."""
    for measure in (*results.measures, *results.slice_measures):
        for pair in results.pairs:
            yield from _together(results, results.methods[pair], measure)
            for reference in results.references[pair]:
                yield from _together(results, (reference,), measure)


def _together(
    results: Results, rows: Sequence[Row], measure: Measure
) -> Iterator[tuple[tuple[Row, Measure], Interval]]:
    """Those of rows that learn from each other how much seeds vary: the ones with equal seeds."""
    runs = runs_of(results, rows, measure)
    by_seeds: dict[tuple[int, ...], list[Row]] = {}
    for row, of_row in runs.items():
        by_seeds.setdefault(tuple(sorted(of_row)), []).append(row)
    for seeds, equal in by_seeds.items():
        items = stacked(runs, equal, seeds)
        if items.weight_shares.shape[-1] == 1:
            continue
        found = bootstrap.method_estimates(items.scores, influence_products(items.influences))
        for row, value, half in zip(equal, found.values, found.half_widths(), strict=True):
            yield (row, measure), mean_interval(measure, float(value), float(half))


def _letters(
    results: Results, differences: Differences
) -> Iterator[tuple[tuple[Row, Measure], str]]:
    for (pair, measure), found in differences.items():
        means = results.means_by_row(results.methods[pair], measure)
        ordered = best_first(means, measure)
        places = {row: place for place, row in enumerate(ordered)}
        apart = [
            (places[one.first], places[one.second]) for one in found if one.significantly_different
        ]
        for row, text in zip(ordered, compact_letters(len(ordered), apart), strict=True):
            yield (row, measure), text


def resolutions(
    differences: Differences,
) -> dict[tuple[Pair, Measure], MinimumDetectableDifference]:
    """What each cell could have found, from the middle of its differences' standard errors."""
    tested = {place: _told_once(found) for place, found in differences.items()}
    family: dict[Measure, int] = {}
    for (_, measure), found in tested.items():
        family[measure] = family.get(measure, 0) + len(found)
    return {place: _resolution(found, family[place[1]]) for place, found in tested.items() if found}


def _told_once(differences: Sequence[Difference]) -> list[Difference]:
    """Those that were tested, without the rows that are copies of an earlier one."""
    twice = {one.second for one in differences if one.is_copy}
    return [
        one
        for one in differences
        if one.adjusted_p_value is not None and not {one.first, one.second} & twice
    ]


def _resolution(found: Sequence[Difference], family: int) -> MinimumDetectableDifference:
    error = float(np.sqrt(np.median([one.standard_error**2 for one in found])))
    degrees = float(np.median([one.degrees_of_freedom for one in found]))
    return MinimumDetectableDifference(
        single_test=min_detectable_difference(error, degrees, ALPHA),
        after_holm=min_detectable_difference(error, degrees, ALPHA / family),
        seed_count=max(one.seed_count for one in found),
    )

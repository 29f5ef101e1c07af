"""Whether a larger teacher makes a better student, method by method."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pipeline.reporting.analysis.findings import TeacherSizeEffect, difference_interval
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.statistics import bootstrap, copies
from pipeline.statistics.bootstrap import Estimates
from pipeline.statistics.items import influence_products
from pipeline.statistics.tests import ALPHA, Family, holm_family, sign_flip_p_values


@dataclass(frozen=True)
class TeacherComparison:
    """Methods that have the same training seeds under two teachers, before their tests."""

    smaller: tuple[Row, ...]
    larger: tuple[Row, ...]
    seeds: tuple[int, ...]
    estimates: Estimates  # larger − smaller
    classes: np.ndarray  # equal for methods that are copies of each other
    units: np.ndarray  # [2 methods, items]: the smaller's, then the larger's

    def p_values(self) -> np.ndarray:
        """Two-sided p-values; with one seed the larger of two tests over items."""
        p_values = self.estimates.p_values()
        if len(self.seeds) > 1:
            return p_values
        smaller = np.arange(len(self.smaller))
        flipped = sign_flip_p_values(self.units, smaller + len(smaller), smaller)
        return np.maximum(p_values, flipped)


def teacher_size_effects(
    results: Results, sizes: Mapping[str, int]
) -> tuple[TeacherSizeEffect, ...]:
    """Each method under every two teachers of different size, where it has a seed with both.

    Measures that already compare with the teacher are left out, and so are methods without one.
    The tests of a measure are one family.
    """
    effects: list[TeacherSizeEffect] = []
    for measure in results.ranked_measures:
        if not measure.metric.relative_to_teacher:
            compared = list(_compared_teachers(results, sizes, measure))
            effects += _effects(compared, measure) if compared else ()
    return tuple(effects)


def _compared_teachers(
    results: Results, sizes: Mapping[str, int], measure: Measure
) -> Iterator[TeacherComparison]:
    for smaller, larger in _teacher_pairs(results, sizes):
        larger_rows = {row.method: row for row in results.methods[larger]}
        by_seeds: dict[tuple[int, ...], list[tuple[Row, Row]]] = {}
        for row in results.methods[smaller]:
            if other := larger_rows.get(row.method):
                runs = [results.runs.get((one, measure), {}) for one in (row, other)]
                common = tuple(sorted(runs[0].keys() & runs[1].keys()))
                # a student without a teacher is the same run under both
                if common and runs[0][common[0]] != runs[1][common[0]]:
                    by_seeds.setdefault(common, []).append((row, other))
        for seeds, rows in by_seeds.items():
            if comparison := _comparison(results, rows, seeds, measure):
                yield comparison


def _teacher_pairs(results: Results, sizes: Mapping[str, int]) -> Iterator[tuple[Pair, Pair]]:
    known = [pair for pair in results.pairs if pair.teacher in sizes]
    for smaller, larger in combinations(sorted(known, key=lambda pair: sizes[pair.teacher]), 2):
        different = sizes[smaller.teacher] < sizes[larger.teacher]
        if smaller.student == larger.student and different:
            yield smaller, larger


def _comparison(
    results: Results, rows: Sequence[tuple[Row, Row]], seeds: tuple[int, ...], measure: Measure
) -> TeacherComparison | None:
    """Each method under the smaller and the larger teacher; None where there is a single item."""
    smaller, larger = (tuple(row[i] for row in rows) for i in (0, 1))
    items = results.contributions([*smaller, *larger], seeds, measure)
    if items.influences.shape[-1] == 1:
        return None
    count = len(smaller)
    differences = items.scores[count:] - items.scores[:count]
    products = influence_products(items.influences[count:] - items.influences[:count])
    return TeacherComparison(
        smaller=smaller,
        larger=larger,
        seeds=seeds,
        estimates=bootstrap.method_estimates(differences, products),
        classes=copies.copy_classes(differences, products),
        units=items.centred_on(items.scores.mean()).mean(axis=1),
    )


def _effects(
    compared: Sequence[TeacherComparison], measure: Measure
) -> Iterator[TeacherSizeEffect]:
    """All effects on a measure, corrected for each other."""
    p_values = [comparison.p_values() for comparison in compared]
    starts = np.cumsum([0, *map(len, p_values)])
    hypotheses = [one.classes + start for one, start in zip(compared, starts[:-1], strict=True)]
    family = holm_family(np.concatenate(p_values), np.concatenate(hypotheses))
    for comparison, unadjusted, adjusted in zip(
        compared, p_values, np.split(family.adjusted, starts[1:-1]), strict=True
    ):
        yield from _of_teachers(
            comparison, measure, unadjusted, Family(adjusted, family.confidence)
        )


def _of_teachers(
    comparison: TeacherComparison, measure: Measure, p_values: np.ndarray, family: Family
) -> Iterator[TeacherSizeEffect]:
    half_widths = comparison.estimates.half_widths(family.confidence)
    for i, (smaller, larger) in enumerate(zip(comparison.smaller, comparison.larger, strict=True)):
        value, adjusted = float(comparison.estimates.values[i]), float(family.adjusted[i])
        yield TeacherSizeEffect(
            measure=measure,
            smaller=smaller,
            larger=larger,
            seed_count=len(comparison.seeds),
            value=value,
            interval=difference_interval(
                measure, value, float(half_widths[i]), contains_zero=adjusted >= ALPHA
            ),
            p_value=float(p_values[i]),
            adjusted_p_value=adjusted,
        )

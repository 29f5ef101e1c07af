"""Whether a larger teacher makes a better student, method by method."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from pipeline.reporting.analysis.differences import Group, GroupComparison, tested_as_family
from pipeline.reporting.analysis.findings import Difference
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.statistics import bootstrap, copies
from pipeline.statistics.items import effect_sizes, influence_products, method_products


def teacher_size_effects(results: Results, sizes: Mapping[str, int]) -> tuple[Difference, ...]:
    """Each method under the larger minus under the smaller of every two teachers, on common seeds.

    Measures that already compare with the teacher are left out, and so are methods without one.
    The tests of a measure are one family.
    """
    effects = []
    for measure in results.ranked_measures:
        if not measure.metric.relative_to_teacher:
            compared = list(_compared_teachers(results, sizes, measure))
            for of_group in tested_as_family(compared, measure):
                effects += of_group
    return tuple(effects)


def _compared_teachers(
    results: Results, sizes: Mapping[str, int], measure: Measure
) -> Iterator[GroupComparison]:
    for smaller, larger in _teacher_pairs(results, sizes):
        larger_rows = {row.method: row for row in results.methods[larger]}
        by_seeds: dict[tuple[int, ...], list[tuple[Row, Row]]] = {}
        for row in results.methods[smaller]:
            if other := larger_rows.get(row.method):
                runs = [results.runs.get((key_row, measure), {}) for key_row in (row, other)]
                common = tuple(sorted(runs[0].keys() & runs[1].keys()))
                # a student without a teacher is the same run under both
                if common and runs[0][common[0]] != runs[1][common[0]]:
                    by_seeds.setdefault(common, []).append((row, other))
        for seeds, rows in by_seeds.items():
            if comparison := _compare(results, rows, seeds, measure):
                yield comparison


def _teacher_pairs(results: Results, sizes: Mapping[str, int]) -> Iterator[tuple[Pair, Pair]]:
    known = [pair for pair in results.pairs if pair.teacher in sizes]
    for smaller, larger in combinations(sorted(known, key=lambda pair: sizes[pair.teacher]), 2):
        different = sizes[smaller.teacher] < sizes[larger.teacher]
        if smaller.student == larger.student and different:
            yield smaller, larger


def _compare(
    results: Results, rows: Sequence[tuple[Row, Row]], seeds: tuple[int, ...], measure: Measure
) -> GroupComparison | None:
    """Each method under the larger minus under the smaller teacher; None for a single item."""
    count = len(rows)
    both = (*(smaller for smaller, _ in rows), *(larger for _, larger in rows))
    items = results.contributions(both, seeds, measure)
    if items.influences.shape[-1] == 1:
        return None
    differences = items.scores[count:] - items.scores[:count]
    products = influence_products(items.influences[count:] - items.influences[:count])
    estimates = bootstrap.method_estimates(differences, products)
    return GroupComparison(
        group=Group(both, seeds, np.arange(count) + count, np.arange(count)),
        estimates=estimates,
        effects=effect_sizes(estimates.values, method_products(products)),
        hypotheses=copies.copy_classes(differences, products),
        is_copy=np.zeros(count, dtype=bool),
        units=items.centred_on(items.scores.mean()).mean(axis=1),
    )

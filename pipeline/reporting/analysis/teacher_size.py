"""Whether a larger teacher makes a better student, method by method."""

from collections.abc import Iterator
from itertools import combinations

from pipeline.reporting.analysis.differences import (
    GroupComparison,
    compare_changes,
    families_of_changes,
)
from pipeline.reporting.analysis.findings import Difference
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row


def teacher_size_effects(results: Results) -> tuple[Difference, ...]:
    """Each method under the larger minus under the smaller of every two teachers, on common seeds.

    Measures that already compare with the teacher are left out, and so are methods without one.
    The tests of a measure are one family.
    """
    measures = [one for one in results.ranked_measures if not one.metric.relative_to_teacher]
    return families_of_changes(results, measures, _compared_teachers)


def _compared_teachers(results: Results, measure: Measure) -> Iterator[GroupComparison]:
    for smaller, larger in _teacher_pairs(results):
        larger_rows = {row.method: row for row in results.methods[larger]}
        by_seeds: dict[tuple[int, ...], list[tuple[Row, Row]]] = {}
        for row in results.methods[smaller]:
            if other := larger_rows.get(row.method):
                runs, others = (results.runs.get((side, measure), {}) for side in (row, other))
                common = tuple(sorted(runs.keys() & others.keys()))
                # a student without a teacher is the same run under both
                if common and runs[common[0]] != others[common[0]]:
                    by_seeds.setdefault(common, []).append((row, other))
        for seeds, rows in by_seeds.items():
            before, after = (
                results.contributions(side, seeds, measure) for side in zip(*rows, strict=True)
            )
            if before.influences.shape[-1] > 1:
                yield compare_changes(rows, seeds, before, after)


def _teacher_pairs(results: Results) -> Iterator[tuple[Pair, Pair]]:
    """A smaller and a larger teacher of the same student."""
    sizes = results.sizes
    known = [pair for pair in results.pairs if pair.teacher in sizes]
    for smaller, larger in combinations(sorted(known, key=lambda pair: sizes[pair.teacher]), 2):
        different = sizes[smaller.teacher] < sizes[larger.teacher]
        if smaller.student == larger.student and different:
            yield smaller, larger

"""Whether a larger teacher makes a better student, method by method."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from pipeline.reporting.analysis.differences import (
    GroupComparison,
    compare_changes,
    tested_as_family,
)
from pipeline.reporting.analysis.findings import Difference
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row


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
    before, after = (
        results.contributions(side, seeds, measure) for side in zip(*rows, strict=True)
    )
    if before.influences.shape[-1] == 1:
        return None
    return compare_changes(rows, seeds, before, after)

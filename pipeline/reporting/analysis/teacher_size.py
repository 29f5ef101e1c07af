"""Whether a larger teacher makes a better student, method by method."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pipeline.reporting.analysis.differences import Runs, runs_of, stacked
from pipeline.reporting.analysis.findings import TeacherSizeEffect, difference_interval
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.statistics import bootstrap, copies
from pipeline.statistics.bootstrap import Estimates
from pipeline.statistics.items import influence_products
from pipeline.statistics.tests import ALPHA, holm_family, sign_flip_p_values


@dataclass(frozen=True)
class Step:
    """Methods under two teachers, before their tests: those that share training seeds."""

    smaller: tuple[Row, ...]
    larger: tuple[Row, ...]
    seeds: tuple[int, ...]
    estimates: Estimates  # larger − smaller
    classes: np.ndarray  # equal for methods that are one method told twice
    units: np.ndarray  # [2 methods, items]: the smaller's, then the larger's


def teacher_size_effects(
    results: Results, sizes: Mapping[str, int]
) -> tuple[TeacherSizeEffect, ...]:
    """Each method under every two teachers of different size, where it has a seed with both.

    A measure that is relative to the teacher isn't compared between teachers, nor is a student
    that needs no teacher. The tests of a measure are one family.
    """
    found: list[TeacherSizeEffect] = []
    for measure in results.ranked_measures:
        if measure.metric.relative_to_teacher:
            continue
        steps = list(_steps(results, sizes, measure))
        if steps:
            found += _judged(steps, measure)
    return tuple(found)


def _steps(results: Results, sizes: Mapping[str, int], measure: Measure) -> Iterator[Step]:
    for smaller, larger in _teacher_pairs(results, sizes):
        runs = [
            {row.method: (row, by_seed) for row, by_seed in runs.items()}
            for pair in (smaller, larger)
            for runs in [runs_of(results, results.methods[pair], measure)]
        ]
        by_seeds: dict[tuple[int, ...], list[str]] = {}
        for method in [name for name in runs[0] if name in runs[1]]:
            small, large = runs[0][method][1], runs[1][method][1]
            shared = tuple(sorted(set(small) & set(large)))
            if shared and small[shared[0]] is not large[shared[0]]:
                by_seeds.setdefault(shared, []).append(method)
        for seeds, methods in by_seeds.items():
            rows = [tuple(of_teacher[name][0] for name in methods) for of_teacher in runs]
            found = _step({**dict(runs[0].values()), **dict(runs[1].values())}, *rows, seeds)
            if found:
                yield found


def _teacher_pairs(results: Results, sizes: Mapping[str, int]) -> Iterator[tuple[Pair, Pair]]:
    known = [pair for pair in results.pairs if pair.teacher in sizes]
    for one, other in combinations(sorted(known, key=lambda pair: sizes[pair.teacher]), 2):
        if one.student == other.student and sizes[one.teacher] < sizes[other.teacher]:
            yield one, other


def _step(
    runs: Runs, smaller: tuple[Row, ...], larger: tuple[Row, ...], seeds: tuple[int, ...]
) -> Step | None:
    """None for a single item."""
    items = stacked(runs, [*smaller, *larger], seeds)
    if items.weight_shares.shape[-1] == 1:
        return None
    half = len(smaller)
    moved = items.scores[half:] - items.scores[:half]
    sums = influence_products(items.influences[half:] - items.influences[:half])
    units = items.centred_on(items.scores.mean()).mean(axis=1)
    estimates = bootstrap.method_estimates(moved, sums)
    return Step(smaller, larger, seeds, estimates, copies.copy_classes(moved, sums), units)


def _judged(steps: Sequence[Step], measure: Measure) -> Iterator[TeacherSizeEffect]:
    """The steps of a measure, corrected for each other."""
    p_values = [_p_values(step) for step in steps]
    starts = np.cumsum([0, *map(len, p_values)])
    kinds = [step.classes + start for step, start in zip(steps, starts[:-1], strict=True)]
    of_all = holm_family(np.concatenate(p_values), np.concatenate(kinds))
    for step, ps, held in zip(
        steps, p_values, np.split(of_all.adjusted, starts[1:-1]), strict=True
    ):
        yield from _named(step, measure, of_all.confidence, ps, held)


def _p_values(step: Step) -> np.ndarray:
    p_values = step.estimates.p_values()
    if len(step.seeds) > 1:
        return p_values
    places = np.arange(len(step.smaller))
    return np.maximum(p_values, sign_flip_p_values(step.units, places + len(step.smaller), places))


def _named(
    step: Step, measure: Measure, level: float, p_values: np.ndarray, adjusted: np.ndarray
) -> Iterator[TeacherSizeEffect]:
    halves = step.estimates.half_widths(level)
    for place, (smaller, larger) in enumerate(zip(step.smaller, step.larger, strict=True)):
        value, half = float(step.estimates.values[place]), float(halves[place])
        held = float(adjusted[place])
        yield TeacherSizeEffect(
            measure=measure,
            smaller=smaller,
            larger=larger,
            seed_count=len(step.seeds),
            value=value,
            interval=difference_interval(measure, value, half, significant=held < ALPHA),
            p_value=float(p_values[place]),
            adjusted_p_value=held,
        )

"""Differences between every two methods of a teacher and student on a measure, with their tests."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pipeline.reporting.analysis.findings import Difference, difference_interval
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.statistics import bootstrap, copies
from pipeline.statistics.bootstrap import Estimates
from pipeline.statistics.copies import NO_HYPOTHESIS
from pipeline.statistics.items import difference_products, effect_sizes, influence_products
from pipeline.statistics.tests import ALPHA, Family, holm_family, sign_flip_p_values


@dataclass(frozen=True)
class Group:
    """Methods whose pairs share exactly the same training seeds."""

    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    first: np.ndarray  # positions in rows, of the methods of each pair
    second: np.ndarray


@dataclass(frozen=True)
class GroupComparison:
    """The compared pairs of a group, before all pairs of a measure are tested as one family."""

    pair: Pair
    group: Group
    estimates: Estimates
    hypotheses: np.ndarray  # equal for pairs that test the same; −1 for copies of each other
    effects: np.ndarray
    units: np.ndarray  # [methods, items]: the values that sign flips swap


@dataclass(frozen=True)
class PValues:
    """Two-sided p-values of a group's pairs."""

    checkpoints: np.ndarray  # of sign flips over items, taking these checkpoints as given
    methods: np.ndarray  # of the methods that made them


def differences_of(results: Results, measure: Measure) -> dict[Pair, tuple[Difference, ...]]:
    """All differences on a measure, by teacher and student: one family of tests."""
    compared = list(_compared_groups(results, measure))
    if not compared:
        return {}
    p_values = list(_p_values(compared))
    family = holm_family(
        np.concatenate([of_group.methods for of_group in p_values]),
        np.concatenate(list(_family_hypotheses(compared))),
    )
    ends = np.cumsum([len(comparison.hypotheses) for comparison in compared])[:-1]
    differences: dict[Pair, tuple[Difference, ...]] = {}
    for comparison, of_group, adjusted in zip(
        compared, p_values, np.split(family.adjusted, ends), strict=True
    ):
        of_pair = differences.get(comparison.pair, ())
        corrected = Family(adjusted, family.confidence)
        added = _differences(comparison, measure, of_group, corrected)
        differences[comparison.pair] = (*of_pair, *added)
    return differences


def groups(seeds_by_row: Mapping[Row, frozenset[int]]) -> Iterator[Group]:
    """Every pair of rows with a training seed in common, once, grouped by their common seeds."""
    rows, seeds = list(seeds_by_row), list(seeds_by_row.values())
    by_seeds: dict[frozenset[int], list[tuple[int, int]]] = {}
    for first, second in combinations(range(len(rows)), 2):
        by_seeds.setdefault(seeds[first] & seeds[second], []).append((first, second))
    for common, pairs in by_seeds.items():
        if common:
            members, positions = np.unique(np.array(pairs), return_inverse=True)
            first, second = positions.reshape(-1, 2).T
            yield Group(tuple(rows[i] for i in members), tuple(sorted(common)), first, second)


def _compared_groups(results: Results, measure: Measure) -> Iterator[GroupComparison]:
    for pair in results.pairs:
        for group in groups(results.seeds_by_row(results.methods[pair], measure)):
            items = results.contributions(group.rows, group.seeds, measure)
            if items.influences.shape[-1] == 1:
                continue  # a single item says nothing about other items
            first, second = group.first, group.second
            products = influence_products(items.influences)
            estimates = bootstrap.pairwise_estimates(items.scores, products, first, second)
            pairs = difference_products(products, first, second)
            classes = copies.copy_classes(items.scores, products)
            yield GroupComparison(
                pair=pair,
                group=group,
                estimates=estimates,
                hypotheses=copies.hypotheses(classes, first, second),
                effects=effect_sizes(estimates.values, pairs),
                units=items.centred_on(items.scores.mean()).mean(axis=1),
            )


def _p_values(compared: Sequence[GroupComparison]) -> Iterator[PValues]:
    """P-values of all groups, their sign flips being the same.

    With one seed both tests are over items, and the larger p-value counts: Student's t is too
    small where only few items differ.
    """
    units = [comparison.units for comparison in compared]
    starts = np.cumsum([0, *map(len, units)])[:-1]
    shifted = list(zip(compared, starts, strict=True))
    flipped = sign_flip_p_values(
        np.concatenate(units),
        np.concatenate([comparison.group.first + start for comparison, start in shifted]),
        np.concatenate([comparison.group.second + start for comparison, start in shifted]),
    )
    ends = np.cumsum([len(comparison.hypotheses) for comparison in compared])[:-1]
    for comparison, checkpoints in zip(compared, np.split(flipped, ends), strict=True):
        methods = comparison.estimates.p_values()
        if len(comparison.group.seeds) == 1:
            methods = np.maximum(methods, checkpoints)
        yield PValues(checkpoints, methods)


def _family_hypotheses(compared: Sequence[GroupComparison]) -> Iterator[np.ndarray]:
    """Hypotheses numbered over all groups; −1 for pairs with one seed where their cell has more."""
    most_seeds: dict[Pair, int] = {}
    for comparison in compared:
        seeds = len(comparison.group.seeds)
        most_seeds[comparison.pair] = max(most_seeds.get(comparison.pair, 0), seeds)
    start = 0
    for comparison in compared:
        hypotheses = comparison.hypotheses
        is_tested = len(comparison.group.seeds) > 1 or most_seeds[comparison.pair] == 1
        tested = (hypotheses != NO_HYPOTHESIS) & is_tested
        yield np.where(tested, hypotheses + start, NO_HYPOTHESIS)
        start += hypotheses.max() + 1


def _differences(
    comparison: GroupComparison, measure: Measure, p_values: PValues, family: Family
) -> Iterator[Difference]:
    group, estimates, adjusted = comparison.group, comparison.estimates, family.adjusted
    corrected = estimates.half_widths(family.confidence)
    half_widths = np.where(np.isnan(adjusted), estimates.half_widths(), corrected)
    standard_errors, degrees = estimates.standard_errors, estimates.degrees_of_freedom
    for i, (first, second) in enumerate(zip(group.first, group.second, strict=True)):
        value, half_width = float(estimates.values[i]), float(half_widths[i])
        yield Difference(
            measure=measure,
            first=group.rows[first],
            second=group.rows[second],
            seed_count=len(group.seeds),
            is_copy=bool(comparison.hypotheses[i] == NO_HYPOTHESIS),
            value=value,
            interval=difference_interval(
                measure, value, half_width, contains_zero=bool(adjusted[i] >= ALPHA)
            ),
            standard_error=float(standard_errors[i]),
            degrees_of_freedom=float(degrees[i]),
            effect_size=_number(comparison.effects[i]),
            p_value=float(p_values.methods[i]),
            checkpoint_p_value=float(p_values.checkpoints[i]),
            adjusted_p_value=_number(adjusted[i]),
        )


def _number(value: float) -> float | None:
    """A Python number, None for NaN."""
    return None if math.isnan(value) else float(value)

"""Differences between every two methods of a teacher and student on a measure, with their tests."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from pipeline.reporting.analysis.findings import Difference, Tested, interval_within
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.statistics import bootstrap, copies
from pipeline.statistics.bootstrap import Estimates
from pipeline.statistics.copies import NO_HYPOTHESIS
from pipeline.statistics.items import (
    Contributions,
    difference_products,
    effect_sizes,
    influence_products,
    method_products,
)
from pipeline.statistics.tests import ALPHA, Family, holm_over_groups, sign_flip_p_values


@dataclass(frozen=True)
class Group:
    """Methods whose pairs share exactly the same training seeds."""

    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    first: np.ndarray  # positions in rows, of the methods of each pair
    second: np.ndarray

    def only(self, label: str) -> "Group":
        """The pairs that the method with this label is in."""
        is_it = np.array([row.label == label for row in self.rows])
        chosen = is_it[self.first] | is_it[self.second]
        return replace(self, first=self.first[chosen], second=self.second[chosen])


@dataclass(frozen=True)
class GroupComparison:
    """Compared pairs of a group's rows, before all pairs of a measure are tested as one family."""

    group: Group
    estimates: Estimates
    effects: np.ndarray
    hypotheses: np.ndarray  # equal for pairs that test the same; −1 for pairs that aren't tested
    is_copy: np.ndarray
    units: np.ndarray  # [rows, items]: the values that sign flips swap


@dataclass(frozen=True)
class PValues:
    """Two-sided p-values of a group's pairs."""

    checkpoints: np.ndarray  # of sign flips over items, taking these checkpoints as given
    methods: np.ndarray  # of the methods that made them


def differences_of(
    results: Results, measure: Measure, baseline: str = ""
) -> dict[Pair, tuple[Difference, ...]]:
    """All differences on a measure, by teacher and student: one family of tests.

    With a `baseline`, those to the method with this label alone.
    """
    compared, pairs = [], []
    for pair in results.pairs:
        of_pair = list(groups(results.seeds_by_row(results.methods[pair], measure)))
        if baseline:
            of_pair = [kept for group in of_pair if len((kept := group.only(baseline)).first)]
        most_seeds = max((len(group.seeds) for group in of_pair), default=0)
        for group in of_pair:
            items = results.contributions(group.rows, group.seeds, measure)
            if items.influences.shape[-1] > 1:  # a single item says nothing about other items
                is_tested = len(group.seeds) > 1 or most_seeds == 1
                compared.append(_compare(group, items, is_tested=is_tested))
                pairs.append(pair)
    differences: dict[Pair, tuple[Difference, ...]] = {}
    for pair, of_group in zip(pairs, tested_as_family(compared, measure), strict=True):
        differences[pair] = (*differences.get(pair, ()), *of_group)
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


def _compare(group: Group, items: Contributions, *, is_tested: bool) -> GroupComparison:
    first, second = group.first, group.second
    products = influence_products(items.influences)
    estimates = bootstrap.pairwise_estimates(items.scores, products, first, second)
    classes = copies.copy_classes(items.scores, products)
    hypotheses = copies.hypotheses(classes, first, second)
    return GroupComparison(
        group=group,
        estimates=estimates,
        effects=effect_sizes(estimates.values, difference_products(products, first, second)),
        hypotheses=hypotheses if is_tested else np.full_like(hypotheses, NO_HYPOTHESIS),
        is_copy=hypotheses == NO_HYPOTHESIS,
        units=items.centred_on(items.scores.mean()).mean(axis=1),
    )


def compare_changes(
    rows: Sequence[tuple[Row, Row]],
    seeds: tuple[int, ...],
    before: Contributions,
    after: Contributions,
) -> GroupComparison:
    """The second row of each two minus the first, on the same seeds and items."""
    count = len(rows)
    differences = after.scores - before.scores
    products = influence_products(after.influences - before.influences)
    estimates = bootstrap.method_estimates(differences, products)
    centre = np.concatenate([before.scores, after.scores]).mean()
    units = [side.centred_on(centre).mean(axis=1) for side in (before, after)]
    both = tuple(row for side in zip(*rows, strict=True) for row in side)
    return GroupComparison(
        group=Group(both, seeds, np.arange(count) + count, np.arange(count)),
        estimates=estimates,
        effects=effect_sizes(estimates.values, method_products(products)),
        hypotheses=copies.copy_classes(differences, products),
        is_copy=np.zeros(count, dtype=bool),
        units=np.concatenate(units),
    )


def families_of_changes(
    results: Results,
    measures: Iterable[Measure],
    compared: Callable[[Results, Measure], Iterator[GroupComparison]],
) -> tuple[Difference, ...]:
    """The changes that `compared` gives of each measure, which are one family of tests."""
    return tuple(
        change
        for measure in measures
        for of_group in tested_as_family(list(compared(results, measure)), measure)
        for change in of_group
    )


def tested_as_family(
    compared: Sequence[GroupComparison], measure: Measure
) -> Iterator[list[Difference]]:
    """The differences of each group, corrected for all groups together."""
    if not compared:
        return
    p_values = list(_p_values(compared))
    families = holm_over_groups(
        [of_group.methods for of_group in p_values],
        [comparison.hypotheses for comparison in compared],
    )
    for comparison, of_group, corrected in zip(compared, p_values, families, strict=True):
        yield list(_differences(comparison, measure, of_group, corrected))


def _p_values(compared: Sequence[GroupComparison]) -> Iterator[PValues]:
    """P-values of all groups, in their order.

    With one seed both tests are over items, and the larger p-value counts: Student's t is too
    small where only few items differ.
    """
    for comparison, checkpoints in zip(compared, _sign_flips(compared), strict=True):
        methods = comparison.estimates.p_values()
        if len(comparison.group.seeds) == 1:
            methods = np.maximum(methods, checkpoints)
        yield PValues(checkpoints, methods)


def _sign_flips(compared: Sequence[GroupComparison]) -> list[np.ndarray]:
    """Each group's p-values over items; groups with equally many items share their flips.

    Pairs of two teachers may differ in items: a text without a token that is hard for its teacher
    has no score on hard tokens.
    """
    by_item_count: dict[int, list[int]] = {}
    for i, comparison in enumerate(compared):
        by_item_count.setdefault(comparison.units.shape[1], []).append(i)
    p_values = [np.empty(0)] * len(compared)
    for members in by_item_count.values():
        units = [compared[i].units for i in members]
        pairs = [(compared[i].group.first, compared[i].group.second) for i in members]
        starts = np.cumsum([0, *map(len, units)])[:-1]
        first, second = (
            np.concatenate([rows + start for rows, start in zip(side, starts, strict=True)])
            for side in zip(*pairs, strict=True)
        )
        flipped = sign_flip_p_values(np.concatenate(units), first, second)
        ends = np.cumsum([len(rows) for rows, _ in pairs])[:-1]
        for i, of_group in zip(members, np.split(flipped, ends), strict=True):
            p_values[i] = of_group
    return p_values


def _differences(
    comparison: GroupComparison, measure: Measure, p_values: PValues, family: Family
) -> Iterator[Difference]:
    group, estimates = comparison.group, comparison.estimates
    largest = [measure.metric.largest_difference] * len(group.first)
    seeds = len(group.seeds)
    for i, one in enumerate(tested(measure, estimates, family, p_values.methods, largest, seeds)):
        yield Difference(
            **vars(one),
            first=group.rows[group.first[i]],
            second=group.rows[group.second[i]],
            is_copy=bool(comparison.is_copy[i]),
            degrees_of_freedom=float(estimates.degrees_of_freedom[i]),
            effect_size=_number(comparison.effects[i]),
            checkpoint_p_value=float(p_values.checkpoints[i]),
        )


def tested(
    measure: Measure,
    estimates: Estimates,
    family: Family,
    p_values: np.ndarray,
    largest: Sequence[float],
    seeds: int,
) -> Iterator[Tested]:
    """Each estimate with its intervals; `largest` is the largest value that its scale allows."""
    adjusted, single = family.adjusted, estimates.half_widths()
    corrected = np.where(np.isnan(adjusted), single, estimates.half_widths(family.confidence))
    errors = estimates.standard_errors
    for i, value in enumerate(map(float, estimates.values)):
        is_open, half_width = bool(adjusted[i] >= ALPHA), float(corrected[i])
        yield Tested(
            measure=measure,
            value=value,
            interval=interval_within(largest[i], value, half_width, contains_zero=is_open),
            uncorrected=interval_within(largest[i], value, float(single[i])),
            standard_error=float(errors[i]),
            p_value=float(p_values[i]),
            adjusted_p_value=_number(adjusted[i]),
            seed_count=seeds,
            item_count=estimates.items,
        )


def _number(value: float) -> float | None:
    """A Python number, None for NaN."""
    return None if math.isnan(value) else float(value)

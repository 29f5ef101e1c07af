"""Differences between every two methods of a teacher and student on a measure, with their tests."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

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

RowPair = tuple[Row, Row]


@dataclass(frozen=True)
class Compared:
    """Differences on the same seeds and items, before those of a measure are tested as a family."""

    pairs: Sequence[RowPair]
    seeds: tuple[int, ...]
    estimates: Estimates
    effects: np.ndarray
    hypotheses: np.ndarray  # equal for pairs that test the same; −1 for pairs that aren't tested
    is_copy: np.ndarray
    units: np.ndarray  # [rows, items]: the values that sign flips swap
    places: np.ndarray  # [2, pairs]: in `units`, of both rows of each pair


def differences_of(
    results: Results, measure: Measure, baseline: str = ""
) -> dict[Pair, tuple[Difference, ...]]:
    """All differences on a measure, by teacher and student: one family of tests.

    With a `baseline`, those to this method alone.
    """
    compared = {pair: list(_of_pair(results, pair, measure, baseline)) for pair in results.pairs}
    family = tested_as_family([*chain.from_iterable(compared.values())], measure)
    return {
        pair: tuple(chain.from_iterable(next(family) for _ in of_pair))
        for pair, of_pair in compared.items()
        if of_pair
    }


def _of_pair(results: Results, pair: Pair, measure: Measure, baseline: str) -> Iterator[Compared]:
    """Every two methods with a training seed in common, grouped by their common seeds."""
    scored = results.means_by_row(results.methods[pair], measure)
    groups = []
    for seeds, pairs in results.by_seeds(combinations(scored, 2), measure).items():
        members = {*chain.from_iterable(pairs)}  # all of them show how much seeds matter
        chosen = [two for two in pairs if not baseline or baseline in [row.method for row in two]]
        if chosen:
            groups.append((seeds, [row for row in scored if row in members], chosen))
    most_seeds = max((len(seeds) for seeds, _, _ in groups), default=0)
    for seeds, rows, pairs in groups:
        items = results.contributions(rows, seeds, measure)
        if items.influences.shape[-1] > 1:  # a single item says nothing about other items
            place = {row: i for i, row in enumerate(rows)}
            places = np.array([[place[row] for row in two] for two in pairs]).T
            is_tested = len(seeds) > 1 or most_seeds == 1
            yield _compare(pairs, places, seeds, items, is_tested=is_tested)


def _compare(
    pairs: Sequence[RowPair],
    places: np.ndarray,
    seeds: tuple[int, ...],
    items: Contributions,
    *,
    is_tested: bool,
) -> Compared:
    products = influence_products(items.influences)
    estimates = bootstrap.pairwise_estimates(items.scores, products, *places)
    hypotheses = copies.hypotheses(copies.copy_classes(items.scores, products), *places)
    return Compared(
        pairs=pairs,
        seeds=seeds,
        estimates=estimates,
        effects=effect_sizes(estimates.values, difference_products(products, *places)),
        hypotheses=hypotheses if is_tested else np.full_like(hypotheses, NO_HYPOTHESIS),
        is_copy=hypotheses == NO_HYPOTHESIS,
        units=items.centred_on(items.scores.mean()).mean(axis=1),
        places=places,
    )


def changes(
    results: Results, measure: Measure, groups: Iterable[Iterable[RowPair]]
) -> Iterator[Difference]:
    """The second row of each two minus the first, on common seeds: one family of tests.

    The variances of a group are pooled, as far as its pairs have the same seeds.
    """
    compared = [
        _compare_changes(results, measure, seeds, pairs)
        for group in groups
        for seeds, pairs in results.by_seeds(group, measure).items()
        if results.matrix(pairs[0][0], measure).weights.shape[1] > 1
    ]
    return chain.from_iterable(tested_as_family(compared, measure))


def _compare_changes(
    results: Results, measure: Measure, seeds: tuple[int, ...], pairs: Sequence[RowPair]
) -> Compared:
    before, after = (
        results.contributions(side, seeds, measure) for side in zip(*pairs, strict=True)
    )
    differences = after.scores - before.scores
    products = influence_products(after.influences - before.influences)
    estimates = bootstrap.method_estimates(differences, products)
    centre = np.concatenate([before.scores, after.scores]).mean()
    numbers = np.arange(len(pairs))
    return Compared(
        pairs=[(row, reference) for reference, row in pairs],
        seeds=seeds,
        estimates=estimates,
        effects=effect_sizes(estimates.values, method_products(products)),
        hypotheses=copies.copy_classes(differences, products),
        is_copy=np.zeros(len(pairs), dtype=bool),
        units=np.concatenate([side.centred_on(centre).mean(axis=1) for side in (before, after)]),
        places=np.stack([numbers + len(pairs), numbers]),
    )


def tested_as_family(compared: Sequence[Compared], measure: Measure) -> Iterator[list[Difference]]:
    """The differences of each group, corrected for all groups together.

    With one seed both tests are over items, and the larger p-value counts: Student's t is too
    small where only few items differ.
    """
    flips = _sign_flips(compared)
    p_values = [
        np.maximum(group.estimates.p_values(), of_items if len(group.seeds) == 1 else 0.0)
        for group, of_items in zip(compared, flips, strict=True)
    ]
    families = holm_over_groups(p_values, [group.hypotheses for group in compared])
    for group, family, of_group, of_items in zip(compared, families, p_values, flips, strict=True):
        largest = [measure.metric.largest_difference] * len(group.pairs)
        values = tested(measure, group.estimates, family, of_group, largest, len(group.seeds))
        degrees = group.estimates.degrees_of_freedom
        yield [
            Difference(
                **vars(value),
                first=first,
                second=second,
                is_copy=bool(group.is_copy[i]),
                degrees_of_freedom=float(degrees[i]),
                effect_size=_number(group.effects[i]),
                checkpoint_p_value=float(of_items[i]),
            )
            for i, (value, (first, second)) in enumerate(zip(values, group.pairs, strict=True))
        ]


def _sign_flips(compared: Sequence[Compared]) -> list[np.ndarray]:
    """Each group's p-values over items; groups with equally many items share their flips.

    Pairs of two teachers may differ in items: a text without a token that is hard for its teacher
    has no score on hard tokens.
    """
    p_values: dict[int, np.ndarray] = {}
    counts = [group.units.shape[1] for group in compared]
    for count in set(counts):
        members = [i for i, of_group in enumerate(counts) if of_group == count]
        units, places = zip(
            *((compared[i].units, compared[i].places) for i in members), strict=True
        )
        starts = np.cumsum([0, *map(len, units)])[:-1]
        pairs = [start + of_group for start, of_group in zip(starts, places, strict=True)]
        flipped = sign_flip_p_values(np.concatenate(units), *np.concatenate(pairs, axis=1))
        ends = np.cumsum([of_group.shape[1] for of_group in pairs])[:-1]
        p_values |= zip(members, np.split(flipped, ends), strict=True)
    return [p_values[i] for i in range(len(compared))]


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

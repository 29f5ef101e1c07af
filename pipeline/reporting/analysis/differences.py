"""Every two methods of a teacher and student on a measure: how far apart, and how surely."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pipeline.reporting.analysis.findings import Difference, difference_interval
from pipeline.reporting.analysis.item_sums import Sums
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.statistics import bootstrap, copies
from pipeline.statistics.bootstrap import Estimates
from pipeline.statistics.copies import NO_HYPOTHESIS
from pipeline.statistics.items import (
    Contributions,
    contributions,
    difference_products,
    effect_sizes,
    influence_products,
)
from pipeline.statistics.tests import ALPHA, holm_family, sign_flip_p_values

Runs = Mapping[Row, Mapping[int, Sums]]  # items by training seed


@dataclass(frozen=True)
class Group:
    """Methods that share training seeds, and which of their pairs share no others."""

    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    one: np.ndarray  # places in rows
    other: np.ndarray


def groups(runs: Runs) -> Iterator[Group]:
    """Every pair of rows that has a training seed in common, once, beside its like."""
    rows, seeds = list(runs), [frozenset(by_seed) for by_seed in runs.values()]
    found: dict[frozenset[int], list[tuple[int, int]]] = {}
    for one, other in combinations(range(len(rows)), 2):
        found.setdefault(seeds[one] & seeds[other], []).append((one, other))
    for shared, pairs in found.items():
        if shared:
            kept, places = np.unique(np.array(pairs), return_inverse=True)
            one, other = places.reshape(-1, 2).T
            yield Group(tuple(rows[at] for at in kept), tuple(sorted(shared)), one, other)


def runs_of(results: Results, rows: Sequence[Row], measure: Measure) -> Runs:
    """The items of those of `rows` that were measured."""
    return {row: results.runs[row, measure] for row in rows if (row, measure) in results.runs}


def stacked(runs: Runs, rows: Sequence[Row], seeds: Sequence[int]) -> Contributions:
    """What items add to the scores of rows and seeds: arrays [rows, seeds, items]."""
    weighted = np.stack([[runs[row][seed].weighted for seed in seeds] for row in rows])
    weights = np.stack([[runs[row][seed].weights for seed in seeds] for row in rows])
    return contributions(weighted, weights)


@dataclass(frozen=True)
class Part:
    """A group of a cell, with what is known of its pairs before they are judged together."""

    pair: Pair
    group: Group
    estimates: Estimates
    kinds: np.ndarray  # equal for pairs that ask the same; −1 for copies of each other
    effects: np.ndarray
    units: np.ndarray  # [methods, items]: what a sign flip flips


def differences_of(results: Results, measure: Measure) -> dict[Pair, tuple[Difference, ...]]:
    """All pairs of methods of all cells: the family of this measure."""
    parts = list(_parts(results, measure))
    if not parts:
        return {}
    flipped = _flipped(parts)
    p_values = [
        _p_values(part, of_checkpoints) for part, of_checkpoints in zip(parts, flipped, strict=True)
    ]
    of_all = holm_family(np.concatenate(p_values), np.concatenate(list(_kinds(parts))))
    adjusted = np.split(of_all.adjusted, np.cumsum([len(ps) for ps in p_values])[:-1])
    found: dict[Pair, tuple[Difference, ...]] = {}
    for part, *ps in zip(parts, p_values, flipped, adjusted, strict=True):
        of_part = _differences(part, measure, of_all.confidence, *ps)
        found[part.pair] = (*found.get(part.pair, ()), *of_part)
    return found


def _p_values(part: Part, of_checkpoints: np.ndarray) -> np.ndarray:
    """With one seed the larger of two tests over items: few that differ are few for both."""
    p_values = part.estimates.p_values()
    return p_values if len(part.group.seeds) > 1 else np.maximum(p_values, of_checkpoints)


def _parts(results: Results, measure: Measure) -> Iterator[Part]:
    for pair in results.pairs:
        runs = runs_of(results, results.methods[pair], measure)
        for group in groups(runs):
            items = stacked(runs, group.rows, group.seeds)
            if items.weight_shares.shape[-1] == 1:
                continue  # a single item tells nothing of others
            sums = influence_products(items.influences)
            estimates = bootstrap.pairwise_estimates(items.scores, sums, group.one, group.other)
            pairs = difference_products(sums, group.one, group.other)
            classes = copies.copy_classes(items.scores, sums)
            yield Part(
                pair=pair,
                group=group,
                estimates=estimates,
                kinds=copies.hypotheses(classes, group.one, group.other),
                effects=effect_sizes(estimates.values, pairs),
                units=items.centred_on(items.scores.mean()).mean(axis=1),
            )


def _flipped(parts: Sequence[Part]) -> list[np.ndarray]:
    """The p-values of sign flips over items, for all parts with the same flips."""
    starts = np.cumsum([0, *(len(part.units) for part in parts)])
    shifted = list(zip(parts, starts[:-1], strict=True))
    p_values = sign_flip_p_values(
        np.concatenate([part.units for part in parts]),
        np.concatenate([part.group.one + start for part, start in shifted]),
        np.concatenate([part.group.other + start for part, start in shifted]),
    )
    return np.split(p_values, np.cumsum([len(part.group.one) for part in parts])[:-1])


def _kinds(parts: Sequence[Part]) -> Iterator[np.ndarray]:
    """Those of all parts, none in two; −1 for pairs with one seed where their cell has more."""
    most: dict[Pair, int] = {}
    for part in parts:
        most[part.pair] = max(most.get(part.pair, 0), len(part.group.seeds))
    start = 0
    for part in parts:
        is_judged = len(part.group.seeds) > 1 or most[part.pair] == 1
        yield np.where((part.kinds != NO_HYPOTHESIS) & is_judged, part.kinds + start, NO_HYPOTHESIS)
        start += part.kinds.max() + 1


def _differences(
    part: Part,
    measure: Measure,
    level: float,
    p_values: np.ndarray,
    of_checkpoints: np.ndarray,
    adjusted: np.ndarray,
) -> Iterator[Difference]:
    group, found = part.group, part.estimates
    halves = np.where(np.isnan(adjusted), found.half_widths(), found.half_widths(level))
    columns = (found.values, halves, found.standard_errors, found.degrees_of_freedom, part.effects)
    numbers = np.stack([*columns, p_values, of_checkpoints, adjusted], axis=1)
    for one, other, kind, of_pair in zip(group.one, group.other, part.kinds, numbers, strict=True):
        value, half, error, degrees, effect, p_value, of_flips, held = of_pair.tolist()
        yield Difference(
            measure=measure,
            first=group.rows[one],
            second=group.rows[other],
            seed_count=len(group.seeds),
            is_copy=bool(kind == NO_HYPOTHESIS),
            value=value,
            interval=difference_interval(measure, value, half, significant=held < ALPHA),
            standard_error=error,
            degrees_of_freedom=degrees,
            effect_size=_known(effect),
            p_value=p_value,
            checkpoint_p_value=of_flips,
            adjusted_p_value=_known(held),
        )


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number

"""Contrasts of the configuration: their values, intervals and tests.

A contrast is a sum of scores by weights that sum to zero, on the training seeds that all of its
rows have. Its variance is that of a mean over seeds and items (`pipeline.statistics.bootstrap`):
seed by seed the contrast is one score, and an item's influence on it is the same sum of influences.
Items that a slice leaves out have no influence on that slice's scores.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pandas as pd

from pipeline.reporting.analysis.differences import tested
from pipeline.reporting.analysis.findings import Contrast
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Results, Row
from pipeline.settings.contrasts import ContrastFamily, terms_of
from pipeline.statistics import bootstrap, copies
from pipeline.statistics.bootstrap import Estimates
from pipeline.statistics.items import contributions, influence_products
from pipeline.statistics.tests import holm_over_groups, sign_flip_p_values


@dataclass(frozen=True)
class Sample:
    """A contrast by training seed and item, before it is tested."""

    name: str
    seeds: tuple[int, ...]
    scores: np.ndarray  # [seeds]
    influences: np.ndarray  # [seeds, items]
    units: np.ndarray  # [items]: what sign flips turn over
    largest: float  # the largest value that the measure's scale allows


@dataclass(frozen=True)
class Estimated:
    """Contrasts on the same seeds and items, whose variances are pooled, before Holm."""

    samples: Sequence[Sample]
    estimates: Estimates
    p_values: np.ndarray
    hypotheses: np.ndarray  # equal for contrasts that are practically the same


def contrasts_of(results: Results, families: Mapping[str, ContrastFamily]) -> tuple[Contrast, ...]:
    """Every contrast of every family whose rows were all scored."""
    measures = {measure.key: measure for measure in results.measures}
    return tuple(
        contrast
        for name, family in families.items()
        for key in family.measures
        if key in measures
        for contrast in _family(results, name, family, measures[key])
    )


def missing_contrasts(
    contrasts: Sequence[Contrast], families: Mapping[str, ContrastFamily]
) -> list[str]:
    """The contrasts that have no value, as FAMILY/NAME on MEASURE."""
    there = {
        (contrast.family, contrast.name, contrast.measure.task, contrast.measure.metric.name)
        for contrast in contrasts
    }
    return [
        f"{name}/{contrast} on {key}"
        for name, family in families.items()
        for key in family.measures
        for contrast in family.contrasts
        if (name, contrast, *key.split("/", 1)) not in there
    ]


def _family(
    results: Results, name: str, family: ContrastFamily, measure: Measure
) -> Iterator[Contrast]:
    """A family's contrasts on a measure; those on other seeds or items have other variances."""
    alike: dict[tuple[tuple[int, ...], int], list[Sample]] = {}
    for contrast, weights in family.contrasts.items():
        sample = _sampled(results, contrast, _rows(results, weights), measure, family)
        if len(sample.units) > 1:  # a single item says nothing about other items
            alike.setdefault((sample.seeds, len(sample.units)), []).append(sample)
    groups = [_estimated(samples) for samples in alike.values()]
    families = holm_over_groups(
        [group.p_values for group in groups], [group.hypotheses for group in groups]
    )
    shown = replace(measure, slice=family.slice_text)
    for group, corrected in zip(groups, families, strict=True):
        largest, seeds = [sample.largest for sample in group.samples], len(group.samples[0].seeds)
        values = tested(shown, group.estimates, corrected, group.p_values, largest, seeds)
        for sample, value in zip(group.samples, values, strict=True):
            terms = _written(family.contrasts[sample.name])
            yield Contrast(**vars(value), family=name, name=sample.name, terms=terms)


def _rows(results: Results, weights: Mapping[str, float]) -> dict[Row, float]:
    """Every row's weight: a term's is shared by its rows. Empty if a term has no row."""
    every = dict.fromkeys(row for pair in results.pairs for row in results.rows(pair))
    of_row: dict[Row, float] = {}
    for term, weight in terms_of(weights).items():
        rows = [row for row in every if term.includes(row.method, row.teacher, row.student)]
        if not rows:
            return {}
        of_row |= {row: of_row.get(row, 0.0) + weight / len(rows) for row in rows}
    return of_row


def _sampled(
    results: Results,
    name: str,
    rows: Mapping[Row, float],
    measure: Measure,
    family: ContrastFamily,
) -> Sample:
    """The contrast on the seeds that all of its rows have; without items where there are none."""
    parts = [
        (sign, [replace(measure, slice=part) for part in slices]) for sign, slices in family.parts
    ]
    every = [of_slice for _, slices in parts for of_slice in slices]
    seeds = results.seeds(rows, every)
    if not seeds:
        return Sample(name, (), np.zeros(0), np.zeros((0, 0)), np.zeros(0), 0.0)
    ids = [results.matrix(row, of_slice).items for row in rows for of_slice in every]
    items = ids[0].append(ids[1:]).unique()

    weights = np.array([*rows.values()])
    scores, influences, units = np.zeros(len(seeds)), np.zeros((len(seeds), len(items))), 0.0
    for sign, slices in parts:
        of_rows = contributions(*_sums(results, [*rows], seeds, slices, items))
        scores += sign * np.einsum("r,rs->s", weights, of_rows.scores)
        influences += sign * np.einsum("r,rsi->si", weights, of_rows.influences)
        units += sign * (weights @ of_rows.centred_on(of_rows.scores.mean()).mean(axis=1))
    positive = float(weights[weights > 0].sum())
    largest = measure.metric.largest_difference * positive * len(parts)
    return Sample(name, seeds, scores, influences, np.asarray(units), largest)


def _sums(
    results: Results,
    rows: Sequence[Row],
    seeds: tuple[int, ...],
    slices: Sequence[Measure],
    items: pd.Index,
) -> np.ndarray:
    """Σ w v and Σ w of items on slices taken together: [2, rows, seeds, items]."""
    sums = np.zeros((2, len(rows), len(seeds), len(items)))
    for (i, row), of_slice in product(enumerate(rows), slices):
        matrix, runs = results.matrix(row, of_slice), results.runs[row, of_slice]
        places = matrix.evaluations.get_indexer([runs[seed] for seed in seeds])
        columns = items.get_indexer(matrix.items)
        sums[0, i][:, columns] += matrix.weighted[places]
        sums[1, i][:, columns] += matrix.weights[places]
    return sums


def _estimated(samples: Sequence[Sample]) -> Estimated:
    """Estimates and tests of contrasts on the same seeds and items.

    With one seed both tests are over items, and the larger p-value counts, as between methods.
    """
    scores = np.stack([sample.scores for sample in samples])
    products = influence_products(np.stack([sample.influences for sample in samples]))
    estimates = bootstrap.method_estimates(scores, products)
    p_values = estimates.p_values()
    if scores.shape[1] == 1:
        units = np.stack([*(sample.units for sample in samples), np.zeros(estimates.items)])
        places = np.arange(len(samples))
        p_values = np.maximum(p_values, sign_flip_p_values(units, places, 0 * places + len(places)))
    return Estimated(samples, estimates, p_values, copies.copy_classes(scores, products))


def _written(weights: Mapping[str, float]) -> str:
    """A contrast as a sum: "jsd@large - 0.5 sft"."""
    text = ""
    for term, weight in weights.items():
        factor = "" if abs(weight) == 1 else f"{abs(weight):g} "
        text += f"{' - ' if weight < 0 else ' + ' if text else ''}{factor}{term}"
    return text.strip()

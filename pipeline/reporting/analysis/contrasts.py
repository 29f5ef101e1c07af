"""Contrasts of the configuration: their values, intervals and tests.

A contrast is a sum of scores by weights that sum to zero, on the training seeds that all of its
rows have. Its variance is that of a mean over seeds and items (`pipeline.statistics.bootstrap`):
seed by seed the contrast is one score, and an item's influence on it is the same sum of influences.
Items that a slice leaves out have no influence on that slice's scores.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pipeline.reporting.analysis.differences import tested
from pipeline.reporting.analysis.findings import Contrast
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Results, Row
from pipeline.settings.contrasts import ContrastFamily, Term, terms_of
from pipeline.statistics import bootstrap, copies
from pipeline.statistics.bootstrap import Estimates
from pipeline.statistics.items import Contributions, contributions, influence_products
from pipeline.statistics.tests import holm_over_groups, sign_flip_p_values

Weights = Mapping[Row, float]


@dataclass(frozen=True)
class Sample:
    """A contrast by training seed and item, before it is tested."""

    name: str
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
        rows = _rows(results, weights)
        if seeds := _common_seeds(results, rows, measure, family):
            sample = _sampled(results, contrast, rows, seeds, measure, family)
            if len(sample.units) > 1:  # a single item says nothing about other items
                alike.setdefault((seeds, len(sample.units)), []).append(sample)
    groups = [_estimated(samples) for samples in alike.values()]
    shown = replace(measure, slice=family.slice_text)
    families = holm_over_groups(
        [group.p_values for group in groups], [group.hypotheses for group in groups]
    )
    for group, corrected in zip(groups, families, strict=True):
        largest, seeds = [sample.largest for sample in group.samples], len(group.samples[0].scores)
        values = tested(shown, group.estimates, corrected, group.p_values, largest, seeds)
        for sample, one in zip(group.samples, values, strict=True):
            terms = _written(family.contrasts[sample.name])
            yield Contrast(**vars(one), family=name, name=sample.name, terms=terms)


def _rows(results: Results, weights: Mapping[str, float]) -> dict[Row, float]:
    """Every row's weight: a term's is shared by its rows. Empty if a term has no row."""
    of_row: dict[Row, float] = {}
    for term, weight in terms_of(weights).items():
        rows = _rows_of(results, term)
        if not rows:
            return {}
        for row in rows:
            of_row[row] = of_row.get(row, 0.0) + weight / len(rows)
    return of_row


def _rows_of(results: Results, term: Term) -> list[Row]:
    every = (row for pair in results.pairs for row in results.rows(pair))
    chosen = (row for row in every if term.includes(row.method, row.teacher, row.student))
    return list(dict.fromkeys(chosen))


def _common_seeds(
    results: Results, rows: Weights, measure: Measure, family: ContrastFamily
) -> tuple[int, ...]:
    slices = [name for _, names in family.parts for name in names]
    runs = [
        results.runs.get((row, replace(measure, slice=name)), {}).keys()
        for row in rows
        for name in slices
    ]
    return tuple(sorted(set.intersection(*map(set, runs)))) if runs else ()


def _sampled(
    results: Results,
    name: str,
    rows: Weights,
    seeds: tuple[int, ...],
    measure: Measure,
    family: ContrastFamily,
) -> Sample:
    weights = np.array([*rows.values()])
    items = _items(results, rows, measure, family)
    scores, influences, units = np.zeros(len(seeds)), np.zeros((len(seeds), len(items))), 0.0
    for sign, slices in family.parts:
        of_rows = _contributions(results, rows, seeds, measure, slices, items)
        scores += sign * np.einsum("r,rs->s", weights, of_rows.scores)
        influences += sign * np.einsum("r,rsi->si", weights, of_rows.influences)
        centred = of_rows.centred_on(of_rows.scores.mean()).mean(axis=1)
        units += sign * (weights @ centred)
    positive = float(weights[weights > 0].sum())
    largest = measure.metric.largest_difference * positive * len(family.parts)
    return Sample(name, scores, influences, np.asarray(units), largest)


def _items(results: Results, rows: Weights, measure: Measure, family: ContrastFamily) -> pd.Index:
    """Every item that any row was scored on, in any slice."""
    ids = [
        results.matrix(row, replace(measure, slice=name)).items
        for row in rows
        for _, slices in family.parts
        for name in slices
    ]
    return ids[0].append(ids[1:]).unique()


def _contributions(
    results: Results,
    rows: Weights,
    seeds: tuple[int, ...],
    measure: Measure,
    slices: tuple[str, ...],
    items: pd.Index,
) -> Contributions:
    """Contributions of items to scores on slices taken together: arrays [rows, seeds, items]."""
    weighted = np.zeros((len(rows), len(seeds), len(items)))
    weights = np.zeros_like(weighted)
    for name in slices:
        of_slice = replace(measure, slice=name)
        for i, row in enumerate(rows):
            matrix, runs = results.matrix(row, of_slice), results.runs[row, of_slice]
            positions = matrix.evaluations.get_indexer([runs[seed] for seed in seeds])
            columns = items.get_indexer(matrix.items)
            weighted[i][:, columns] += matrix.weighted[positions]
            weights[i][:, columns] += matrix.weights[positions]
    return contributions(weighted, weights)


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

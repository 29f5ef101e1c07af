"""The budget at which the order of two methods changes, and how certain it is over seeds."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.reporting.analysis.scores import Row
from pipeline.reporting.analysis.texts import nats
from pipeline.reporting.costs.attribution import CostData
from pipeline.reporting.costs.quality_vs_cost import (
    CONFIDENCE,
    FLOPS,
    NAMES,
    SECONDS,
    CostComparison,
    cost_comparisons,
    margin,
)
from pipeline.reporting.render.table import MISSING, Cell, Column, Heading, Table, number_cell

SHOWN = 10  # crossovers of a comparison, those with the clearest leads
BUDGETS = 256  # at which all methods are compared, at most
CAPTION = (
    "Pairs of methods whose order by held-out NLL changes, at the last budget where it does: of "
    "the mean over shared seeds, linear between validations. The interval holds all budgets around "
    f"it at which a paired t-test over seeds ({100 * CONFIDENCE:.0f} %, not corrected for the "
    f"number of pairs) finds no significant difference; {MISSING}: it has no measured end, always "
    f"so with one seed. At most {SHOWN} of a group, those with the clearest lead on both sides. "
    "Intermediate points are not runs tuned for that budget."
)


@dataclass(frozen=True)
class CrossoverPoint:
    """The budget from which one method stays ahead of another, by the mean over seeds."""

    budget: float
    low: float  # the highest budget below it at which the first leads significantly, or NaN
    high: float  # the lowest budget above it at which the other one does, or NaN
    agreeing_seeds: int  # seeds whose own difference changes sign the same way
    seeds: int


@dataclass(frozen=True)
class Crossover:
    """Two methods of which the first leads up to some budget, and the other from there on."""

    comparison: CostComparison
    first: Row
    later: Row
    lead_before: float  # nats, at its largest
    lead_after: float  # nats, at the end
    point: CrossoverPoint


def _budget(crossover: Crossover, budget: float) -> Cell:
    return number_cell(budget, crossover.comparison.unit.text)


def _seeds(crossover: Crossover) -> Cell:
    agreeing = crossover.point.agreeing_seeds
    return Cell(f"{agreeing} of {crossover.point.seeds}", agreeing)


COLUMNS: tuple[Column[Crossover], ...] = (
    Column.method(lambda crossover: crossover.first, "Leads first"),
    Column.method(lambda crossover: crossover.later, "Leads later"),
    Column(Heading("From", "budget"), lambda each: _budget(each, each.point.budget)),
    Column(Heading("Interval", "lower end"), lambda each: _budget(each, each.point.low)),
    Column(Heading("Interval", "upper end"), lambda each: _budget(each, each.point.high)),
    Column(Heading("Seeds", "that agree, of all", numeric=False), _seeds),
    Column.number("Lead before", lambda each: each.lead_before, nats, "nats/token, at most"),
    Column.number("Lead at the end", lambda each: each.lead_after, nats, "nats/token"),
)


def crossover_table(data: CostData) -> Table | None:
    """The clearest crossovers of each comparison; None where no order ever changes."""
    items = {
        comparison.names: crossovers(comparison)
        for unit in (SECONDS, FLOPS)
        for comparison in cost_comparisons(data, unit)
    }
    records = pd.DataFrame(
        {
            "teacher": crossover.first.teacher,
            "student": crossover.first.student,
            "account": crossover.comparison.account,
            "first": crossover.first.method,
            "later": crossover.later.method,
            "unit": crossover.comparison.unit.title,
            "value": crossover.point.budget,
            "low": crossover.point.low,
            "high": crossover.point.high,
            "n_seeds": crossover.point.seeds,
            "agreeing_seeds": crossover.point.agreeing_seeds,
            "lead_before_nats": crossover.lead_before,
            "lead_after_nats": crossover.lead_after,
        }
        for of_comparison in items.values()
        for crossover in of_comparison
    )
    return Table.of("crossovers", CAPTION, COLUMNS, items, NAMES, records, data.title)


def crossovers(comparison: CostComparison) -> list[Crossover]:
    """The clearest crossovers: those whose smaller lead, before or after, is largest."""
    clearest = []
    for first, later in _candidates(comparison)[:SHOWN]:
        budgets = _budgets(comparison, (first, later))
        differences = comparison.differences(first, later, budgets)
        measured = ~np.isnan(differences).any(axis=0)
        budgets, differences = budgets[measured], differences[:, measured]
        if len(differences) and (point := crossover_point(budgets, differences)):
            mean = differences.mean(axis=0)
            clearest.append(Crossover(comparison, first, later, -mean.min(), mean[-1], point))
    return clearest


def _candidates(comparison: CostComparison) -> list[tuple[Row, Row]]:
    """Methods that lead first and at the end, the clearest first, by the means over all seeds."""
    rows, budgets = list(comparison.curves), _budgets(comparison, comparison.curves)
    thinned = budgets[np.unique(np.linspace(0, len(budgets) - 1, BUDGETS).astype(int))]
    means = np.stack([comparison.at(row, thinned).mean(axis=0) for row in rows])
    candidates: list[tuple[float, Row, Row]] = []
    for index, row in enumerate(rows[:-1]):
        leads = means[index + 1 :] - means[index]  # of this row over each that follows
        later = np.minimum(leads[:, -1], -np.fmin.reduce(leads, axis=1))
        first = np.minimum(-leads[:, -1], np.fmax.reduce(leads, axis=1))
        for other, clear_later, clear_first in zip(rows[index + 1 :], later, first, strict=True):
            if clear_later > 0:
                candidates.append((clear_later, other, row))
            elif clear_first > 0:
                candidates.append((clear_first, row, other))
    candidates.sort(key=lambda candidate: -candidate[0])
    return [(first, later) for _, first, later in candidates]


def _budgets(comparison: CostComparison, rows: Iterable[Row]) -> np.ndarray:
    """Every budget at which one of these methods was measured."""
    curves = (curve for row in rows for curve in comparison.curves[row].values())
    return np.unique(np.concatenate([curve.costs for curve in curves]))


def crossover_point(budgets: np.ndarray, differences: np.ndarray) -> CrossoverPoint | None:
    """The last budget at which the mean of the differences [seeds, budgets] turns positive.

    None where the mean is never below zero, or not above it in the end.
    """
    mean = differences.mean(axis=0)
    below = np.flatnonzero(mean < 0)
    if not len(below) or mean[-1] <= 0:
        return None
    last = below[-1]
    share = mean[last] / (mean[last] - mean[last + 1])
    budget = float(budgets[last] + share * (budgets[last + 1] - budgets[last]))

    significant = np.abs(mean) > margin(differences)
    before = budgets[significant & (mean < 0)]  # the mean is below zero nowhere after `last`
    after = budgets[last + 1 :][significant[last + 1 :]]
    agreeing = (differences[:, -1] > 0) & (differences < 0).any(axis=1)
    return CrossoverPoint(
        budget,
        float(before[-1]) if len(before) else np.nan,
        float(after[0]) if len(after) else np.nan,
        int(agreeing.sum()),
        len(differences),
    )

"""Which method leads at equal steps, at equal time and at equal FLOPs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.reporting.analysis.scores import Row
from pipeline.reporting.analysis.texts import nats
from pipeline.reporting.costs.attribution import CostData
from pipeline.reporting.costs.quality_vs_cost import (
    NAMES,
    STEPS,
    CostComparison,
    Unit,
    cost_comparisons,
    margin,
)
from pipeline.reporting.render.table import (
    MISSING,
    Cell,
    Group,
    Heading,
    Table,
    method_cell,
    number_cell,
)

SHARES = (0.25, 0.5, 0.75, 1.0)
UNKNOWN = (math.nan, math.nan, math.nan)
FINISHED = ("Cheapest", "25 %", "50 %", "75 %", "All")
CAPTION = (
    "Held-out NLL in nats/token, mean ± standard deviation over training seeds, interpolated "
    "linearly between validations; a finished training keeps its last value. Lead over the "
    "runner-up: ± half-width of the 95 % interval of a paired t-test over shared seeds, not "
    f"corrected for picking the best. {MISSING}: not measured by then, or a single seed. "
    "Intermediate points are not runs tuned for that budget: their learning rate is still high."
)


@dataclass(frozen=True)
class AtBudgets:
    """The methods of a comparison at some budgets; NaN where something is not known."""

    comparison: CostComparison
    budgets: np.ndarray
    means: np.ndarray  # NLL over seeds, as are the deviations: [methods, budgets]
    deviations: np.ndarray
    lowest: Sequence[int | None]  # the place of the best method, by budget
    leads: np.ndarray  # of the best method, and both ends of their intervals: [3, budgets]

    @property
    def rows(self) -> list[Row]:
        """The methods."""
        return list(self.comparison.curves)


def equal_steps_table(data: CostData) -> Table | None:
    """NLL after the same share of the longest training's steps; None for fewer than two methods."""
    comparisons = [
        (comparison, comparison.final_costs().max() * np.array(SHARES))
        for comparison in cost_comparisons(data, STEPS)
    ]
    headings = [Heading(f"{100 * share:.0f} %", "of the steps") for share in SHARES]
    return _table("equal_steps", CAPTION, headings, comparisons, data)


def equal_cost_table(data: CostData, unit: Unit) -> Table | None:
    """NLL at the costs at which other trainings finish; None for fewer than two methods."""
    shares = np.linspace(0, 1, len(FINISHED))
    comparisons = [
        (comparison, np.quantile(comparison.final_costs(), shares, method="higher"))
        for comparison in cost_comparisons(data, unit)
    ]
    headings = [Heading(count, "finished") for count in FINISHED]
    caption = (
        f"{CAPTION} Budgets: the {unit.title} by which the cheapest training, shares of them, and "
        "all are finished; the table of costs explains the accounting."
    )
    return _table(f"equal_{unit.name}", caption, headings, comparisons, data)


def _table(
    name: str,
    caption: str,
    headings: Sequence[Heading],
    comparisons: Sequence[tuple[CostComparison, np.ndarray]],
    data: CostData,
) -> Table | None:
    if not comparisons:
        return None
    whens = [f"{heading.title} {heading.detail}" for heading in headings]
    compared = [_at_budgets(comparison, budgets) for comparison, budgets in comparisons]
    groups = tuple(_group(one, data.title(*one.comparison.names)) for one in compared)
    frame = pd.DataFrame(record for one in compared for record in _records(one, whens))
    headings = (Heading("Method", numeric=False), *headings)
    return Table(name, caption, NAMES, headings, groups, frame)


def _at_budgets(comparison: CostComparison, budgets: np.ndarray) -> AtBudgets:
    nll = [comparison.at(row, budgets) for row in comparison.curves]
    means = np.stack([seeds.mean(axis=0) for seeds in nll])
    unknown = np.full(len(budgets), np.nan)
    deviations = [seeds.std(axis=0, ddof=1) if len(seeds) > 1 else unknown for seeds in nll]
    order, known = np.argsort(means, axis=0, kind="stable").T, (~np.isnan(means)).sum(axis=0)
    rankings = [places[:count].tolist() for places, count in zip(order, known, strict=True)]
    leads = [
        _lead(comparison, ranking[:2], budget)
        for ranking, budget in zip(rankings, budgets, strict=True)
    ]
    lowest = [next(iter(ranking), None) for ranking in rankings]
    return AtBudgets(comparison, budgets, means, np.stack(deviations), lowest, np.array(leads).T)


def _lead(
    comparison: CostComparison, places: Sequence[int], budget: float
) -> tuple[float, float, float]:
    """The lead of the best over the runner-up with its interval, as far as they are known."""
    rows = list(comparison.curves)
    if len(places) < 2:
        return UNKNOWN
    best, second = (rows[place] for place in places)
    differences = comparison.differences(second, best, np.array([budget]))
    if not len(differences):  # no seed in common
        return UNKNOWN
    lead, half_width = float(differences.mean()), float(margin(differences)[0])
    if np.isinf(half_width):
        return lead, math.nan, math.nan
    return lead, lead - half_width, lead + half_width


def _records(one: AtBudgets, whens: Sequence[str]) -> Iterator[dict[str, object]]:
    comparison = one.comparison
    for place, row in enumerate(one.rows):
        for at, when in enumerate(whens):
            is_lowest = one.lowest[at] == place
            lead = one.leads[:, at] if is_lowest else UNKNOWN
            yield {
                **row.columns,
                "account": comparison.account,
                "when": when,
                "budget": one.budgets[at],
                "budget_unit": comparison.unit.title,
                "unit": "nats/token",
                "value": one.means[place, at],
                "sd": one.deviations[place, at],
                "n_seeds": len(comparison.curves[row]),
                "is_lowest": is_lowest,
                **dict(zip(("lead", "lead_low", "lead_high"), lead, strict=True)),
            }


def _group(one: AtBudgets, title: str) -> Group:
    """The NLL of each method at each budget, under the budgets and the methods that lead there."""
    unit, rows = one.comparison.unit, one.rows
    labels = [MISSING if place is None else rows[place].label for place in one.lowest]
    leads = (number_cell(lead, nats, high - lead) for lead, _, high in one.leads.T)
    references = (
        (Cell(f"budget ({unit.title})"), *(number_cell(each, unit.text) for each in one.budgets)),
        (Cell("lowest NLL"), *map(Cell, labels)),
        (Cell("lead (nats/token)"), *leads),
    )
    numbers = (
        (number_cell(mean, nats, deviation) for mean, deviation in zip(*of_row, strict=True))
        for of_row in zip(one.means, one.deviations, strict=True)
    )
    cells = ((method_cell(row), *of_row) for row, of_row in zip(rows, numbers, strict=True))
    return Group(title, one.comparison.names, references, tuple(cells))

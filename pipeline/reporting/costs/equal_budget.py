"""Which method leads at equal steps, at equal time and at equal FLOPs."""

import math
from collections.abc import Sequence
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
LEAD = "lead (nats/token)"
UNKNOWN: dict[str, float] = dict.fromkeys(("lead", "lead_low", "lead_high"), math.nan)
FINISHED = ("Cheapest", "25 %", "50 %", "75 %", "All")
CAPTION = (
    "Held-out NLL in nats/token, mean ± standard deviation over training seeds, interpolated "
    "linearly between validations; a finished training keeps its last value. Lead over the "
    "runner-up: ± half-width of the 95 % interval of a paired t-test over shared seeds, not "
    f"corrected for picking the best. {MISSING}: not measured by then, or a single seed. "
    "Intermediate points are not runs tuned for that budget: their learning rate is still high."
)


@dataclass(frozen=True)
class BudgetPoint:
    """Held-out NLL of a method at a budget, and its lead where it is the lowest; NaN: unknown."""

    teacher: str
    student: str
    method: str
    label: str
    account: str
    when: str
    budget: float
    budget_unit: str
    unit: str
    value: float
    sd: float
    n_seeds: int
    is_lowest: bool
    lead: float
    lead_low: float  # end of the lead's interval
    lead_high: float


Points = dict[Row, list[BudgetPoint]]  # of each method at all budgets


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
    points = [_points(comparison, whens, budgets) for comparison, budgets in comparisons]
    groups = (
        _group(comparison, of_comparison, data.title(*comparison.names))
        for (comparison, _), of_comparison in zip(comparisons, points, strict=True)
    )
    every = (point for by_row in points for of_row in by_row.values() for point in of_row)
    headings = (Heading("Method", numeric=False), *headings)
    return Table(name, caption, NAMES, headings, tuple(groups), pd.DataFrame(every))


def _points(comparison: CostComparison, whens: Sequence[str], budgets: np.ndarray) -> Points:
    nll = {row: comparison.at(row, budgets) for row in comparison.curves}
    points: Points = {row: [] for row in nll}
    for index, (when, budget) in enumerate(zip(whens, budgets.tolist(), strict=True)):
        means = {row: float(seeds[:, index].mean()) for row, seeds in nll.items()}
        ranking = sorted((row for row in means if not np.isnan(means[row])), key=means.__getitem__)
        lead = _lead(comparison, ranking, budget)
        for row, seeds in nll.items():
            is_lowest = row in ranking[:1]
            point = BudgetPoint(
                teacher=comparison.pair.teacher,
                student=comparison.pair.student,
                method=row.method,
                label=row.label,
                account=comparison.account,
                when=when,
                budget=budget,
                budget_unit=comparison.unit.title,
                unit="nats/token",
                value=means[row],
                sd=float(seeds[:, index].std(ddof=1)) if len(seeds) > 1 else math.nan,
                n_seeds=len(seeds),
                is_lowest=is_lowest,
                **(lead if is_lowest else UNKNOWN),
            )
            points[row].append(point)
    return points


def _lead(comparison: CostComparison, ranking: Sequence[Row], budget: float) -> dict[str, float]:
    """The lead of the best over the runner-up with its interval, as far as they are known."""
    if len(ranking) < 2:
        return UNKNOWN
    differences = comparison.differences(ranking[1], ranking[0], np.array([budget]))
    if not len(differences):  # no seed in common
        return UNKNOWN
    lead, half_width = float(differences.mean()), float(margin(differences)[0])
    if np.isinf(half_width):
        return UNKNOWN | {"lead": lead}
    return {"lead": lead, "lead_low": lead - half_width, "lead_high": lead + half_width}


def _group(comparison: CostComparison, points: Points, title: str) -> Group:
    """The NLL of each method at each budget, under the budgets and the methods that lead there."""
    unit = comparison.unit
    budgets, leaders, leads = [Cell(f"budget ({unit.title})")], [Cell("lowest NLL")], [Cell(LEAD)]
    for first, *others in zip(*points.values(), strict=True):
        budgets.append(number_cell(first.budget, unit.text))
        best = next((point for point in (first, *others) if point.is_lowest), None)
        leaders.append(Cell(best.label if best else MISSING))
        spread = best.lead_high - best.lead if best else None
        leads.append(number_cell(best.lead if best else None, nats, spread))
    rows = (
        (method_cell(row), *(number_cell(point.value, nats, point.sd) for point in of_row))
        for row, of_row in points.items()
    )
    references = (tuple(budgets), tuple(leaders), tuple(leads))
    return Group(title, comparison.names, references, tuple(rows))

"""Which method leads at equal steps, at equal time and at equal FLOPs."""

from collections.abc import Sequence
from itertools import islice, repeat

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
from pipeline.statistics.seed_means import balanced_means

SHARES = (0.25, 0.5, 0.75, 1.0)
FINISHED = ("Cheapest", "25 %", "50 %", "75 %", "All")
CAPTION = (
    "Held-out NLL in nats/token, mean ± standard deviation over training seeds, interpolated "
    "linearly between validations; a finished training keeps its last value. Lead over the "
    "runner-up: ± half-width of the 95 % interval of a paired t-test over shared seeds, not "
    f"corrected for picking the best. {MISSING}: not measured by then, or a single seed. "
    "Intermediate points are not runs tuned for that budget: their learning rate is still high."
)


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
        f"{CAPTION} Budgets: the {unit.title} by which the cheapest method, shares of them, and "
        "all are finished, each with its slowest seed; the table of costs explains the accounting."
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
    frames = [nll_at_budgets(comparison, budgets, whens) for comparison, budgets in comparisons]
    groups = [
        _group(comparison, frame, data.title(*comparison.names))
        for (comparison, _), frame in zip(comparisons, frames, strict=True)
    ]
    headings = (Heading("Method", numeric=False), *headings)
    records = pd.concat(frames, ignore_index=True)
    return Table(name, caption, NAMES, headings, tuple(groups), records)


def nll_at_budgets(
    comparison: CostComparison, budgets: np.ndarray, whens: Sequence[str]
) -> pd.DataFrame:
    """The NLL of each method at each budget, and the lead of the best, as far as it is known."""
    rows, count = list(comparison.curves), len(budgets)
    of_rows = [comparison.at(row, budgets) for row in rows]
    means = np.stack([seeds.mean(axis=0) for seeds in of_rows])  # [methods, budgets]
    unknown = np.full(count, np.nan)
    deviations = [seeds.std(axis=0, ddof=1) if len(seeds) > 1 else unknown for seeds in of_rows]
    best, second = np.argsort(_standings(comparison, means, budgets), axis=0, kind="stable")[:2]
    is_lowest = (np.arange(len(rows))[:, None] == best) & ~np.isnan(means)
    is_ahead = is_lowest & ((~np.isnan(means)).sum(axis=0) > 1)
    compared = zip(best, second, budgets, strict=True)
    leads = [_lead(comparison, rows[first], rows[other], each) for first, other, each in compared]
    lead, low, high = (np.where(is_ahead, ends, np.nan).ravel() for ends in np.transpose(leads))
    names = pd.DataFrame([row.columns for row in rows])
    return names.loc[np.repeat(names.index, count)].assign(
        account=comparison.account,
        when=[*whens] * len(rows),
        budget=[*budgets] * len(rows),
        budget_unit=comparison.unit.title,
        unit="nats/token",
        value=means.ravel(),
        sd=np.ravel(deviations),
        n_seeds=np.repeat([len(seeds) for seeds in of_rows], count),
        is_lowest=is_lowest.ravel(),
        lead=lead,
        lead_low=low,
        lead_high=high,
    )


def _standings(comparison: CostComparison, means: np.ndarray, budgets: np.ndarray) -> np.ndarray:
    """What methods are ranked by at each budget: `means`, as if all had the same seeds.

    NaN, which sorts last, is a mean that is not known.
    """
    if len({frozenset(of_row) for of_row in comparison.curves.values()}) == 1:
        return means
    seeds = sorted({seed for of_row in comparison.curves.values() for seed in of_row})
    unknown = np.full(len(budgets), np.nan)
    nll = np.array(  # [methods, seeds, budgets]
        [
            [of_row[seed].at(budgets) if seed in of_row else unknown for seed in seeds]
            for of_row in comparison.curves.values()
        ]
    )
    standings = means.copy()
    for place, is_known in enumerate(~np.isnan(means).T):
        if is_known.any():
            standings[is_known, place] = balanced_means(nll[is_known, :, place])
    return standings


def _lead(
    comparison: CostComparison, best: Row, second: Row, budget: float
) -> tuple[float, float, float]:
    """The lead of the best over the runner-up with its interval, as far as they are known."""
    differences = comparison.differences(second, best, np.array([budget]))
    if not len(differences):  # no seed in common
        return np.nan, np.nan, np.nan
    lead, half_width = float(differences.mean()), float(margin(differences)[0])
    half_width = np.nan if np.isinf(half_width) else half_width
    return lead, lead - half_width, lead + half_width


def _group(comparison: CostComparison, nll: pd.DataFrame, title: str) -> Group:
    """The NLL of each method at each budget, under the budgets and the methods that lead there."""
    unit, whens = comparison.unit, nll["when"].unique()
    best = nll[nll["is_lowest"]].set_index("when").reindex(whens)
    budgets = nll["budget"][: len(whens)]
    references = (
        (Cell(f"budget ({unit.title})"), *(number_cell(each, unit.text) for each in budgets)),
        (Cell("lowest NLL"), *map(Cell, best["label"].fillna(MISSING))),
        (
            Cell("lead (nats/token)"),
            *(
                number_cell(lead, nats, high - lead)
                for lead, high in zip(best["lead"], best["lead_high"], strict=True)
            ),
        ),
    )
    numbers = map(number_cell, nll["value"], repeat(nats), nll["sd"])
    cells = [(method_cell(row), *islice(numbers, len(whens))) for row in comparison.curves]
    return Group(title, comparison.names, references, tuple(cells))

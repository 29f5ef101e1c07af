"""Which method leads at equal steps, at equal time and at equal FLOPs."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from pipeline.reporting.analysis.scores import Row
from pipeline.reporting.costs.attribution import CostData
from pipeline.reporting.costs.quality_vs_cost import (
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
from pipeline.reporting.render.units import nats, pair_title

SHARES = (0.25, 0.5, 0.75, 1.0)
FINISHED = ("the cheapest is", "a quarter are", "half are", "three quarters are", "all are")
CAPTION = (
    "Held-out NLL in nats/token, mean ± standard deviation over training seeds, interpolated "
    "linearly between validations; a finished training keeps its last value. Lead over the "
    "runner-up: ± half-width of the 95 % interval of a paired t-test over shared seeds, not "
    f"corrected for picking the best. {MISSING}: not measured by then, or a single seed. "
    "Intermediate points are not runs tuned for that budget: their learning rate is still high."
)
LONG = (
    "Teacher",
    "Student",
    "Accounting",
    "Method",
    "When",
    "Budget",
    "NLL (nats/token)",
    "NLL spread",
    "Lowest",
    "Lead (nats)",
    "Lead half width",
)
BUDGET, NLL, SPREAD, LOWEST, LEAD, HALF_WIDTH = LONG[5:]


def equal_steps_table(data: CostData) -> Table | None:
    """NLL after the same share of the longest training's steps; None for fewer than two methods."""
    comparisons = [
        (one, one.final_costs().max() * np.array(SHARES)) for one in cost_comparisons(data, STEPS)
    ]
    headings = [Heading(f"{share:.0%}", "of the steps") for share in SHARES]
    return _table("equal_steps", CAPTION, headings, comparisons, data)


def equal_cost_table(data: CostData, unit: Unit) -> Table | None:
    """NLL at the costs at which other trainings finish; None for fewer than two methods."""
    shares = np.linspace(0, 1, len(FINISHED))
    comparisons = [
        (one, np.quantile(one.final_costs(), shares, method="higher"))
        for one in cost_comparisons(data, unit)
    ]
    headings = [Heading(f"When {count}", "finished") for count in FINISHED]
    caption = f"{CAPTION} Budgets are in {unit.title}; the cost table explains the accounting."
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
    frames = [
        pd.DataFrame(_records(comparison, whens, budgets)) for comparison, budgets in comparisons
    ]
    return Table(
        name=name,
        caption=caption,
        group_headings=("Teacher", "Student", "Accounting"),
        headings=(Heading("Method", numeric=False), *headings),
        groups=tuple(
            _group(comparison, frame, data)
            for (comparison, _), frame in zip(comparisons, frames, strict=True)
        ),
        data=pd.concat(frames)[list(LONG)],
    )


def _records(
    comparison: CostComparison, whens: Iterable[str], budgets: np.ndarray
) -> Iterator[dict[str, object]]:
    """A record for each budget and method, under the names of LONG, and its row of results."""
    nll = {row: comparison.at(row, budgets) for row in comparison.curves}
    pair = (comparison.pair.teacher, comparison.pair.student, comparison.title)
    for index, (when, budget) in enumerate(zip(whens, budgets, strict=True)):
        means = {row: float(seeds[:, index].mean()) for row, seeds in nll.items()}
        ranking = sorted((row for row in means if not np.isnan(means[row])), key=means.__getitem__)
        for row, seeds in nll.items():
            best = row in ranking[:1]
            spread = seeds[:, index].std(ddof=1) if len(seeds) > 1 else np.nan
            lead = _lead(comparison, ranking, budget) if best else (np.nan, np.nan)
            numbers = (budget, means[row], spread, best, *lead)
            yield dict(zip(LONG, (*pair, row.label, when, *numbers), strict=True)) | {"row": row}


def _lead(comparison: CostComparison, ranking: Sequence[Row], budget: float) -> tuple[float, float]:
    """The lead of the best over the runner-up, and the half-width of its interval."""
    if len(ranking) < 2:
        return np.nan, np.nan
    differences = comparison.differences(ranking[1], ranking[0], np.array([budget]))
    if not len(differences):  # no seed in common
        return np.nan, np.nan
    half_width = float(margin(differences)[0])
    return float(differences.mean()), half_width if np.isfinite(half_width) else np.nan


def _group(comparison: CostComparison, frame: pd.DataFrame, data: CostData) -> Group:
    leaders = frame[frame[LOWEST]].set_index("When")
    at_budget = frame.drop_duplicates("When").set_index("When")
    leaders = leaders.reindex(at_budget.index)
    unit = comparison.unit
    return Group(
        f"{pair_title(comparison.pair, data.sizes)}: {comparison.title}",
        (comparison.pair.teacher, comparison.pair.student, comparison.title),
        (
            (Cell(f"budget ({unit.title})"), *_cells(at_budget, BUDGET, unit.text)),
            (Cell("lowest NLL"), *map(Cell, leaders["Method"].fillna(MISSING))),
            (Cell("lead (nats)"), *_cells(leaders, LEAD, nats, HALF_WIDTH, "half width")),
        ),
        tuple(
            (method_cell(row), *_cells(cells, NLL, nats, SPREAD))
            for row, cells in frame.groupby("row", sort=False)
        ),
    )


def _cells(
    frame: pd.DataFrame,
    column: str,
    text: Callable[[float], str],
    spread: str = "",
    name: str = "spread",
) -> Iterator[Cell]:
    spreads = frame[spread] if spread else [np.nan] * len(frame)
    for value, beside in zip(frame[column], spreads, strict=True):
        yield number_cell(value, text, beside, name)

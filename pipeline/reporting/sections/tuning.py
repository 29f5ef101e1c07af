"""Table of the settings that a search chose for each method, and of what it took to choose them."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import numpy as np
import pandas as pd

from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.searches import Search, described
from pipeline.reporting.costs.attribution import job_costs, total
from pipeline.reporting.render.table import (
    Cell,
    Heading,
    Table,
    method_cell,
    number_cell,
    pair_table,
    text_cell,
)
from pipeline.reporting.render.units import operations

CAPTION = (
    "The chosen setting, its validation score (mean over tuning seeds) and its lead over the "
    "second-best setting, positive if better. A choice at the edge of what was tried says that a "
    "value beyond it might have been better still. Hours are those of one core or GPU, of all "
    "trials together; the Cost section charges them to the method."
)
INSIDE = "no"
HOUR = 3600


def tuning_table(
    inputs: ReportInputs, searches: Sequence[Search], sizes: Mapping[str, int]
) -> Table | None:
    """The chosen settings; None where nothing was tuned."""
    headings = (
        Heading("Method", numeric=False),
        Heading("Chosen", numeric=False),
        Heading("Validation score"),
        Heading("Lead"),
        Heading("At the edge", numeric=False),
        Heading("Trials"),
        Heading("Core or GPU time", "h"),
        Heading("FLOPs"),
    )
    rows = {
        pair: [_cells(inputs, search) for search in of_pair]
        for pair, of_pair in groupby(searches, lambda search: search.pair)
    }
    data = pd.DataFrame(record for search in searches for record in _records(search))
    return pair_table("tuning", CAPTION, headings, rows, sizes, data)


def _cells(inputs: ReportInputs, search: Search) -> tuple[Cell, ...]:
    costs = total(job_costs(inputs, search.trials))
    unit = search.measure.unit
    return (
        method_cell(search.row),
        text_cell(described(search.chosen.values)),
        number_cell(search.chosen.mean, lambda score: f"{score:.3f} {unit}"),
        number_cell(_lead(search), "{:.3f}".format),
        text_cell(", ".join(search.edges) or INSIDE),
        number_cell(len(search.trials), str),
        number_cell(costs["device_seconds"] / HOUR, "{:,.2f}".format),
        number_cell(costs["flops"], operations),
    )


def _lead(search: Search) -> float | None:
    others = [
        setting.mean
        for position, setting in enumerate(search.choice.tried)
        if position != search.choice.chosen and setting.mean is not None
    ]
    if not others or search.chosen.mean is None:
        return None
    if search.measure.higher_is_better:
        return search.chosen.mean - max(others)
    return min(others) - search.chosen.mean


def _records(search: Search) -> Iterable[dict[str, object]]:
    for position, setting in enumerate(search.choice.tried):
        is_chosen = position == search.choice.chosen
        yield {
            **search.row.columns,
            "metric": search.measure.column,
            "unit": search.measure.unit,
            "setting": described(setting.values),
            "value": np.nan if setting.mean is None else setting.mean,
            "n_seeds": len(setting.scores),
            "is_chosen": is_chosen,
            "is_at_edge": is_chosen and bool(search.edges),
        }

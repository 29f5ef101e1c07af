"""Table of the settings that a search chose for each method, and of what it took to choose them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import Results
from pipeline.reporting.analysis.searches import Search, described
from pipeline.reporting.analysis.texts import operations
from pipeline.reporting.costs.attribution import job_costs, total
from pipeline.reporting.render.table import (
    Cell,
    Column,
    Heading,
    Table,
    method_column,
    number_cell,
    number_column,
    pair_table,
    text_column,
)

CAPTION = (
    "The chosen setting, its validation score (mean over tuning seeds) and its lead over the "
    "second-best setting, positive if better. A choice at the edge of what was tried says that a "
    "value beyond it might have been better still. Hours are those of one core or GPU, of all "
    "trials together; the Cost section charges them to the method."
)
INSIDE = "no"
HOUR = 3600


def tuning_table(
    inputs: ReportInputs, searches: Sequence[Search], results: Results
) -> Table | None:
    """The chosen settings; None where nothing was tuned."""
    costs = {search.row: total(job_costs(inputs, search.trials)) for search in searches}
    columns: tuple[Column[Search], ...] = (
        method_column(lambda search: search.row),
        text_column("Chosen", lambda search: described(search.chosen.values)),
        Column(Heading("Validation score"), _score_cell),
        number_column("Lead", _lead, "{:.3f}".format),
        text_column("At the edge", lambda search: ", ".join(search.edges) or INSIDE),
        number_column("Trials", lambda search: len(search.trials)),
        number_column(
            "Core or GPU time",
            lambda search: costs[search.row]["device_seconds"] / HOUR,
            "{:,.2f}".format,
            "h",
        ),
        number_column("FLOPs", lambda search: costs[search.row]["flops"], operations),
    )
    items = {
        pair: [search for search in searches if search.row.pair == pair] for pair in results.pairs
    }
    data = pd.DataFrame(
        {
            **search.row.columns,
            "metric": search.measure.column,
            "unit": search.measure.unit,
            "setting": described(setting.values),
            "value": np.nan if setting.mean is None else setting.mean,
            "n_seeds": len(setting.scores),
            "is_chosen": setting is search.chosen,
            "is_at_edge": setting is search.chosen and bool(search.edges),
        }
        for search in searches
        for setting in search.choice.tried
    )
    return pair_table("tuning", CAPTION, columns, items, results, data)


def _score_cell(search: Search) -> Cell:
    return number_cell(search.chosen.mean, lambda score: f"{score:.3f} {search.measure.unit}")


def _lead(search: Search) -> float | None:
    best = search.chosen.mean
    tried = (setting.mean for setting in search.choice.tried if setting is not search.chosen)
    others = [mean for mean in tried if mean is not None]
    if not others or best is None:
        return None
    return best - max(others) if search.measure.higher_is_better else min(others) - best

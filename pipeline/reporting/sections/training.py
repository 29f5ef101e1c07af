"""Tables of training: the settings that searches chose, and the steps whose weights were kept."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pipeline.artifacts.validations import MEASURES, kept_position
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import Results, Row
from pipeline.reporting.analysis.searches import Search, described
from pipeline.reporting.analysis.texts import operations
from pipeline.reporting.costs.attribution import job_costs, total
from pipeline.reporting.render.table import Column, Heading, Table, number_cell

ABOUT_SEARCHES = (
    "The chosen setting, its validation score (mean over tuning seeds) and its lead over the "
    "second-best setting, positive if better. A choice at the edge of what was tried says that a "
    "value beyond it might have been better still. Hours are those of one core or GPU, of all "
    "trials together; the Cost section charges them to the method."
)
ABOUT_KEPT = (
    "The optimizer step whose weights were kept and evaluated, for each training seed: the best of "
    "the validations on the way. A step that is the last of all says that a longer training might "
    "have been better still."
)
HOUR = 3600
TITLES = {measure.column: measure.title for measure in MEASURES.values()}


def tuning_table(
    inputs: ReportInputs, searches: Sequence[Search], results: Results
) -> Table | None:
    """The settings that a search chose for each method; None where nothing was tuned."""
    costs = {search.row: total(job_costs(inputs, search.trials)) for search in searches}
    columns: tuple[Column[Search], ...] = (
        Column.method(lambda search: search.row),
        Column.text("Chosen", lambda search: described(search.chosen.values)),
        Column(
            Heading("Validation score"),
            lambda search: number_cell(
                search.chosen.mean, f"{{:.3f}} {search.measure.unit}".format
            ),
        ),
        Column.number("Lead", _lead, "{:z.3f}".format),
        Column.text("At the edge", lambda search: ", ".join(search.edges) or "no"),
        Column.number("Trials", lambda search: len(search.trials)),
        Column.number(
            "Core or GPU time",
            lambda search: costs[search.row]["device_seconds"] / HOUR,
            "{:,.2f}".format,
            "h",
        ),
        Column.number("FLOPs", lambda search: costs[search.row]["flops"], operations),
    )
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
    items = {pair: [each for each in searches if each.row.pair == pair] for pair in results.pairs}
    return Table.of_pairs("tuning", ABOUT_SEARCHES, columns, items, results, data)


def _lead(search: Search) -> float | None:
    best = search.chosen.mean
    tried = (setting.mean for setting in search.choice.tried if setting is not search.chosen)
    others = [mean for mean in tried if mean is not None]
    if not others or best is None:
        return None
    return best - max(others) if search.measure.higher_is_better else min(others) - best


def kept_weights_table(inputs: ReportInputs, results: Results) -> Table | None:
    """The kept steps; None where every training ended with its last weights."""
    seeds = dict(zip(inputs.grid["student_id"], inputs.grid["seed"], strict=True))
    kept = {row: steps for row in results.trained if len(steps := _kept(inputs, row, seeds))}
    columns: tuple[Column[Row], ...] = (
        Column.method(lambda row: row),
        Column.text(
            "Steps kept",
            lambda row: (
                f"{', '.join(map('{:,}'.format, kept[row]['step']))} of "
                f"{kept[row]['steps'].iloc[0]:,}"
            ),
            "a seed each",
        ),
        Column.text("Chosen by", lambda row: TITLES[kept[row]["metric"].iloc[0]]),
    )
    items = {pair: [row for row in results.methods[pair] if row in kept] for pair in results.pairs}
    data = pd.concat(kept.values()) if kept else pd.DataFrame()
    return Table.of_pairs("kept_weights", ABOUT_KEPT, columns, items, results, data)


def _kept(inputs: ReportInputs, row: Row, seeds: Mapping[str, int]) -> pd.DataFrame:
    """The step that each training seed of a row kept, if it was the best one.

    `seeds` are those of all students, by id.
    """
    records = []
    for id in inputs.students[row.cell]:
        training = inputs.manifests[inputs.model_folders[id]]["settings"]["training"]
        if training.get("keep") == "best":
            measure, steps = MEASURES[training["keep_by"]], inputs.training_steps[id]
            best = kept_position(steps, training["keep_by"])
            about = {
                **row.columns,
                "seed": seeds[id],
                "metric": measure.column,
                "unit": measure.unit,
            }
            step, value = int(steps["step"][best]), float(steps[measure.column][best])
            records.append({**about, "step": step, "steps": len(steps["step"]), "value": value})
    return pd.DataFrame(records)

"""Table of the share of the gap to the teacher that each method closes."""

import pandas as pd

from pipeline.reporting.analysis.findings import Comparisons, GapClosed
from pipeline.reporting.analysis.scores import Row
from pipeline.reporting.analysis.texts import percent
from pipeline.reporting.render.table import (
    MISSING,
    Cell,
    Column,
    Heading,
    Table,
    method_column,
    number_column,
    pair_table,
)


def gap_closed_table(comparisons: Comparisons) -> Table | None:
    """The shares; None where no method is plain fine-tuning, or there is no gap anywhere."""
    results, base = comparisons.results, comparisons.gap_baseline
    gaps = {(gap.row, gap.measure): gap for gap in comparisons.gaps_closed}
    by_seeds = sorted(comparisons.gaps_closed, key=lambda gap: gap.seed_count)
    seeds = {gap.row: gap.seed_count for gap in by_seeds}  # the most of any measure
    columns: tuple[Column[Row], ...] = (
        method_column(lambda row: row),
        number_column("Seeds", lambda row: seeds[row]),
        *(
            Column(
                Heading(measure.metric.title, f"{measure.task}, % (95 % interval)"),
                lambda row, measure=measure: _cell(gaps.get((row, measure))),
            )
            for measure in dict.fromkeys(measure for _, measure in gaps)
        ),
    )
    caption = (
        f"Share of the gap from {base} to the teacher: (method − {base}) / (teacher − {base}), "
        "paired over seeds and items, with Fieller's interval for each share alone, not corrected "
        "for several; the teacher is the one at hand, not a random draw of teachers. "
        f"{MISSING}: not measured, or the teacher is not significantly better (the interval of the "
        "gap contains zero), or a mean over tokens of another vocabulary than the students'."
    )
    data = pd.DataFrame(
        {
            **gap.row.columns,
            **gap.measure.columns,
            "unit": "%",
            "value": 100 * gap.share,
            "low": 100 * gap.interval.low,
            "high": 100 * gap.interval.high,
            "n_seeds": gap.seed_count,
        }
        for gap in comparisons.gaps_closed
    )
    items = {pair: [row for row in results.methods[pair] if row in seeds] for pair in results.pairs}
    return pair_table("gap_closed", caption, columns, items, results, data)


def _cell(gap: GapClosed | None) -> Cell:
    if gap is None:
        return Cell(MISSING)
    ends = f"{percent(gap.interval.low)} to {percent(gap.interval.high)}"
    return Cell(f"{percent(gap.share)} ({ends})", gap.share)

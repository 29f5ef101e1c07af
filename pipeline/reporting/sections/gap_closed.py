"""Table of the share of the gap to the teacher that each method closes."""

import pandas as pd

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Row
from pipeline.reporting.analysis.texts import percent
from pipeline.reporting.render.table import MISSING, Cell, Column, Heading, Table

CAPTION = (
    "Share of the gap from {0} to the teacher: (method − {0}) / (teacher − {0}), paired over seeds "
    "and items, with Fieller's interval for each share alone, not corrected for several; the "
    "teacher is the one at hand, not a random draw of teachers. "
    f"{MISSING}: not measured, or the teacher is not significantly better (the interval of the "
    "gap contains zero), or a mean over tokens of another vocabulary than the students'."
)


def gap_closed_table(comparisons: Comparisons) -> Table | None:
    """The shares; None where no method is plain fine-tuning, or there is no gap anywhere."""
    results = comparisons.results
    gaps = {(gap.row, gap.measure): gap for gap in comparisons.gaps_closed}
    by_seeds = sorted(comparisons.gaps_closed, key=lambda gap: gap.seed_count)
    seeds = {gap.row: gap.seed_count for gap in by_seeds}  # the most of any measure

    def cell(row: Row, measure: Measure) -> Cell:
        if (row, measure) not in gaps:
            return Cell(MISSING)
        gap = gaps[row, measure]
        ends = f"{percent(gap.interval.low)} to {percent(gap.interval.high)}"
        return Cell(f"{percent(gap.share)} ({ends})", gap.share)

    columns: tuple[Column[Row], ...] = (
        Column.method(lambda row: row),
        Column.number("Seeds", lambda row: seeds[row]),
        *(
            Column(
                Heading(measure.metric.title, f"{measure.task}, % (95 % interval)"),
                lambda row, measure=measure: cell(row, measure),
            )
            for measure in dict.fromkeys(measure for _, measure in gaps)
        ),
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
    caption = CAPTION.format(comparisons.gap_baseline)
    return Table.of_pairs("gap_closed", caption, columns, items, results, data)

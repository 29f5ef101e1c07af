"""Table of the share of the gap to the teacher that each method closes."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from pipeline.reporting.analysis.findings import Comparisons, GapClosed
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Results, Row
from pipeline.reporting.render.table import (
    MISSING,
    Cell,
    Heading,
    Table,
    method_cell,
    number_cell,
    pair_table,
)
from pipeline.reporting.render.units import percent


def gap_closed_table(
    comparisons: Comparisons, results: Results, sizes: Mapping[str, int]
) -> Table | None:
    """The shares; None where no method is plain fine-tuning, or there is no gap anywhere."""
    gaps = {(gap.row, gap.measure): gap for gap in comparisons.gaps_closed}
    if not gaps:
        return None
    measures = list(dict.fromkeys(measure for _, measure in gaps))
    headings = [
        Heading(measure.metric.title, f"{measure.task}, % (95 % interval)") for measure in measures
    ]
    base = comparisons.gap_baseline
    caption = (
        f"Share of the gap from {base} to the teacher: (method − {base}) / (teacher − {base}), "
        "paired over seeds and items, with Fieller's interval for each share alone, not corrected "
        "for several; the teacher is the one at hand, not a random draw of teachers. "
        f"{MISSING}: not measured, or the teacher is not significantly better (the interval of the "
        "gap contains zero)."
    )
    rows = {pair: _rows(results.methods[pair], measures, gaps) for pair in results.pairs}
    columns = (Heading("Method", numeric=False), Heading("Seeds"), *headings)
    data = pd.DataFrame(map(_record, comparisons.gaps_closed))
    return pair_table("gap_closed", caption, columns, rows, sizes, data)


def _record(gap: GapClosed) -> dict[str, object]:
    return {
        **gap.row.columns,
        **gap.measure.columns,
        "unit": "%",
        "value": 100 * gap.share,
        "low": 100 * gap.interval.low,
        "high": 100 * gap.interval.high,
        "n_seeds": gap.seed_count,
    }


def _rows(
    rows: Sequence[Row],
    measures: Sequence[Measure],
    gaps: Mapping[tuple[Row, Measure], GapClosed],
) -> Iterator[tuple[Cell, ...]]:
    for row in rows:
        of_row = [gaps.get((row, measure)) for measure in measures]
        if known := [gap.seed_count for gap in of_row if gap]:
            yield (method_cell(row), number_cell(max(known), str), *map(_cell, of_row))


def _cell(gap: GapClosed | None) -> Cell:
    if gap is None:
        return Cell(MISSING)
    ends = f"{percent(gap.interval.low)} to {percent(gap.interval.high)}"
    return Cell(f"{percent(gap.share)} ({ends})", gap.share)

"""Table of what training changed on tasks other than the experiment's own."""

from collections import Counter
from collections.abc import Mapping, Sequence

from pipeline.reporting.analysis.findings import Comparisons, Difference
from pipeline.reporting.analysis.scores import Results
from pipeline.reporting.render.table import (
    Cell,
    Heading,
    Table,
    method_cell,
    number_cell,
    pair_table,
    text_cell,
)
from pipeline.reporting.sections.difference_tables import TESTED, difference_data, tested_cells

CAPTION = (
    "Tasks of other data than the experiment trains on: students after training minus the "
    "same model before any, paired over items, and over seeds where each has weights of its own; "
    "with one seed, of these checkpoints only. p after Holm over the table's rows of a measure, "
    "and intervals that are corrected to agree with it. Forgotten: worse than before, p (Holm) < "
    "0.05; gained: better."
)
HEADINGS = (
    Heading("Method", numeric=False),
    Heading("Measure", numeric=False),
    Heading("Before"),
    Heading("After"),
    *TESTED,
    Heading("Result", numeric=False),
)


def retention_table(
    comparisons: Comparisons, results: Results, sizes: Mapping[str, int]
) -> Table | None:
    """A row for each method and measure; None where there is no other task."""
    changes = comparisons.changes_elsewhere
    if not changes:
        return None
    rows = {
        pair: [_row(change, results) for change in changes if change.pair == pair]
        for pair in results.pairs
    }
    caption = f"{_counted(changes)} {CAPTION}"
    return pair_table("retention", caption, HEADINGS, rows, sizes, difference_data(changes))


def _counted(changes: Sequence[Difference]) -> str:
    counts = Counter(map(result_of, changes))
    return (
        f"Of {len(changes)} scores, {counts['forgotten']} are significantly worse than before, "
        f"{counts['gained']} better."
    )


def _row(change: Difference, results: Results) -> tuple[Cell, ...]:
    measure = change.measure
    before, after = (results.means[row, measure] for row in (change.second, change.first))
    return (
        method_cell(change.first),
        text_cell(f"{measure.heading}, {measure.task}"),
        number_cell(before.value, measure.format),
        number_cell(after.value, measure.format),
        *tested_cells(change),
        text_cell(result_of(change)),
    )


def result_of(change: Difference) -> str:
    """Whether something was forgotten or gained, or why neither is claimed."""
    return change.why_no_claim or ("forgotten" if change.first_is_worse else "gained")

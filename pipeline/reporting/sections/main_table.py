"""The main table: every score of every method, under its references."""

from collections.abc import Iterator, Mapping

import pandas as pd

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row, best_first
from pipeline.reporting.render.table import (
    MISSING,
    Cell,
    Group,
    Heading,
    Table,
    method_cell,
    number_cell,
)
from pipeline.reporting.render.units import pair_title

OVER_ITEMS = "over items alone, of these checkpoints"
CUT = " (in parentheses: the interval, where the scale ends before it does)"
RULE = (
    "Within a teacher and student, methods that share a letter don't differ significantly (paired "
    "tests, 5 % after Holm over all comparisons of a measure); methods marked a are not "
    "significantly worse than the best. Overlapping intervals don't imply a tie: methods share "
    "seeds and items. Bold: the best mean."
)


def main_table(results: Results, sizes: Mapping[str, int], comparisons: Comparisons) -> Table:
    """Means with their intervals and letters, a group for each teacher and student."""
    headings = [Heading(measure.heading, measure.detail) for measure in results.measures]
    return Table(
        name="main",
        caption=f"{seeds_sentence(results)} {RULE} {MISSING}: not measured, or not defined there.",
        group_headings=("Teacher", "Student"),
        headings=(Heading("Method", numeric=False), Heading("Seeds"), *headings),
        groups=tuple(_group(results, pair, sizes, comparisons) for pair in results.pairs),
        data=pd.DataFrame(_records(results, comparisons)),
    )


def seeds_sentence(results: Results) -> str:
    """The number of seeds behind the means, and what their intervals cover."""
    runs = {mean.seed_count for (row, _), mean in results.means.items() if row.kind == "method"}
    if runs == {1}:
        return f"One training seed; ± is the half-width of a 95 % interval {OVER_ITEMS}{CUT}."
    counts = " or ".join(str(count) for count in sorted(runs))
    single = f"; where there is one, {OVER_ITEMS}" if 1 in runs else ""
    return (
        f"Means over {counts} training seeds; ± is the half-width of a 95 % interval over seeds "
        f"and items{single}{CUT}."
    )


def _group(
    results: Results, pair: Pair, sizes: Mapping[str, int], comparisons: Comparisons
) -> Group:
    best = {measure: _best(results, pair, measure) for measure in results.ranked_measures}

    def cells(row: Row) -> tuple[Cell, ...]:
        runs = _runs(results, row)
        scores = (
            _score_cell(results, comparisons, row, measure, best=row == best.get(measure))
            for measure in results.measures
        )
        return (method_cell(row), number_cell(runs, str), *scores)

    return Group(
        title=pair_title(pair, sizes),
        names=(pair.teacher, pair.student),
        references=tuple(cells(row) for row in results.references[pair]),
        rows=tuple(cells(row) for row in results.methods[pair]),
    )


def _best(results: Results, pair: Pair, measure: Measure) -> Row | None:
    ranking = best_first(results.means_by_row(results.methods[pair], measure), measure)
    return ranking[0] if len(ranking) > 1 else None


def _runs(results: Results, row: Row) -> int:
    return max((mean.seed_count for mean in results.means_of(row).values()), default=0)


def _score_cell(
    results: Results, comparisons: Comparisons, row: Row, measure: Measure, *, best: bool
) -> Cell:
    mean = results.means.get((row, measure))
    if mean is None:
        return Cell(MISSING)
    interval = comparisons.intervals.get((row, measure))
    text, spread = measure.format(mean.value), ""
    if interval and interval.is_symmetric_around(mean.value):
        spread = measure.format(interval.half_width)
    elif interval:
        text += f" ({measure.format(interval.low)} to {measure.format(interval.high)})"
    letters = comparisons.letters.get((row, measure), "")
    return Cell(text, mean.value, spread, letters=letters, best=best)


def _records(results: Results, comparisons: Comparisons) -> Iterator[dict[str, object]]:
    """The table without rounding: of each measure a mean, its spread, interval and letters."""
    for pair in results.pairs:
        for row in (*results.references[pair], *results.methods[pair]):
            record: dict[str, object] = {
                "teacher": pair.teacher,
                "student": pair.student,
                "kind": row.kind,
                "method": row.method,
                "label": row.label,
                "seeds": _runs(results, row),
            }
            for measure in results.measures:
                mean = results.means.get((row, measure))
                interval = comparisons.intervals.get((row, measure))
                record |= {
                    measure.key: mean and mean.value,
                    f"{measure.key} spread": mean and mean.spread,
                    f"{measure.key} low": interval and interval.low,
                    f"{measure.key} high": interval and interval.high,
                    f"{measure.key} letters": comparisons.letters.get((row, measure)),
                }
            yield record

"""The tables of scores, on whole tasks and on parts of them, and of those that are missing."""

import math
from collections.abc import Callable, Sequence

import pandas as pd

from pipeline.reporting.analysis.findings import Comparisons, Interval
from pipeline.reporting.analysis.metrics import Measure, part_title, parts_of
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.analysis.standings import best_rows, is_balanced
from pipeline.reporting.render.table import (
    MISSING,
    Cell,
    Column,
    Group,
    Heading,
    Table,
    method_cell,
    number_cell,
)
from pipeline.settings.report import MissingCell, ReportSettings

METHOD = Heading("Method", numeric=False)
WIDE = 0.25  # of a scale: beyond it the half-width of an interval says less than its ends
OVER_ITEMS = "over items alone, of these checkpoints"
ENDS = " (in parentheses: the interval, where the scale cuts it or it is wider than half of it)"
UNEQUAL = (
    " Where methods have unequal seeds, order, letters and bold type are as if all had the same "
    "ones, and not those of the means, which are over a method's own seeds."
)
RULE = (
    "Within a teacher and student, methods that share a letter don't differ significantly (paired "
    "tests, 5 % after Holm over all comparisons of a measure); methods marked a are not "
    "significantly worse than the best. Overlapping intervals don't imply a tie: methods share "
    "seeds and items. Bold: the best mean."
)


def main_table(comparisons: Comparisons) -> Table:
    """Means with their intervals and letters, a group for each teacher and student."""
    results = comparisons.results
    measures = results.measures

    def cells(row: Row) -> tuple[Cell, ...]:
        means = (results.means.get((row, measure)) for measure in measures)
        seeds = max((mean.seed_count for mean in means if mean), default=0)
        scores = (score_cell(comparisons, row, measure) for measure in measures)
        return (method_cell(row), number_cell(seeds, str), *scores)

    headings = (Heading(measure.heading, measure.detail) for measure in measures)
    return Table(
        name="main",
        caption=f"{seeds_sentence(results)} {RULE}{_other_tokens(results)} "
        f"{MISSING}: not measured, or not defined there.",
        group_headings=("Teacher", "Student"),
        headings=(METHOD, Heading("Seeds"), *headings),
        groups=tuple(_group(results, pair, (), cells) for pair in results.pairs),
        data=score_data(comparisons, measures),
    )


def _other_tokens(results: Results) -> str:
    """That a teacher's means over tokens can't be compared, where it has another vocabulary."""
    shown = dict.fromkeys(
        measure.metric.title
        for measure in results.measures
        for pair in results.pairs
        if results.is_over_other_tokens(pair.teacher, measure)
    )
    if not shown:
        return ""
    teachers = dict.fromkeys(pair.teacher for pair in results.pairs)
    foreign = ", ".join(name for name in teachers if name in results.foreign)
    return (
        f" {' and '.join(shown)} of {foreign}: over the tokens of another vocabulary, and not to "
        "be compared with those of students."
    )


def _group(
    results: Results, pair: Pair, part: tuple[str, ...], cells: Callable[[Row], tuple[Cell, ...]]
) -> Group:
    """The references and methods of a pair, on whole tasks or on a part of one."""
    title = f"{results.title(pair)}: {', '.join(part)}" if part else results.title(pair)
    references, methods = (
        tuple(map(cells, rows[pair])) for rows in (results.references, results.methods)
    )
    return Group(title, (pair.teacher, pair.student, *part), references, methods)


def slice_table(comparisons: Comparisons) -> Table | None:
    """Every score on a part of a task; None where nothing was measured on parts."""
    results = comparisons.results
    measures = results.slice_measures
    if not measures:
        return None
    metrics = list(dict.fromkeys(measure.metric for measure in measures))

    def cells_on(task: str, part: str) -> Callable[[Row], tuple[Cell, ...]]:
        on = [Measure(task, metric, part) for metric in metrics]
        return lambda row: (method_cell(row), *(score_cell(comparisons, row, each) for each in on))

    groups = (
        _group(results, pair, (task, part_title(part)), cells_on(task, part))
        for pair in results.pairs
        for task, part in parts_of(measures)
    )
    about = f"{seeds_sentence(results)} {MISSING}: not measured."
    return Table(
        name="slices",
        caption=f"Scores on parts of the items, or of their tokens. {about}",
        group_headings=("Teacher", "Student", "Task", "Part"),
        headings=(METHOD, *(Heading(Measure("", each).heading, each.unit) for each in metrics)),
        groups=tuple(groups),
        data=score_data(comparisons, measures),
    )


def seeds_sentence(results: Results) -> str:
    """The number of seeds behind the means, and what their intervals cover."""
    runs = {mean.seed_count for (row, _), mean in results.means.items() if row.kind == "method"}
    if runs == {1}:
        return f"One training seed; ± is the half-width of a 95 % interval {OVER_ITEMS}{ENDS}."
    counts = " or ".join(str(count) for count in sorted(runs))
    single = f"; where there is one, {OVER_ITEMS}" if 1 in runs else ""
    return (
        f"Means over {counts} training seeds; ± is the half-width of a 95 % interval over seeds "
        f"and items{single}{ENDS}.{'' if is_balanced(results) else UNEQUAL}"
    )


def score_cell(comparisons: Comparisons, row: Row, measure: Measure) -> Cell:
    """The row's mean on a measure, with its interval and letters."""
    mean = comparisons.results.means.get((row, measure))
    if mean is None:
        return Cell(MISSING)
    text, spread = measure.format(mean.value), ""
    if interval := comparisons.intervals.get((row, measure)):
        if is_narrow(measure, mean.value, interval):
            spread = measure.format(interval.half_width)
        else:
            text += f" ({measure.format(interval.low)} to {measure.format(interval.high)})"
    letters = comparisons.letters.get((row, measure), "")
    best = row in best_rows(comparisons.results, row.pair, measure)
    return Cell(text, mean.value, spread, letters=letters, best=best)


def is_narrow(measure: Measure, mean: float, interval: Interval) -> bool:
    """Whether ± says as much as both ends of an interval: nothing cuts it, and it is not wide."""
    is_wide = interval.half_width > WIDE * measure.metric.largest_difference
    return not is_wide and interval.is_symmetric_around(mean)


def score_data(comparisons: Comparisons, measures: Sequence[Measure]) -> pd.DataFrame:
    """The mean of every row on each of the measures, with its interval."""
    results = comparisons.results
    return pd.DataFrame(
        {
            "teacher": pair.teacher,
            "student": pair.student,
            "kind": row.kind,
            "method": row.method,
            "label": row.method,
            **measure.columns,
            "value": mean.value,
            "sd": math.nan if mean.spread is None else mean.spread,
            "low": interval.low if interval else math.nan,
            "high": interval.high if interval else math.nan,
            "letters": comparisons.letters.get((row, measure), ""),
            "is_best": row in best_rows(results, pair, measure),
            "n_seeds": mean.seed_count,
            "n_items": results.matrix(row, measure).weights.shape[1],
        }
        for pair in results.pairs
        for row in results.rows(pair)
        for measure in measures
        if (mean := results.means.get((row, measure)))
        for interval in [comparisons.intervals.get((row, measure))]
    )


def measures_data(results: Results) -> pd.DataFrame:
    """What every measure of the other tables is: its title, unit, better direction and range."""
    better = {True: "higher", False: "lower", None: ""}
    measures = (*results.measures, *results.slice_measures)
    data = pd.DataFrame(
        {
            **measure.columns,
            "title": measure.metric.title,
            "better": better[measure.metric.higher_is_better],
            **dict(zip(("lowest", "highest"), measure.metric.bounds, strict=True)),
        }
        for measure in measures
    )
    return data.replace([math.inf, -math.inf], math.nan)


MISSING_CELLS: tuple[Column[MissingCell], ...] = (
    Column.text("Method", lambda cell: cell.method),
    Column.text("Kind", lambda cell: cell.kind),
    Column.number("Seed", lambda cell: cell.seed),
    Column.text("Why", lambda cell: cell.why),
)


def missing_table(settings: ReportSettings) -> Table | None:
    """The cells that a partial report lacks, with the reasons; None for a whole report."""
    pairs: dict[tuple[str, ...], list[MissingCell]] = {}
    for cell in settings.missing:
        pairs.setdefault((cell.teacher, cell.student), []).append(cell)
    caption = (
        "Cells of the grid that are not in this report. No number here is of them: means, tests "
        "and ranks are over the finished cells alone, and will change with the missing ones."
    )
    data = pd.DataFrame([cell.model_dump() for cell in settings.missing])
    names, shown = ("Teacher", "Student"), lambda *pair: " → ".join(pair)
    return Table.of("missing", caption, MISSING_CELLS, pairs, names, data, shown)

"""The table of the first screen: methods by primary measures, best first."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from statistics import fmean

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.analysis.standings import is_balanced, standings
from pipeline.reporting.analysis.texts import duration
from pipeline.reporting.analysis.verdict import not_worse_than_best
from pipeline.reporting.costs.attribution import IN_FULL, OWN, CostData
from pipeline.reporting.costs.quality_vs_cost import SECONDS, mean_costs
from pipeline.reporting.render import anchors
from pipeline.reporting.render.table import MISSING
from pipeline.settings.report import ReportSettings

MOST_COLUMNS = 9  # of numbers: with more pairs of teacher and student, means over pairs are shown
Times = Mapping[str, Mapping[str, str]]  # in seconds, by account, then by method


@dataclass(frozen=True)
class PrimaryCell:
    """A mean on a primary measure."""

    text: str
    best: bool = False  # of its column
    tied: bool = False  # not significantly worse than the best, in any pair of the column


@dataclass(frozen=True)
class PrimaryRow:
    """A method."""

    name: str
    address: str  # of its page; empty where it has none
    note: str  # what a partial report lacks of it


@dataclass(frozen=True)
class Column:
    """A measure under some pairs of teacher and student."""

    measure: Measure
    values: Mapping[str, float]  # by method, of those that every pair has
    standings: Mapping[str, float]  # of the same: the values, as if all had the same seeds
    teacher: float | None
    tied: Set[str]  # methods that no test finds worse than the best

    def cell(self, method: str) -> PrimaryCell:
        """The cell of a method."""
        best = max if self.measure.metric.higher_is_better else min
        several = len(self.standings) > 1
        is_best = several and self.standings.get(method) == best(self.standings.values())
        return PrimaryCell(self.text(self.values.get(method)), is_best, method in self.tied)

    def text(self, value: float | None) -> str:
        """The value as it is shown."""
        return MISSING if value is None else self.measure.format(value)


@dataclass(frozen=True)
class PrimaryTable:
    """Methods by primary measures: a column for each pair, or one of means over pairs."""

    measures: Sequence[Measure]
    groups: Mapping[str, Sequence[Pair]]  # behind each of a measure's columns, by its title
    columns: Sequence[Column]  # those of a measure beside each other
    times: Times
    methods: Sequence[PrimaryRow]
    caption: str


def primary_table(settings: ReportSettings, comparisons: Comparisons, times: Times) -> PrimaryTable:
    """The table with a row for each method, the best on the first measure first."""
    results = comparisons.results
    measures, groups = results.primary_measures, _groups(results)
    columns = [
        _column(comparisons, measure, pairs) for measure in measures for pairs in groups.values()
    ]
    notes = _notes(settings)

    def place(method: str) -> float:
        """The standing on the first measure: the best is lowest, and a missing one last."""
        first = columns[: len(groups)]
        known = [column.standings[method] for column in first if method in column.standings]
        if not known:
            return math.inf
        return -fmean(known) if measures[0].metric.higher_is_better else fmean(known)

    rows = [
        PrimaryRow(name, anchors.of_method(name), notes.pop(name, ""))
        for name in sorted(results.method_names, key=place)
    ]
    rows += (PrimaryRow(name, "", note) for name, note in notes.items())
    # the teacher has no time
    has_gaps = bool(times) or any(
        column.teacher is None or any(row.name not in column.values for row in rows)
        for column in columns
    )
    caption = _caption(results, groups, has_gaps, bool(times))
    return PrimaryTable(measures, groups, columns, times, rows, caption)


def training_times(data: CostData) -> Times:
    """The mean seconds of a training that the table shows, without accounts that have none."""
    results = data.results
    pairs = [pair for of_group in _groups(results).values() for pair in of_group]
    seconds = {account: mean_costs(data, SECONDS, account) for account in (OWN, IN_FULL)}
    times = {account: _times(results, pairs, of_account) for account, of_account in seconds.items()}
    return {account: of_account for account, of_account in times.items() if of_account}


def _times(results: Results, pairs: Sequence[Pair], seconds: Mapping[Row, float]) -> dict[str, str]:
    """The time of each method, a mean over pairs, where it is known for all of them."""
    by_pair = [{row.method: seconds[row] for row in results.methods[pair]} for pair in pairs]
    means = _over_pairs(by_pair)
    return {name: duration(mean) for name, mean in means.items() if not math.isnan(mean)}


def _notes(settings: ReportSettings) -> dict[str, str]:
    """What a partial report lacks of each method, by the method's name in the grid."""
    states: dict[str, Counter[str]] = {}
    for cell in settings.missing:
        if cell.kind == "method":
            state = "failed" if "failed" in cell.why else "not yet run"
            states.setdefault(cell.method, Counter())[state] += 1
    return {
        method: ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        for method, counts in states.items()
    }


def _groups(results: Results) -> dict[str, Sequence[Pair]]:
    pairs, measures = results.pairs, results.primary_measures
    shown = max(1, MOST_COLUMNS // max(1, len(measures)))
    names = set(results.method_names)  # means over pairs are of the same methods everywhere
    complete = [
        pair
        for pair in pairs
        if all(_means(results, pair, measure).keys() == names for measure in measures)
    ]
    if len(pairs) > shown and len(complete) > 1:
        return {f"mean of {len(complete)} pairs": complete}
    return {pair.short_title: [pair] for pair in pairs[:shown]}


def _means(results: Results, pair: Pair, measure: Measure) -> dict[str, float]:
    means = results.means_by_row(results.methods[pair], measure)
    return {row.method: mean.value for row, mean in means.items()}


def _column(comparisons: Comparisons, measure: Measure, pairs: Sequence[Pair]) -> Column:
    results = comparisons.results
    values = _over_pairs([_means(results, pair, measure) for pair in pairs])
    of_pairs = [standings(results, pair, measure) for pair in pairs]
    by_method = [{row.method: value for row, value in of_pair.items()} for of_pair in of_pairs]
    leaders = [
        {row.method for row in not_worse_than_best(comparisons, pair, measure)}
        for pair in pairs
        if comparisons.differences.get((pair, measure))
    ]
    tied = set.intersection(*leaders) if leaders else set()
    teachers = [
        mean.value
        for pair in pairs
        for mean in results.means_by_row(results.teachers(pair), measure).values()
    ]
    has_meaning = all(results.is_held_against_teacher(pair, measure) for pair in pairs)
    is_known = has_meaning and len(teachers) == len(pairs)
    of_teacher = fmean(teachers) if is_known else None
    return Column(measure, values, _over_pairs(by_method), of_teacher, tied)


def _over_pairs(by_pair: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The means over pairs of those methods that all of them have."""
    common = [name for name in by_pair[0] if all(name in of_pair for of_pair in by_pair)]
    return {name: fmean(of_pair[name] for of_pair in by_pair) for name in common}


def _caption(
    results: Results, groups: Mapping[str, Sequence[Pair]], has_gaps: bool, has_times: bool
) -> str:
    """What bold, underlined and the columns mean."""
    averaged = max(map(len, groups.values()))
    shown = sum(map(len, groups.values()))
    left_out = len(results.pairs) - shown
    over_pairs = f", a mean of these {shown} pairs" if len(groups) > 1 else ""
    is_single = {mean.seed_count for mean in results.means.values()} == {1}
    sentences = {
        f"Means over {averaged} pairs of teacher and student.": averaged > 1,
        "Bold: best mean; underlined: not significantly worse "
        f"{'in any pair ' if averaged > 1 else ''}(paired tests, 5 % after Holm).": True,
        f"The other {left_out} pairs are in the table of scores.": left_out,
        f"{MISSING}: not trained or measured there, or without a meaning.": has_gaps,
        f"Time is that of training{over_pairs}.": has_times,
        "One training seed: of these checkpoints, not of methods.": is_single,
        "Where methods have unequal seeds, they are compared as if all had the same "
        "ones: the best may not have the best mean.": not is_balanced(results),
    }
    return " ".join(sentence for sentence, is_shown in sentences.items() if is_shown)

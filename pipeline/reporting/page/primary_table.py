"""The table of the first screen: methods by primary measures, best first."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results
from pipeline.reporting.analysis.verdict import not_worse_than_best
from pipeline.reporting.render import anchors
from pipeline.reporting.render.table import MISSING

MOST_COLUMNS = 9  # of numbers: with more pairs of teacher and student, means over pairs are shown


@dataclass(frozen=True)
class PrimaryCell:
    """A mean on a primary measure."""

    text: str
    best: bool = False  # of its column
    tied: bool = False  # not significantly worse than the best, in any pair of the column


@dataclass(frozen=True)
class PrimaryRow:
    """A method, or the teacher."""

    label: str
    address: str  # of the method's page; empty for the teacher
    cells: tuple[PrimaryCell, ...]
    note: str = ""  # what a partial report lacks of it


@dataclass(frozen=True)
class Column:
    """A measure under some pairs of teacher and student."""

    measure: Measure
    values: Mapping[str, float]  # by method, of those that every pair has
    teacher: float | None
    tied: Set[str]  # methods that no test finds worse than the best

    def cell(self, label: str) -> PrimaryCell:
        """The cell of a method."""
        value, best = self.values.get(label), max if self.measure.metric.higher_is_better else min
        is_best = len(self.values) > 1 and value == best(self.values.values())
        return PrimaryCell(self.text(value), is_best, label in self.tied)

    def text(self, value: float | None) -> str:
        """The value as it is shown."""
        return MISSING if value is None else self.measure.format(value)


@dataclass(frozen=True)
class PrimaryTable:
    """Methods by primary measures: a column for each pair, or one of means over pairs."""

    comparisons: Comparisons
    missing: Mapping[str, str] = field(default_factory=dict)  # notes by the name of a method

    @property
    def results(self) -> Results:
        """The results that it sums up."""
        return self.comparisons.results

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The measures, each over all `groups`."""
        return self.results.primary_measures

    @cached_property
    def groups(self) -> dict[str, tuple[Pair, ...]]:
        """The pairs behind each of a measure's columns, by the column's title."""
        pairs, shown = self.results.pairs, max(1, MOST_COLUMNS // len(self.measures))
        # means over pairs are of the same methods everywhere
        labels = set(self.results.labels)
        complete = tuple(
            pair
            for pair in pairs
            if all(labels == self._means(pair, measure).keys() for measure in self.measures)
        )
        if len(pairs) > shown and len(complete) > 1:
            return {f"mean of {len(complete)} pairs": complete}
        return {f"{pair.teacher} → {pair.student}": (pair,) for pair in pairs[:shown]}

    def _means(self, pair: Pair, measure: Measure) -> dict[str, float]:
        means = self.results.means_by_row(self.results.methods[pair], measure)
        return {row.label: mean.value for row, mean in means.items()}

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns of numbers."""
        groups = self.groups.values()
        return tuple(self._column(measure, pairs) for measure in self.measures for pairs in groups)

    def _column(self, measure: Measure, pairs: Sequence[Pair]) -> Column:
        means = [self._means(pair, measure) for pair in pairs]
        common = [label for label in means[0] if all(label in of_pair for of_pair in means)]
        values = {label: fmean(of_pair[label] for of_pair in means) for label in common}
        leaders = [
            {row.label for row in not_worse_than_best(self.comparisons, pair, measure)}
            for pair in pairs
            if self.comparisons.differences.get((pair, measure))
        ]
        tied = set.intersection(*leaders) if leaders else set()
        return Column(measure, values, self._teacher(measure, pairs), tied)

    def _teacher(self, measure: Measure, pairs: Sequence[Pair]) -> float | None:
        """The mean of the teachers' own values, where they have a meaning."""
        rows = (self.results.teachers(pair) for pair in pairs)
        means = [
            mean for each in rows for mean in self.results.means_by_row(each, measure).values()
        ]
        is_known = len(means) == len(pairs) and all(
            self.results.is_held_against_teacher(pair, measure) for pair in pairs
        )
        return fmean(mean.value for mean in means) if is_known else None

    def methods(self) -> Iterator[PrimaryRow]:
        """A row for each method, the best on the first measure first."""
        methods = {row.label: row.method for row in self.results.trained}
        for label in sorted(self.results.labels, key=self._place):
            cells = tuple(column.cell(label) for column in self.columns)
            note = self.missing.get(methods[label], "")
            yield PrimaryRow(label, anchors.of_method(methods[label]), cells, note)
        empty = (PrimaryCell(MISSING),) * len(self.columns)
        for method, note in self.missing.items():
            if method not in methods.values():
                yield PrimaryRow(method, "", empty, note)

    def _place(self, label: str) -> float:
        """The mean on the first measure, so that the best is lowest and a missing one last."""
        first = self.columns[: len(self.groups)]
        known = [column.values[label] for column in first if label in column.values]
        sign = -1 if self.measures[0].metric.higher_is_better else 1
        return sign * fmean(known) if known else float("inf")

    def teacher(self) -> PrimaryRow:
        """The teachers' own values."""
        cells = (PrimaryCell(column.text(column.teacher)) for column in self.columns)
        return PrimaryRow("teacher", "", tuple(cells))

    @property
    def _has_gaps(self) -> bool:
        rows = (*self.methods(), self.teacher())
        return any(cell.text == MISSING for row in rows for cell in row.cells)

    @property
    def caption(self) -> str:
        """What bold, underlined and the columns mean."""
        averaged = max(len(pairs) for pairs in self.groups.values())
        left_out = len(self.results.pairs) - sum(len(pairs) for pairs in self.groups.values())
        is_single = {mean.seed_count for mean in self.results.means.values()} == {1}
        sentences = {
            f"Means over {averaged} pairs of teacher and student.": averaged > 1,
            "Bold: best mean; underlined: not significantly worse "
            f"{'in any pair ' if averaged > 1 else ''}(paired tests, 5 % after Holm).": True,
            f"The other {left_out} pairs are in the table of scores.": left_out,
            f"{MISSING}: not trained or measured there, or without a meaning.": self._has_gaps,
            "One training seed: of these checkpoints, not of methods.": is_single,
        }
        return " ".join(sentence for sentence, is_shown in sentences.items() if is_shown)

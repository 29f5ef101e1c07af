"""The table of the first screen: methods by primary measures, best first."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
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
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class PrimaryTable:
    """Methods by primary measures: a column for each pair, or one of means over pairs."""

    results: Results
    comparisons: Comparisons
    missing: Mapping[str, str] = field(default_factory=dict)  # notes by the name of a method

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The measures, each over all `groups`."""
        return self.results.primary_measures

    @cached_property
    def groups(self) -> dict[str, tuple[Pair, ...]]:
        """The pairs behind each of a measure's columns, by the column's title."""
        pairs, shown = self.results.pairs, max(1, MOST_COLUMNS // len(self.measures))
        complete = tuple(pair for pair in pairs if self._is_complete(pair))
        if len(pairs) > shown and len(complete) > 1:
            return {f"mean of {len(complete)} pairs": complete}
        return {f"{pair.teacher} → {pair.student}": (pair,) for pair in pairs[:shown]}

    def _is_complete(self, pair: Pair) -> bool:
        """Whether every method was measured, so that means over pairs are of the same ones."""
        return all(
            (self._rows.get((pair, label)), measure) in self.results.means
            for label in self.results.labels
            for measure in self.measures
        )

    @cached_property
    def _rows(self) -> Mapping[tuple[Pair, str], Row]:
        methods = self.results.methods
        return {(pair, row.label): row for pair, rows in methods.items() for row in rows}

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns of numbers."""
        groups = self.groups.values()
        return tuple(Column(measure, pairs) for measure in self.measures for pairs in groups)

    def methods(self) -> Iterator[PrimaryRow]:
        """A row for each method, the best on the first measure first."""
        values = {label: self._values(label) for label in self.results.labels}
        best = [self._best(column, values) for column in self.columns]
        leaders = [self._not_worse(column) for column in self.columns]
        names = {row.label: row.method for row in self._rows.values()}
        for label in sorted(values, key=lambda label: self._place(values[label])):
            of_column = zip(self.columns, values[label], best, leaders, strict=True)
            cells = (
                PrimaryCell(_text(column, value), value == highest, label in tied)
                for column, value, highest, tied in of_column
            )
            name = names[label]
            note = self.missing.get(name, "")
            yield PrimaryRow(label, anchors.of_method(name), tuple(cells), note)
        empty = (PrimaryCell(MISSING),) * len(self.columns)
        for name, note in self.missing.items():
            if name not in names.values():
                yield PrimaryRow(name, "", empty, note)

    def _values(self, label: str) -> list[float | None]:
        return [
            self._mean([self._rows.get((pair, label)) for pair in column.pairs], column.measure)
            for column in self.columns
        ]

    def _mean(self, rows: Iterable[Row | None], measure: Measure) -> float | None:
        means = [self.results.means.get((row, measure)) if row else None for row in rows]
        known = [mean.value for mean in means if mean]
        return fmean(known) if known and len(known) == len(means) else None

    def _best(self, column: Column, values: Mapping[str, list[float | None]]) -> float | None:
        index = self.columns.index(column)
        known = [value for of_method in values.values() if (value := of_method[index]) is not None]
        best = max if column.measure.metric.higher_is_better else min
        return best(known) if len(known) > 1 else None

    def _not_worse(self, column: Column) -> set[str]:
        """The methods that no test finds worse than the best, in any of the column's pairs."""
        groups = [
            not_worse_than_best(self.results, self.comparisons, pair, column.measure)
            for pair in column.pairs
            if self.comparisons.differences.get((pair, column.measure))
        ]
        labels = [{row.label for row in rows} for rows in groups]
        return set.intersection(*labels) if labels else set()

    def _place(self, values: list[float | None]) -> float:
        """The mean on the first measure, so that the best is lowest and a missing one last."""
        known = [value for value in values[: len(self.groups)] if value is not None]
        sign = -1 if self.measures[0].metric.higher_is_better else 1
        return sign * fmean(known) if known else float("inf")

    def teacher(self) -> PrimaryRow:
        """The teachers' own values, where they have a meaning."""
        teachers = {
            pair: next((row for row in rows if row.kind == "teacher"), None)
            for pair, rows in self.results.references.items()
        }
        values = (
            None
            if column.measure.metric.relative_to_teacher
            else self._mean([teachers[pair] for pair in column.pairs], column.measure)
            for column in self.columns
        )
        cells = zip(self.columns, values, strict=True)
        return PrimaryRow("teacher", "", tuple(PrimaryCell(_text(*cell)) for cell in cells))

    @property
    def caption(self) -> str:
        """What bold, underlined and the columns mean."""
        averaged = max(len(pairs) for pairs in self.groups.values())
        sentences = [
            "Bold: best mean; underlined: not significantly worse "
            f"{'in any pair ' if averaged > 1 else ''}(paired tests, 5 % after Holm)."
        ]
        if averaged > 1:
            sentences.insert(0, f"Means over {averaged} pairs of teacher and student.")
        if self.left_out:
            sentences.append(f"The other {self.left_out} pairs are in the table of scores.")
        if {mean.seed_count for mean in self.results.means.values()} == {1}:
            sentences.append("One training seed: of these checkpoints, not of methods.")
        return " ".join(sentences)

    @property
    def left_out(self) -> int:
        """How many pairs are in none of its columns."""
        return len(self.results.pairs) - sum(len(pairs) for pairs in self.groups.values())


def _text(column: Column, value: float | None) -> str:
    return MISSING if value is None else column.measure.format(value)

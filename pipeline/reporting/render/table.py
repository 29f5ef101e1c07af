"""The tables of the report before any format: their data, and how these are laid out."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import pandas as pd

from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.render import anchors

Item = TypeVar("Item")
Shown = TypeVar("Shown", contravariant=True)

MISSING = "—"  # explained in every caption that may need it
LONGEST = 1500  # rows of a table that is also written for people: more are only read by programs
MOST_COLUMNS, MOST_MEASURES = 10, 7  # on an upright sheet of paper: measures have intervals


@dataclass(frozen=True)
class Heading:
    """The head of a column."""

    title: str
    detail: str = ""
    numeric: bool = True

    @property
    def text(self) -> str:
        """Title and detail on one line."""
        return f"{self.title} ({self.detail})" if self.detail else self.title


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text for people, its value for sorting and for programs."""

    text: str
    value: float | str | None = None  # by which the page sorts
    spread: str = ""
    link: str = ""  # to the part of the page that explains it
    letters: str = ""  # of the groups that don't differ significantly
    best: bool = False  # of what it is compared with

    @property
    def plain(self) -> str:
        """Everything that the cell shows, on one line."""
        text = f"{self.text} ± {self.spread}" if self.spread else self.text
        return f"{text} {self.letters}" if self.letters else text


def number_cell(
    value: float | None, text: Callable[[float], str], spread: float | None = None
) -> Cell:
    """A number and the one beside it, as far as they are known: not where they are None or NaN."""
    if value is None or math.isnan(value):
        return Cell(MISSING)
    if spread is None or math.isnan(spread):
        return Cell(text(value), value)
    return Cell(text(value), value, text(spread))


def text_cell(text: str) -> Cell:
    """A text that is its own value."""
    return Cell(text, text)


def method_cell(row: Row) -> Cell:
    """The name of a row of the main table, linked to the page of its cell."""
    return Cell(row.method, row.method, link=anchors.of_cell(row))


@dataclass(frozen=True)
class Column(Generic[Shown]):
    """A column of a table that has a row for each of some items."""

    heading: Heading
    cell: Callable[[Shown], Cell]

    @staticmethod
    def text(title: str, of: Callable[[Item], str], detail: str = "") -> "Column[Item]":
        """A column of texts."""
        return Column(Heading(title, detail, numeric=False), lambda item: text_cell(of(item)))

    @staticmethod
    def number(
        title: str,
        of: Callable[[Item], float | None],
        shown: Callable[[float], str] = str,
        detail: str = "",
    ) -> "Column[Item]":
        """A column of numbers that are all shown in the same way."""
        return Column(Heading(title, detail), lambda item: number_cell(of(item), shown))

    @staticmethod
    def method(of: Callable[[Item], Row], title: str = "Method") -> "Column[Item]":
        """A column of rows of the main table, by name."""
        return Column(Heading(title, numeric=False), lambda item: method_cell(of(item)))


@dataclass(frozen=True)
class Group:
    """Rows that are compared, under the references that they are compared with."""

    title: str
    names: tuple[str, ...]  # values of the table's group headings
    references: tuple[tuple[Cell, ...], ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Table:
    """A table before it is written in any format; docs/report_files.md has its data's columns."""

    name: str
    caption: str
    group_headings: tuple[str, ...]
    headings: tuple[Heading, ...]
    groups: tuple[Group, ...]
    data: pd.DataFrame  # long: a row for each number, unrounded; empty for a table without files

    @staticmethod
    def of(
        name: str,
        caption: str,
        columns: Sequence[Column[Item]],
        items: Mapping[tuple[str, ...], Iterable[Item]],
        group_headings: tuple[str, ...],
        data: pd.DataFrame,
        title: Callable[..., str] = lambda *names: ", ".join(names),
    ) -> "Table | None":
        """A table with a row for each item, in groups by their names; None without a single one."""
        groups = []
        for names, of_group in items.items():
            rows = tuple(tuple(column.cell(item) for column in columns) for item in of_group)
            if rows:
                groups.append(Group(title(*names), names, (), rows))
        headings = tuple(column.heading for column in columns)
        return (
            Table(name, caption, group_headings, headings, tuple(groups), data) if groups else None
        )

    @staticmethod
    def of_pairs(
        name: str,
        caption: str,
        columns: Sequence[Column[Item]],
        items: Mapping[Pair, Iterable[Item]],
        results: Results,
        data: pd.DataFrame,
    ) -> "Table | None":
        """A table with a group for each teacher and student."""
        by_names = {(pair.teacher, pair.student): of_pair for pair, of_pair in items.items()}
        headings, title = ("Teacher", "Student"), lambda *names: results.title(Pair(*names))
        return Table.of(name, caption, columns, by_names, headings, data, title)

    @property
    def rows(self) -> int:
        """How many rows are compared in it."""
        return sum(len(group.rows) for group in self.groups)

    @property
    def is_wide(self) -> bool:
        """Whether the columns that a page shows at first need a sheet of paper on its side."""
        judged = sum(heading.title.endswith(("↑", "↓")) for heading in self.headings)
        return judged > MOST_MEASURES if judged else len(self.headings) > MOST_COLUMNS

    @property
    def is_short(self) -> bool:
        """Whether it is written for people, too."""
        return self.rows <= LONGEST

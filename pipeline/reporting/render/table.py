"""The tables of the report before any format: their data, and how these are laid out."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.reporting.analysis.scores import Pair, Row
from pipeline.reporting.render import anchors
from pipeline.reporting.render.units import pair_title

MISSING = "—"  # explained in every caption that may need it
LONGEST = 1500  # rows of a table that is also written for people: more are only read by programs


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

    @property
    def rows(self) -> int:
        """How many rows are compared in it."""
        return sum(len(group.rows) for group in self.groups)

    @property
    def is_short(self) -> bool:
        """Whether it is written for people, too."""
        return self.rows <= LONGEST


def pair_table(
    name: str,
    caption: str,
    headings: Sequence[Heading],
    rows: Mapping[Pair, Iterable[Iterable[Cell]]],
    sizes: Mapping[str, int],
    data: pd.DataFrame,
) -> Table | None:
    """A table with a group for each teacher and student that has rows; None where none has."""
    by_pair = {pair: tuple(tuple(row) for row in of_pair) for pair, of_pair in rows.items()}
    groups = [
        Group(pair_title(pair, sizes), (pair.teacher, pair.student), (), of_pair)
        for pair, of_pair in by_pair.items()
        if of_pair
    ]
    if not groups:
        return None
    return Table(name, caption, ("Teacher", "Student"), tuple(headings), tuple(groups), data)


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
    return Cell(row.label, row.label, link=anchors.of_cell(row))

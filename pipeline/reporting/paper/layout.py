"""Tables of methods by groups of columns, broken so that they fit a paper without being shrunk.

Widths are estimated for ten-point Computer Modern, a little too wide rather than too narrow.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

COLUMN = 3.3 * 72.27  # points: a column of a paper
PAGE = 6.75 * 72.27  # its whole width
GAP = 6.0  # between two columns of a table
LINES, HEADS = 42, 5  # of one float at most, and of rules and headings in it
INDEX = 0.72  # size of a subscript
DIGIT, NARROW, UPPER, LOWER = 5.05, 2.9, 7.6, 5.3


def width_of(text: str) -> float:
    """The width of a text, about."""
    return sum(
        DIGIT
        if sign.isdigit()
        else NARROW
        if sign in ".,:;()[]|!'il "
        else LOWER
        if sign.islower()
        else UPPER
        for sign in text
    )


@dataclass(frozen=True)
class TexCell:
    """A cell in LaTeX, and its width."""

    latex: str
    width: float


EMPTY = TexCell("---", 2 * LOWER)


@dataclass(frozen=True)
class Column:
    """A column with a cell for each row that has one."""

    heading: TexCell
    cells: Mapping[str, TexCell]  # by the names of the rows

    @property
    def width(self) -> float:
        """The width with the gap before the next column."""
        return GAP + max(cell.width for cell in (self.heading, *self.cells.values()))


@dataclass(frozen=True)
class ColumnGroup:
    """Columns under a common heading."""

    heading: TexCell
    columns: tuple[Column, ...]

    @property
    def width(self) -> float:
        """The width of all columns, or of the heading over them."""
        return max(self.heading.width + GAP, sum(column.width for column in self.columns))


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper: its caption is a line, everything else stands in notes below it."""

    name: str
    caption: str  # in LaTeX, as the notes and the names of the rows
    notes: str
    rows: Mapping[str, TexCell]  # their titles, by name
    references: int  # the first rows, set apart from the others
    groups: tuple[ColumnGroup, ...]


@dataclass(frozen=True)
class Piece:
    """Some rows of groups of columns that stand beside each other."""

    block: Sequence[ColumnGroup]
    rows: Sequence[str]


Part = TypeVar("Part", Column, ColumnGroup, Piece)


def latex(table: PaperTable) -> str:
    """The floats of a table, its blocks of columns below each other; it needs booktabs."""
    names = max(title.width for title in table.rows.values()) + GAP
    room, most = PAGE - names, LINES - HEADS
    parts = (
        replace(group, columns=tuple(columns))
        for group in table.groups
        for columns in _packed(group.columns, _width, room)
    )
    blocks = list(_packed(parts, _width, room))
    kind = "table" if names + max(map(_width, blocks)) <= COLUMN else "table*"
    rows = list(table.rows)
    pieces = (
        Piece(block, rows[start : start + most])
        for block in blocks
        for start in range(0, len(rows), most)
    )
    floats = _packed(pieces, lambda some: sum(len(piece.rows) + HEADS for piece in some), LINES)
    return "\n".join(_float(table, kind, number, some) for number, some in enumerate(floats))


def _width(parts: Sequence[Column] | Sequence[ColumnGroup]) -> float:
    return sum(part.width for part in parts)


def _packed(
    parts: Iterable[Part], size: Callable[[list[Part]], float], room: float
) -> Iterator[list[Part]]:
    """The parts in their order, as many together as fit; one that is too large stands alone."""
    together: list[Part] = []
    for part in parts:
        if together and size([*together, part]) > room:
            yield together
            together = []
        together.append(part)
    yield together


def _float(table: PaperTable, kind: str, number: int, pieces: Sequence[Piece]) -> str:
    columns = max(sum(len(group.columns) for group in piece.block) for piece in pieces)
    caption = rf"\caption{{{table.caption}}}\label{{tab:{table.name}}}"
    if number:
        caption = rf"\addtocounter{{table}}{{-1}}\caption{{{table.caption} Continued.}}"
    lines = [line for piece in pieces for line in (r"\midrule", *_lines(table, piece))][1:]
    notes = rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {table.notes}}}"
    return "\n".join(
        [
            rf"\begin{{{kind}}}[tbp]",
            r"\centering",
            caption,
            r"\smallskip",
            r"\setlength{\tabcolsep}{3pt}",
            rf"\begin{{tabular}}{{@{{}}l{'r' * columns}@{{}}}}",
            r"\toprule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            notes,
            rf"\end{{{kind}}}",
            "",
        ]
    )


def _lines(table: PaperTable, piece: Piece) -> Iterator[str]:
    """Headings and rows of a piece."""
    first, spans, rules = 2, [], []
    for group in piece.block:
        count = len(group.columns)
        spans.append(rf"\multicolumn{{{count}}}{{c}}{{{group.heading.latex}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + count - 1}}}")
        first += count
    columns = [column for group in piece.block for column in group.columns]
    headings = (rf"\multicolumn{{1}}{{c}}{{{column.heading.latex}}}" for column in columns)
    yield rf"& {' & '.join(spans)} \\"
    yield " ".join(rules)
    yield rf"Method & {' & '.join(headings)} \\"
    yield r"\midrule"
    references = list(table.rows)[: table.references]
    for place, name in enumerate(piece.rows):
        if place and piece.rows[place - 1] in references and name not in references:
            yield r"\addlinespace"
        cells = (column.cells.get(name, EMPTY).latex for column in columns)
        yield rf"{table.rows[name].latex} & {' & '.join(cells)} \\"

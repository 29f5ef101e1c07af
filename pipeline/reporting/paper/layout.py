"""Tables of methods by groups of columns, broken so that they fit a paper without being shrunk.

Widths are estimated for ten-point Computer Modern, a little too wide rather than too narrow.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

COLUMN = 3.3 * 72.27  # points: a column of a paper
PAGE = 6.75 * 72.27  # its whole width
GAP = 6.0  # between two columns of a table
LINES = 42  # of one float, at most
INDEX = 0.72  # size of a subscript
DIGIT, NARROW, UPPER, LOWER = 5.05, 2.9, 7.6, 5.3


def width_of(text: str) -> float:
    """The width of a text, about."""
    return sum(
        DIGIT if sign.isdigit() else NARROW if sign in ".,:;()[]|!'il " else _of_letter(sign)
        for sign in text
    )


def _of_letter(sign: str) -> float:
    return LOWER if sign.islower() else UPPER


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


Block = tuple[ColumnGroup, ...]  # groups that stand beside each other


def latex(table: PaperTable) -> str:
    """The floats of a table, its blocks of columns below each other; it needs booktabs."""
    names = max(title.width for title in table.rows.values()) + GAP
    blocks = list(_blocks(table.groups, PAGE - names))
    widest = names + max(sum(group.width for group in block) for block in blocks)
    kind = "table" if widest <= COLUMN else "table*"
    return "\n".join(
        _float(table, kind, number, pieces) for number, pieces in enumerate(_floats(table, blocks))
    )


def _blocks(groups: Sequence[ColumnGroup], room: float) -> Iterator[Block]:
    """The groups, as many beside each other as fit; one that is too wide alone is divided."""
    block: Block = ()
    for group in (part for whole in groups for part in _divided(whole, room)):
        if block and sum(other.width for other in block) + group.width > room:
            yield block
            block = ()
        block = (*block, group)
    if block:
        yield block


def _divided(group: ColumnGroup, room: float) -> Iterator[ColumnGroup]:
    columns: tuple[Column, ...] = ()
    for column in group.columns:
        if columns and sum(other.width for other in columns) + column.width > room:
            yield replace(group, columns=columns)
            columns = ()
        columns = (*columns, column)
    yield replace(group, columns=columns)


@dataclass(frozen=True)
class Piece:
    """Some rows of a block."""

    block: Block
    rows: tuple[str, ...]


def _floats(table: PaperTable, blocks: Sequence[Block]) -> Iterator[list[Piece]]:
    """The pieces of each float: blocks that are longer than a page are divided."""
    names, heads = tuple(table.rows), 5  # lines of rules and headings
    most = LINES - heads
    pieces: list[Piece] = []
    for block in blocks:
        for start in range(0, len(names), most):
            piece = Piece(block, names[start : start + most])
            if pieces and sum(len(other.rows) + heads for other in (*pieces, piece)) > LINES:
                yield pieces
                pieces = []
            pieces.append(piece)
    yield pieces


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
        last = first + len(group.columns) - 1
        spans.append(rf"\multicolumn{{{len(group.columns)}}}{{c}}{{{group.heading.latex}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{last}}}")
        first = last + 1
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

"""A table as CSV, Parquet, Markdown and LaTeX."""

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pandas as pd

from pipeline.reporting.render.table import Cell, Group, Table

PAGE = 36  # rows that a page of a paper holds below a long caption
FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"  # the line, at most
FORMULA = re.compile(r"^[=+\-@\t\r]")  # a spreadsheet would run a text that begins with one
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",  # after the end of a row, LaTeX would read a length
        "]": "{]}",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "→": r"$\rightarrow$",
        "±": r"$\pm$",
        "•": r"$\bullet$",
        "×": r"$\times$",
        "·": r"$\cdot$",
        "−": r"$-$",
        "≤": r"$\leq$",
        "≥": r"$\geq$",
        "≈": r"$\approx$",
        "—": "---",
        "–": "--",
        "…": r"\dots{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    }
)
SMALL_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega"
)
LARGE_GREEK = "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
GREEK = {  # those that LaTeX has a command for; its lambda is Unicode's lamda
    **{f"GREEK SMALL LETTER {name.upper()}": name for name in SMALL_GREEK.split()},
    **{f"GREEK CAPITAL LETTER {name.upper()}": name for name in LARGE_GREEK.split()},
    "GREEK SMALL LETTER LAMDA": "lambda",
    "GREEK CAPITAL LETTER LAMDA": "Lambda",
    "GREEK SMALL LETTER FINAL SIGMA": "varsigma",
    "GREEK PHI SYMBOL": "varphi",
    "GREEK LUNATE EPSILON SYMBOL": "varepsilon",
}


def write(folder: Path, table: Table) -> None:
    """The table in all its formats; a long one only in those for programs."""
    data = plain(numbers(table))
    data.to_csv(folder / f"{table.name}.csv", index=False, lineterminator="\n")
    typed = pd.read_csv(folder / f"{table.name}.csv")  # columns of objects have one type in it
    typed.to_parquet(folder / f"{table.name}.parquet", index=False)
    if table.is_short:
        (folder / f"{table.name}.md").write_text(markdown(table), encoding="utf-8")
        (folder / f"{table.name}.tex").write_text(latex(table), encoding="utf-8")


def numbers(table: Table) -> pd.DataFrame:
    """The unrounded values of a table.

    The numbers beside a value, as its spread, have columns named after that of the value.
    """
    if table.data is not None:
        return table.data
    rows = [(*map(Cell, group.names), *row) for group, row in _rows(table)]
    titles = [*table.group_headings, *(heading.text for heading in table.headings)]
    columns: list[pd.Series] = []
    for index, title in enumerate(titles):
        cells = [row[index] for row in rows]
        grouped = index < len(table.group_headings)
        values = [cell.text if grouped else cell.value for cell in cells]
        columns.append(pd.Series(values, name=title, dtype=object))
        for name in dict.fromkeys(name for cell in cells for name, _ in cell.beside):
            beside = [dict(cell.beside).get(name) for cell in cells]
            columns.append(pd.Series(beside, name=f"{title} {name}", dtype=object))
    return pd.concat(columns, axis=1)


def plain(data: pd.DataFrame) -> pd.DataFrame:
    """The data without texts that a spreadsheet would run as a formula."""
    return data.map(lambda value: f"'{value}" if _is_formula(value) else value)


def _is_formula(value: object) -> bool:
    return isinstance(value, str) and bool(FORMULA.match(value))


def markdown(table: Table) -> str:
    """The table in Markdown, its caption below."""
    head = [*table.group_headings, *(heading.text for heading in table.headings)]
    rows = [[*group.names, *map(_marked, row)] for group, row in _rows(table)]
    numeric = [
        *([False] * len(table.group_headings)),
        *(heading.numeric for heading in table.headings),
    ]
    text = pd.DataFrame([[_piped(cell) for cell in row] for row in rows], columns=head).to_markdown(
        index=False,
        disable_numparse=True,
        colalign=["right" if is_number else "left" for is_number in numeric],
    )
    return f"{text}\n\n{table.caption}\n"


def _marked(cell: Cell) -> str:
    return f"**{cell.text}**{cell.plain.removeprefix(cell.text)}" if cell.best else cell.plain


def _piped(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def latex(table: Table) -> str:
    """The table for a paper, a float for each page of it; it needs booktabs and graphicx."""
    frame = _latex_frame(table)
    columns = "l" * frame.index.nlevels
    columns += "".join("r" if heading.numeric else "l" for heading in table.headings[1:])
    pages = [frame.iloc[start:end] for start, end in pairwise(_page_starts(table))]
    return "\n".join(
        page.style.to_latex(
            label=f"tab:{table.name}{number or ''}",
            caption="Continued." if number else escape_latex(table.caption),
            column_format=columns,
            hrules=True,
            clines="skip-last;data",
            multirow_align="naive",
            multicol_align="c",
            position_float="centering",
        )
        .replace(r"\begin{tabular}", f"\\small\n{FIT}\n\\begin{{tabular}}")
        .replace(r"\end{tabular}", r"\end{tabular}}")
        for number, page in enumerate(pages)
    )


def _latex_frame(table: Table) -> pd.DataFrame:
    """The cells as LaTeX, indexed by the names of their group and their row."""
    index, rows = [], []
    for group in table.groups:
        names = [escape_latex(name) for name in group.names]
        for number, row in enumerate((*group.references, *group.rows)):
            first, *cells = [_latex_cell(cell) for cell in row]
            is_reference = number < len(group.references)
            index.append((*names, rf"\emph{{{first}}}" if is_reference else first))
            rows.append(cells)
    first, *others = table.headings
    heads = [(escape_latex(heading.title), escape_latex(heading.detail)) for heading in others]
    return pd.DataFrame(
        rows,
        index=pd.MultiIndex.from_tuples(
            index, names=[escape_latex(name) for name in (*table.group_headings, first.text)]
        ),
        columns=pd.MultiIndex.from_tuples(heads),
    )


def _latex_cell(cell: Cell) -> str:
    if not cell.best:
        return escape_latex(cell.plain)
    rest = escape_latex(cell.plain.removeprefix(cell.text))
    return rf"\textbf{{{escape_latex(cell.text)}}}{rest}"


def _page_starts(table: Table) -> list[int]:
    """The rows with which pages begin, and the end: only groups longer than a page are divided."""
    starts, row, room = [0], 0, PAGE
    for group in table.groups:
        left = len(group.references) + len(group.rows)
        if left > room and row > starts[-1]:
            starts.append(row)
            room = PAGE
        while left > room:
            row, left, room = row + room, left - room, PAGE
            starts.append(row)
        row, room = row + left, room - left
    return [*starts, row] if row > starts[-1] else starts


def _rows(table: Table) -> Iterator[tuple[Group, tuple[Cell, ...]]]:
    for group in table.groups:
        for row in (*group.references, *group.rows):
            yield group, row


def escape_latex(text: str) -> str:
    """`text` as LaTeX shows it literally, whatever its script."""
    text = text.translate(LATEX)
    return text if text.isascii() and text.isprintable() else "".join(map(_latex_sign, text))


def _latex_sign(sign: str) -> str:
    """A sign that LaTeX's standard fonts have; the name of one that they lack."""
    name = unicodedata.name(sign, f"U+{ord(sign):04X}")
    if name in GREEK:
        return rf"$\{GREEK[name]}$"
    if ord(sign) < 0x180 and (sign.isprintable() or sign.isspace()):
        return sign  # Latin letters with and without accents
    return f"({name.lower()})"

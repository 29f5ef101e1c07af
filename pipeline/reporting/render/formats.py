"""A table as CSV, Markdown, LaTeX and Parquet."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Mean, Results, Row
from pipeline.reporting.render.table import Cell, Group, Heading, Table

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
LETTERS = "αβγδεζηθικλμνξπρςστυφχψωΓΔΘΛΞΠΣΥΦΨΩϕϵ"
NAMES = (
    "alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu nu xi pi rho varsigma "
    "sigma tau upsilon varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi "
    "Omega phi epsilon"
)
GREEK = dict(zip(LETTERS, NAMES.split(), strict=True))
ROW_END = r" \\"
PAGE = 36  # rows that one page of a paper holds, beside a long caption
FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"  # the line, at most


def markdown(table: Table) -> str:
    """The table in Markdown, its caption below."""
    head = [*table.group_headings, *map(_heading, table.headings)]
    ruler = ["---"] * len(table.group_headings)
    ruler += ["--:" if heading.numeric else "---" for heading in table.headings]
    lines = [_pipes(head), _pipes(ruler)]
    for group in table.groups:
        for row in (*group.references, *group.rows):
            lines.append(_pipes([*group.names, *map(_plain, row)]))
    return "\n".join([*lines, "", table.caption, ""])


def _pipes(texts: list[str]) -> str:
    safe = (" ".join(text.split()).replace("|", r"\|") for text in texts)
    return f"| {' | '.join(safe)} |"


def _heading(heading: Heading) -> str:
    return f"{heading.title} ({heading.detail})" if heading.detail else heading.title


def _plain(cell: Cell) -> str:
    text = f"{cell.text} ± {cell.spread}" if cell.spread else cell.text
    return f"{text} {cell.letters}" if cell.letters else text


def latex(table: Table) -> str:
    """The table for a paper, a float for each page of it; it needs booktabs and graphicx."""
    pages = _pages(table.groups)
    return "\n".join(_float(table, groups, place) for place, groups in enumerate(pages))


def _pages(groups: Sequence[Group]) -> list[list[Group]]:
    """The groups page by page, none divided but what is longer than a page."""
    pages: list[list[Group]] = [[]]
    left = PAGE
    for group in groups:
        for part in _divided(group):
            rows = len(part.references) + len(part.rows) + 2
            if rows > left and pages[-1]:
                pages.append([])
                left = PAGE
            pages[-1].append(part)
            left -= rows
    return pages


def _divided(group: Group) -> list[Group]:
    room = PAGE - 2 - len(group.references)
    starts = range(room, len(group.rows), PAGE - 2)
    rest = [replace(group, references=(), rows=group.rows[at : at + PAGE - 2]) for at in starts]
    return [replace(group, rows=group.rows[:room]), *rest]


def _float(table: Table, groups: Sequence[Group], place: int) -> str:
    numeric = [heading.numeric for heading in table.headings]
    columns = "".join("r" if is_number else "l" for is_number in numeric)
    body = [line for group in groups for line in _latex_group(group, len(numeric))]
    caption = "Continued." if place else escape_latex(table.caption)
    lines = [
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{table.name}{place or ''}}}",
        FIT,
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(escape_latex(heading.title) for heading in table.headings) + ROW_END,
        " & ".join(escape_latex(heading.detail) for heading in table.headings) + ROW_END,
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_group(group: Group, width: int) -> list[str]:
    title = rf"\multicolumn{{{width}}}{{l}}{{\emph{{{escape_latex(group.title)}}}}}"
    titled = [title + ROW_END] if group.title else []
    references = [_latex_row(row) for row in group.references]
    rows = [_latex_row(row) for row in group.rows]
    ruled = [r"\cmidrule(lr){1-" + str(width) + "}"] if references and rows else []
    return [r"\midrule", *titled, *references, *ruled, *rows]


def _latex_row(row: tuple[Cell, ...]) -> str:
    return " & ".join(escape_latex(_plain(cell)) for cell in row) + ROW_END


def escape_latex(text: str) -> str:
    """`text` as LaTeX shows it literally, whatever its script."""
    text = text.translate(LATEX)
    plain = text.isascii() and text.isprintable()  # mostly: a large grid has a million signs
    return text if plain else "".join(map(_in_latex, text))


def _in_latex(sign: str) -> str:
    """A sign as LaTeX's standard fonts have it; one that they lack by its name."""
    if sign in GREEK:
        return rf"$\{GREEK[sign]}$"
    if ord(sign) < 0x180 and (sign.isprintable() or sign.isspace()):
        return sign  # Latin letters with and without accents
    return f"({unicodedata.name(sign, f'U+{ord(sign):04X}').lower()})"


def main_csv(results: Results, comparisons: Comparisons) -> str:
    """The main table without rounding: for each measure a mean, its interval, spread, letters."""
    parts = ("", " spread", " low", " high", " letters")
    names = [f"{one.key}{part}" for one in results.measures for part in parts]
    lines: list[list[object]] = [["teacher", "student", "kind", "method", "label", "seeds", *names]]
    for pair in results.pairs:
        for row in (*results.references[pair], *results.methods[pair]):
            means = results.means_of(row)
            numbers = [
                x for one in results.measures for x in _numbers(row, one, means, comparisons)
            ]
            runs = max((mean.seed_count for mean in means.values()), default=0)
            place = [pair.teacher, pair.student, row.kind, row.method, row.label, runs]
            lines.append([*place, *numbers])
    return csv_text(lines)


def _numbers(
    row: Row, measure: Measure, means: Mapping[Measure, Mean], comparisons: Comparisons
) -> tuple[object, ...]:
    if measure not in means:
        return ("",) * 5
    interval = comparisons.intervals.get((row, measure))
    ends = (interval.low, interval.high) if interval else ("", "")
    letters = comparisons.letters.get((row, measure), "")
    return (means[measure].value, means[measure].spread, *ends, letters)


def plain_csv(table: Table) -> str:
    """A table's values without rounding, each followed by the numbers that stand beside it.

    What stands beside a value (its spread, the ends of its interval) has a column named after the
    value's own.
    """
    rows = [
        (group.names, row) for group in table.groups for row in (*group.references, *group.rows)
    ]
    columns = [
        (_heading(heading), _beside(row[at] for _, row in rows))
        for at, heading in enumerate(table.headings)
    ]
    head = [f"{title} {name}".strip() for title, beside in columns for name in ("", *beside)]
    lines: list[list[object]] = [[*table.group_headings, *head]]
    for names, row in rows:
        cells = zip(row, columns, strict=True)
        lines.append([*names, *(x for cell, (_, beside) in cells for x in _values(cell, beside))])
    return csv_text(lines)


def _beside(column: Iterable[Cell]) -> tuple[str, ...]:
    """The names of the numbers that stand beside the values of a column."""
    return tuple(dict.fromkeys(name for cell in column for name, _ in cell.beside))


def _values(cell: Cell, beside: tuple[str, ...]) -> list[object]:
    """A cell's value and the named numbers beside it; empty where it has none."""
    found = dict(cell.beside)
    return ["" if cell.value is None else cell.value, *(found.get(name, "") for name in beside)]


def write_parquet(path: Path, numbers: str) -> None:
    """A table's CSV with the types that its columns have."""
    pd.read_csv(io.StringIO(numbers)).to_parquet(path, index=False)


def csv_text(lines: Sequence[Sequence[object]]) -> str:
    """Rows of values as CSV, the head first."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()

"""A table as CSV, Markdown and LaTeX."""

import csv
import io

from pipeline.reporting.scores import Results
from pipeline.reporting.tables import Cell, Group, Heading, Table

MARK = "•"
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "±": r"$\pm$",
        "•": r"$\bullet$",
        "—": "---",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    }
)
ROW_END = r" \\"


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
    return f"{text} {MARK}" if cell.marked else text


def latex(table: Table) -> str:
    """The table for a paper; it needs the packages booktabs and, for its width, graphicx."""
    numeric = [heading.numeric for heading in table.headings]
    columns = "".join("r" if is_number else "l" for is_number in numeric)
    body = [line for group in table.groups for line in _latex_group(group, len(numeric))]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(table.caption)}}}",
        rf"\label{{tab:{table.name}}}",
        r"\resizebox{\linewidth}{!}{%",
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
    references = [_latex_row(row) for row in group.references]
    rows = [_latex_row(row) for row in group.rows]
    ruled = [r"\cmidrule(lr){1-" + str(width) + "}"] if references and rows else []
    return [r"\midrule", title + ROW_END, *references, *ruled, *rows]


def _latex_row(row: tuple[Cell, ...]) -> str:
    return " & ".join(escape_latex(_plain(cell)) for cell in row) + ROW_END


def escape_latex(text: str) -> str:
    """`text` as LaTeX shows it literally."""
    return text.translate(LATEX)


def main_csv(results: Results) -> str:
    """The main table without rounding: a mean and a spread for each measure."""
    names = [name for one in results.measures for name in (one.key, f"{one.key} spread")]
    lines: list[list[object]] = [["teacher", "student", "kind", "method", "label", "seeds", *names]]
    for pair in results.pairs:
        for row in (*results.references[pair], *results.methods[pair]):
            means = [results.means.get((row, one)) for one in results.measures]
            numbers = [x for one in means for x in ((one.value, one.spread) if one else ("", ""))]
            runs = max((one.runs for one in means if one), default=0)
            place = [pair.teacher, pair.student, row.kind, row.method, row.label, runs]
            lines.append([*place, *numbers])
    return _csv(lines)


def plain_csv(table: Table) -> str:
    """A table's values, as they are sorted by."""
    lines: list[list[object]] = [[*table.group_headings, *map(_heading, table.headings)]]
    for group in table.groups:
        for row in (*group.references, *group.rows):
            lines.append([*group.names, *("" if c.value is None else c.value for c in row)])
    return _csv(lines)


def _csv(lines: list[list[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()

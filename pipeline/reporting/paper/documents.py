"""Two documents, of one column and of two, that show every table and figure of a report."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.reporting.paper.layout import PaperTable, latex
from pipeline.reporting.render.latex import escape_latex

TALLEST = 7.5  # inches of a figure on a page with its caption
MEDIA_BOX = re.compile(rb"/MediaBox \[\s*0 0 \S+ (\S+)\s*\]")
SIZE = r"\usepackage[letterpaper,textwidth=6.75in,textheight=9in]{geometry}"
ONE_COLUMN = rf"""\documentclass{{article}}
{SIZE}"""
TWO_COLUMNS = rf"""\documentclass[twocolumn]{{article}}
{SIZE}
\setlength{{\columnsep}}{{0.15in}}"""
HEAD = r"""\usepackage[T1]{fontenc}
\usepackage{booktabs,graphicx}
\graphicspath{{../plots/}}
\pagestyle{myheadings}
\makeatletter\setlength{\@fptop}{0pt}\setlength{\@dblfptop}{0pt}\makeatother
"""


@dataclass(frozen=True)
class Caption:
    """A figure's file without its ending, and what stands below it."""

    name: str
    text: str


def write(
    folder: Path, experiment: str, tables: Sequence[PaperTable], figures: Sequence[Caption]
) -> None:
    """The tables, and the documents, whose figures are in the folder `plots` beside this one."""
    folder.mkdir()
    for table in tables:
        (folder / f"{table.name}.tex").write_text(latex(table), encoding="utf-8")
    plots = folder.parent / "plots"
    inputs = [rf"\input{{{table.name}}}" for table in tables]
    for name, begin, in_columns in (
        ("example", ONE_COLUMN, False),
        ("example_two_columns", TWO_COLUMNS, True),
    ):
        lines = [
            begin,
            rf"{HEAD}\markright{{{escape_latex(experiment)}}}",
            r"\begin{document}",
            *inputs,
            r"\clearpage",  # LaTeX holds back few floats without one
            *_figures(plots, figures, in_columns=in_columns),
            r"\end{document}",
            "",
        ]
        (folder / f"{name}.tex").write_text("\n".join(lines), encoding="utf-8")


def _figures(plots: Path, figures: Sequence[Caption], *, in_columns: bool) -> Iterator[str]:
    """Each figure in the size of a column, where there are columns and it suits one, or a page."""
    for figure in figures:
        sizes = {f"column/{figure.name}.pdf": "figure"} if in_columns else {}
        sizes |= {f"{figure.name}.pdf": "figure*"}
        fitting = [path for path in sizes if _fits(plots / path)]
        if not fitting:
            yield f"% {figure.name}.pdf is taller than a page"
            continue
        path, kind = fitting[0], sizes[fitting[0]]
        yield rf"\begin{{{kind}}}[tbp]\centering\includegraphics{{{path}}}"
        yield rf"\caption{{{escape_latex(figure.text)}}}\label{{fig:{figure.name}}}\end{{{kind}}}"


def _fits(path: Path) -> bool:
    """Whether there is such a figure, a PDF of one page, and it leaves room for its caption."""
    if not path.is_file():
        return False
    box = MEDIA_BOX.search(path.read_bytes())
    assert box  # as matplotlib writes it
    return float(box[1]) / 72 <= TALLEST

"""Two documents, of one column and of two, that show every table and figure of a report."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.reporting.paper.layout import PaperTable, latex
from pipeline.reporting.render.latex import escape_latex

TALLEST = 7.5  # inches of a figure on a page with its caption
MEDIA_BOX = re.compile(rb"/MediaBox \[\s*0 0 \S+ (\S+)\s*\]")
FOLDERS = {"figure": "column/", "figure*": ""}  # of plots in the size of a column, of a page
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


def write(
    folder: Path, experiment: str, tables: Sequence[PaperTable], figures: Mapping[str, str]
) -> None:
    """The tables, and the documents, whose figures are in the folder `plots` beside this one.

    `figures` has the text below each figure by the name of its file without its ending.
    """
    folder.mkdir()
    for table in tables:
        (folder / f"{table.name}.tex").write_text(latex(table), encoding="utf-8")
    inputs = [rf"\input{{{table.name}}}" for table in tables]
    for name, begin, kinds in (
        ("example", ONE_COLUMN, ("figure*",)),
        ("example_two_columns", TWO_COLUMNS, ("figure", "figure*")),
    ):
        lines = [
            begin,
            rf"{HEAD}\markright{{{escape_latex(experiment)}}}",
            r"\begin{document}",
            *inputs,
            r"\clearpage",  # LaTeX holds back few floats without one
            *(_figure(folder.parent / "plots", *figure, kinds) for figure in figures.items()),
            r"\end{document}",
            "",
        ]
        (folder / f"{name}.tex").write_text("\n".join(lines), encoding="utf-8")


def _figure(plots: Path, name: str, text: str, kinds: Sequence[str]) -> str:
    """A figure in the first of these sizes, that of a column or of a page, that it fits."""
    for kind in kinds:
        path = f"{FOLDERS[kind]}{name}.pdf"
        if _fits(plots / path):
            image = rf"\begin{{{kind}}}[tbp]\centering\includegraphics{{{path}}}"
            caption = rf"\caption{{{escape_latex(text)}}}\label{{fig:{name}}}\end{{{kind}}}"
            return f"{image}\n{caption}"
    return f"% {name}.pdf is taller than a page"


def _fits(path: Path) -> bool:
    """Whether there is such a figure, a PDF of one page, and it leaves room for its caption."""
    if not path.is_file():
        return False
    box = MEDIA_BOX.search(path.read_bytes())
    assert box  # as matplotlib writes it
    return float(box[1]) / 72 <= TALLEST

"""LaTeX for a paper: its numbers are the report's, and it compiles with nothing shrunk or cut."""

import re
import shutil
import subprocess
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_up import ITEMS, Cell, drawn
from made_up import made as made_up
from reports import SMALL, Made

from pipeline.methods.catalogue import METHODS
from pipeline.reporting.analysis.comparisons import compare
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.metrics import PER_TOKEN
from pipeline.reporting.analysis.scores import assemble
from pipeline.reporting.paper import documents
from pipeline.reporting.paper.tables import method_titles, paper_tables
from pipeline.settings.report import ReportSettings

EXAMPLES = ("example", "example_two_columns")
PRIMARY = ("nll_nats", "kl_to_teacher_nats", "rouge_l")
NUMBER = re.compile(
    r"^\$(?:\\(?P<mark>mathbf|underline)\{)?(?P<mean>-?[\d.]+)\}?"
    r"(?:_\{(?:\[(?P<low>-?[\d.]+),(?P<high>-?[\d.]+)\]|(?P<half>[\d.]+))\})?\$$"
)
OVERFULL = re.compile(r"Overfull \\[hv]box \(([\d.]+)pt")
needs_latex = pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")


def compiled(folder: Path, name: str, target: Path) -> str:
    """The log of a document, compiled in the folder with its output in `target`."""
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"]
    done = subprocess.run(
        [*command, f"-output-directory={target}", f"{name}.tex"],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (target / f"{name}.pdf").stat().st_size > 1000
    return (target / f"{name}.log").read_text(errors="replace")


def rows_of(latex: str) -> Iterator[list[str]]:
    """Cells of the rows of a table, headings left out."""
    for line in latex.splitlines():
        if line.endswith(r"\\") and "multicolumn" not in line:
            yield [cell.strip() for cell in line.removesuffix(r"\\").split(" & ")]


@needs_latex
@pytest.mark.slow
@pytest.mark.xdist_group("report")
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_compile_with_every_table_and_figure_in_its_size(
    made: Made, one_seed: Made, tmp_path: Path, name: str
) -> None:
    for report in (made, one_seed):
        paper = report.folder / "paper"
        log = compiled(paper, name, tmp_path)
        assert [points for points in OVERFULL.findall(log) if float(points) > 1] == []
        source = (paper / f"{name}.tex").read_text()
        tables = {path.stem for path in paper.glob("*.tex")} - set(EXAMPLES)
        assert {"main", "heldout_nll_nats"} <= tables
        assert set(re.findall(r"\\input\{(\w+)\}", source)) == tables
        figures = {path.stem for path in (report.folder / "plots").glob("*.pdf")}
        named = set(re.findall(r"(\w+)\.pdf", source))
        assert named == figures
        texts = source + "".join((paper / f"{table}.tex").read_text() for table in tables)
        assert not re.search(r"resizebox|scalebox|adjustbox|\\tiny|includegraphics\[", texts)
        assert not list(paper.glob("*.pdf"))  # a report has the sources alone


@pytest.mark.slow
@pytest.mark.xdist_group("report")
def test_the_main_table_has_the_numbers_of_the_report_and_marks_what_the_tests_say(
    made: Made,
) -> None:
    data = pd.read_parquet(made.folder / "tables/main.parquet")
    data = data.loc[data["kind"].isin(["teacher", "method"])]
    columns = ["teacher", "student", "label", "metric"]
    scores = {tuple(row[name] for name in columns): row for row in data.to_dict("records")}
    pairs = list(dict.fromkeys((teacher, student) for teacher, student, *_ in scores))
    of_best = {
        (teacher, student, metric): row["letters"]
        for (teacher, student, _, metric), row in scores.items()
        if row["is_best"]
    }
    labels = list(dict.fromkeys(label for _, _, label, _ in scores))
    rows = list(rows_of((made.folder / "paper/main.tex").read_text()))
    assert len(rows) == len(labels)
    for teacher, student in pairs:
        if teacher in SMALL.foreign:  # means over its own tokens stand beside no student
            for metric in PER_TOKEN:
                scores.pop((teacher, student, "teacher", metric), None)
    for label, (_, *cells) in zip(labels, rows, strict=True):
        places = [(*pair, label, metric) for pair in pairs for metric in PRIMARY]
        for place, cell in zip(places, cells, strict=True):
            if place in scores:
                teacher, student, _, metric = place
                _agrees(cell, scores.pop(place), of_best.get((teacher, student, metric), ""))
            else:
                assert cell == "---"
    assert not set(PRIMARY) & {metric for *_, metric in scores}


def _agrees(cell: str, score: dict[Hashable, Any], letters_of_best: str) -> None:
    number = NUMBER.match(cell)
    assert number, cell
    digit = 10.0 ** -len(number["mean"].partition(".")[2]) * 0.501
    assert float(number["mean"]) == pytest.approx(score["value"], abs=digit)
    if number["half"]:
        half_width = (score["high"] - score["low"]) / 2
        assert float(number["half"]) == pytest.approx(half_width, abs=digit)
    else:
        assert float(number["low"]) == pytest.approx(score["low"], abs=digit)
        assert float(number["high"]) == pytest.approx(score["high"], abs=digit)
    tied = not {*score["letters"]}.isdisjoint(letters_of_best)  # they share one
    expected = "mathbf" if score["is_best"] else "underline" if tied else None
    assert number["mark"] == expected


TEACHERS = ("Qwen/Qwen2.5-72B-Instruct", "50%_of #1 & more", "a", "b", "c", "d")


def large_grid() -> ReportInputs:
    """Every method of the catalogue under six teachers."""
    means = {name: 0.3 * place for place, name in enumerate(METHODS)}
    teacher = np.linspace(55.0, 65.0, ITEMS)
    values = {Cell("teacher", 1, name, "teacher"): teacher for name in TEACHERS}
    for name in TEACHERS:
        values |= drawn(means, 2, teacher=name)
    return made_up(values)


@needs_latex
@pytest.mark.slow
def test_a_large_grid_with_long_names_fits_its_pages(tmp_path: Path) -> None:
    inputs = large_grid()
    results = assemble(inputs)
    settings = ReportSettings(experiment="a_b", data_id="d", methods=METHODS)
    tables = list(paper_tables(compare(results, settings), METHODS))
    paper = tmp_path / "paper"
    documents.write(paper, "a_b", tables, {})
    for name in EXAMPLES:
        log = compiled(paper, name, tmp_path)
        assert [points for points in OVERFULL.findall(log) if float(points) > 1] == []
        assert "Float too large" not in log
    text = (paper / "main.tex").read_text()
    assert text.count(r"\mathbf") == len(TEACHERS)
    assert sum(len(row) - 1 for row in rows_of(text)) == len(TEACHERS) * (len(METHODS) + 1)


def test_methods_have_short_titles_of_their_own() -> None:
    titles = method_titles(assemble(large_grid()), METHODS)
    assert len(set(titles.values())) == len(METHODS)
    assert titles["seqkd"] == "Sequence-level distillation"
    assert titles["taid"] == "TAID"
    assert titles["distillm"] == "DistiLLM: skew reverse KL"  # there are two
    assert titles["atkd_jsd"] == "atkd_jsd"  # its title is long


def test_what_is_not_significantly_worse_than_a_noisy_best_is_underlined_without_its_letter() -> (
    None
):
    """The best is n.s. ahead of both others, of which one is ahead of the other."""
    values = drawn({"plain": 0.0, "jsd": 0.5, "gkd": 0.6}, 1)
    noise = np.random.default_rng(5).normal(size=ITEMS)
    values[Cell("gkd", 1)] += 8 * (noise - noise.mean())
    settings = ReportSettings(experiment="e", data_id="d", methods=METHODS)
    comparisons = compare(assemble(made_up(values)), settings)
    letters = {row.method: text for (row, _), text in comparisons.letters.items()}
    assert letters == {"gkd": "ab", "jsd": "a", "plain": "b"}
    main, *_ = paper_tables(comparisons, METHODS)
    (column,) = main.groups[0].columns
    marks = {name: cell.latex[1:].partition("{")[0] for name, cell in column.cells.items()}
    assert marks == {"gkd": r"\mathbf", "jsd": r"\underline", "plain": r"\underline"}


def test_methods_that_tie_for_the_best_are_all_bold() -> None:
    values = drawn({"plain": 0.0, "jsd": 0.5}, 2)
    twins = {
        Cell("gkd", cell.seed): items for cell, items in values.items() if cell.method == "jsd"
    }
    settings = ReportSettings(experiment="e", data_id="d", methods=METHODS)
    main, *_ = paper_tables(compare(assemble(made_up(values | twins)), settings), METHODS)
    (column,) = main.groups[0].columns
    bold = {name for name, cell in column.cells.items() if "mathbf" in cell.latex}
    assert bold == {"jsd", "gkd"}

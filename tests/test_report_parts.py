"""Single parts of a report: labels, markers, clipped texts, and formats of long tables."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.methods.catalogue import METHODS
from pipeline.reporting import web
from pipeline.reporting.analysis.metrics import part_title
from pipeline.reporting.page.method_pages import NEEDS, MethodPage, details
from pipeline.reporting.page.page import TEMPLATES, Numbering
from pipeline.reporting.page.samples import clipped
from pipeline.reporting.plots.looks import MARKERS, Style
from pipeline.reporting.render import formats
from pipeline.reporting.render import table as tables
from pipeline.reporting.render.table import Table
from pipeline.reporting.sections.alignments import span_lengths_table


def test_a_bar_in_a_label_breaks_no_markdown_table() -> None:
    cell = tables.Cell("a|b\nc", "a")
    group = tables.Group("", ("t", "s"), (), ((cell,),))
    heads = (tables.Heading("M", numeric=False),)
    table = tables.Table("x", "", ("T", "S"), heads, (group,), pd.DataFrame())
    assert re.search(r"\| t +\| s +\| a\\\|b c \|", formats.markdown(table))


def test_long_texts_are_clipped_with_a_note() -> None:
    assert clipped("a" * 2010).endswith("a … (10 more characters)")
    assert clipped("short") == "short"


def test_a_hyperparameter_of_zero_is_shown_and_one_left_open_is_not() -> None:
    method = replace(METHODS["jsd"], gold_weight=0.5, defaults={"teacher_weight": 0.9})
    chosen = {"teacher_weight": 0.0, "draws": None, "training": {}, "teacher": "live"}
    assert details(method, chosen) == "teacher_weight = 0.0, gold_weight = 0.5"


@pytest.mark.parametrize("name", METHODS)
def test_a_method_of_the_catalogue_has_a_page_that_says_what_it_needs(name: str) -> None:
    table = Table("scores", "", (), (), (), pd.DataFrame())
    method = METHODS[name]
    page = MethodPage(name, method, {}, details(method, {}), table, [])
    template = TEMPLATES.from_string(
        "{% import 'macros.html.jinja' as parts with context %}{% include 'method.html.jinja' %}"
    )
    html = template.render(method=page, styles={}, numbers=Numbering())
    assert f"<dd>{NEEDS[method.teacher]}</dd>" in html


@pytest.mark.parametrize(
    ("part", "title"),
    [
        ("reference 61- words", "reference 61+ words"),
        ("tokens 129-", "tokens 129+"),
        ("tokens 9-32", "tokens 9-32"),
        ("gpt-4-turbo", "gpt-4-turbo"),
        ("2024-Q1", "2024-Q1"),
    ],
)
def test_only_a_part_without_an_upper_end_has_a_plus(part: str, title: str) -> None:
    assert part_title(part) == title


@pytest.mark.parametrize("marker", MARKERS)
def test_a_methods_marker_has_a_sign_and_a_shape_on_the_page(marker: str) -> None:
    chip = TEMPLATES.from_string(
        "{% import 'macros.html.jinja' as parts with context %}{{ parts.chip('jsd') }}"
    )
    html = chip.render(styles={"jsd": Style("#000000", marker, "-")}, numbers=Numbering())
    assert re.search(r'data-glyph="[^"]"', html)
    shapes = Path(web.__file__).with_name("charts.js").read_text().split("const SHAPES")[1]
    assert re.search(rf'^    "?{re.escape(marker)}"?: "M', shapes.partition("};")[0], re.MULTILINE)


def test_lengths_of_spans_that_an_earlier_job_did_not_count_are_missing() -> None:
    table = span_lengths_table({"other": {"train": {"spans": 5}}})
    assert table is not None
    texts = {cell.text for group in table.groups for row in group.rows for cell in row[1:]}
    assert texts == {tables.MISSING}


@pytest.mark.parametrize(("rows", "files"), [(3, 3), (tables.LONGEST + 1, 2)])
def test_a_long_table_is_linked_in_the_formats_for_programs_alone(
    tmp_path: Path, rows: int, files: int
) -> None:
    heading = tables.Heading("Name", numeric=False)
    cells = tuple((tables.text_cell(f"row{row}"),) for row in range(rows))
    group = tables.Group("", ("a",), (), cells)
    data = pd.DataFrame({"name": [f"row{row}" for row in range(rows)]})
    table = tables.Table("long", "Caption.", ("Group",), (heading,), (group,), data)
    macros = TEMPLATES.get_template("macros.html.jinja").module
    assert str(macros.files_of(table)).count("href") == files
    formats.write(tmp_path, table)
    assert len(list(tmp_path.iterdir())) == files

"""The page of each method: what it is, its scores, and how its training went."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.methods import components
from pipeline.methods.method import Method
from pipeline.reporting.analysis import origin, provenance
from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import Results, Row
from pipeline.reporting.page.charts import Chart, method_charts
from pipeline.reporting.plots.looks import styles_of
from pipeline.reporting.plots.training import NLL, curve_of
from pipeline.reporting.render import anchors
from pipeline.reporting.render.table import Cell, Group, Heading, Table
from pipeline.reporting.sections.score_tables import score_cells, seeds_sentence
from pipeline.settings.report import ReportSettings

MOST_LINES = 12  # that a small figure can hold and still be read
EXTRAS = ("update", "features", "gold_weight", "plain_text_weight", "draws", "relabelling_stages")
NEEDS = {  # of the teacher
    "none": "nothing",
    "text": "its texts",
    "cache": "its cached distribution",
    "live": "the live model",
    "self": "none is needed: a copy of the student, whose prompts show more, takes its place",
}
KINDS: Mapping[components.Kind, str] = {
    "losses": "Loss",
    "data_policies": "Data policy",
    "teacher_updates": "Teacher update",
    "feature_losses": "Loss on hidden states",
}


@dataclass(frozen=True)
class Part:
    """A file that a method is built of."""

    kind: str
    name: str
    formula: str
    address: str  # of the file on the web, as it was run; empty where it isn't there


@dataclass(frozen=True)
class MethodPage:
    """A method, in full."""

    name: str  # in the grid
    label: str
    method: Method
    parts: tuple[Part, ...]
    details: str
    scores: Table
    curves: list[Chart]


def method_pages(
    settings: ReportSettings, inputs: ReportInputs, comparisons: Comparisons
) -> list[MethodPage]:
    """A page for each method of the grid."""
    results = comparisons.results
    configured = settings.config.get("methods")
    chosen = configured if isinstance(configured, dict) else {}
    pages = []
    for name, method in settings.methods.items():
        if rows := [row for row in results.trained if row.method == name]:
            label = rows[0].label
            about = details(method, chosen.get(name) or {})
            curves = _curves(inputs, results, rows[:MOST_LINES], styles_of(results)[label].colour)
            parts = _parts(method, _checkout(inputs, name))
            table = _table(comparisons, rows)
            pages.append(MethodPage(name, label, method, parts, about, table, curves))
    return pages


def _checkout(inputs: ReportInputs, method: str) -> Mapping[str, Any]:
    """The commit that the first of the method's students was trained on."""
    first = inputs.grid.loc[inputs.grid["method"] == method, "student_id"].iloc[0]
    return inputs.manifests[inputs.model_folders[first]].get("checkout", {})


def _parts(method: Method, checkout: Mapping[str, Any]) -> tuple[Part, ...]:
    return tuple(
        Part(
            KINDS[kind],
            name,
            components.formula(kind, name),
            origin.file_address(checkout, components.file_of(kind, name)),
        )
        for kind, name in method.components
    )


def details(method: Method, chosen: Mapping[str, object]) -> str:
    """A method's hyperparameters: its own, and those that the configuration sets."""
    settings = {
        **method.defaults,
        **{key: value for key, value in chosen.items() if value is not None},
    }
    for key in EXTRAS:
        if value := getattr(method, key):
            settings[key] = value
    shown = {key: value for key, value in settings.items() if key not in ("teacher", "text")}
    return ", ".join(
        f"{key} = {value}"
        for key, value in provenance.flat(shown).items()
        if value not in (None, {})
    )


def _table(comparisons: Comparisons, rows: list[Row]) -> Table:
    """The method's means, a row for each teacher and student."""
    results = comparisons.results
    measures = [one for one in results.measures if results.means_by_row(rows, one)]
    titles = {row: results.title(row.pair) for row in rows}
    cells = tuple(
        (Cell(title, title, link=anchors.of_cell(row)), *score_cells(comparisons, row, measures))
        for row, title in titles.items()
    )
    first = Heading("Teacher and student", numeric=False)
    return Table(
        name="",
        caption=f"{seeds_sentence(results)} Letters as in the main table. Bold: the best method.",
        group_headings=(),
        headings=(first, *(Heading(measure.heading, measure.detail) for measure in measures)),
        groups=(Group("", (), (), cells),),
        data=pd.DataFrame(),
    )


def _curves(inputs: ReportInputs, results: Results, rows: list[Row], colour: str) -> list[Chart]:
    curves = {results.title(row.pair): curve_of(inputs, row, NLL) for row in rows}
    return method_charts(curves, colour)

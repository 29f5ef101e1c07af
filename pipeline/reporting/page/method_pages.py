"""The page of each method: what it is, its scores, and how its training went."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.methods import components
from pipeline.methods.method import EVIDENCE, Method
from pipeline.reporting.analysis import origin
from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.page.charts import Chart, method_charts
from pipeline.reporting.plots.looks import styles_of
from pipeline.reporting.plots.training import NLL, curve_of
from pipeline.reporting.render import anchors
from pipeline.reporting.render.table import Cell, Group, Heading, Table
from pipeline.reporting.render.units import pair_title
from pipeline.reporting.sections.score_tables import score_cells, seeds_sentence
from pipeline.settings.report import ReportSettings

MOST_LINES = 12  # that a small figure can hold and still be read


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

    @property
    def address(self) -> str:
        """The page's own address."""
        return anchors.of_method(self.name)

    @property
    def evidence(self) -> str:
        """What of its source was read."""
        return EVIDENCE[self.method.evidence]


def method_pages(
    settings: ReportSettings,
    inputs: ReportInputs,
    results: Results,
    comparisons: Comparisons,
    sizes: Mapping[str, int],
) -> list[MethodPage]:
    """A page for each method of the grid."""
    configured = settings.config.get("methods")
    chosen = configured if isinstance(configured, dict) else {}
    pages = []
    for name, method in settings.methods.items():
        if rows := _rows(results, name):
            label = next(iter(rows)).label
            about = details(method, chosen.get(name) or {})
            table = _table(results, comparisons, rows, sizes)
            colour = styles_of(results)[label].colour
            curves = _curves(inputs, rows, sizes, colour)
            parts = _parts(method, _checkout(inputs, name))
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
    shown = {key: value for key, value in chosen.items() if value not in (None, {})}
    settings = {**method.defaults, **shown}
    for key in (
        "update",
        "features",
        "gold_weight",
        "plain_text_weight",
        "draws",
        "relabelling_stages",
    ):
        if value := getattr(method, key):
            settings[key] = value
    return ", ".join(
        f"{key} = {value}" for key, value in settings.items() if key not in ("teacher", "text")
    )


def _rows(results: Results, method: str) -> dict[Row, Pair]:
    return {
        row: pair for pair in results.pairs for row in results.methods[pair] if row.method == method
    }


def _table(
    results: Results,
    comparisons: Comparisons,
    rows: Mapping[Row, Pair],
    sizes: Mapping[str, int],
) -> Table:
    """The method's means, a row for each teacher and student."""
    measures = [
        measure for measure in results.measures if results.means_by_row(tuple(rows), measure)
    ]
    titles = {row: pair_title(pair, sizes) for row, pair in rows.items()}
    cells = tuple(
        (
            Cell(title, title, link=anchors.of_cell(row)),
            *score_cells(results, comparisons, row, measures),
        )
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


def _curves(
    inputs: ReportInputs, rows: Mapping[Row, Pair], sizes: Mapping[str, int], colour: str
) -> list[Chart]:
    shown = list(rows.items())[:MOST_LINES]
    curves = {pair_title(pair, sizes): curve_of(inputs, row, NLL) for row, pair in shown}
    return method_charts(curves, colour)

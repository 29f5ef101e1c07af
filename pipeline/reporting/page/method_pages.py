"""The page of each method: what it is, its scores, and how its training went."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.methods import components
from pipeline.methods.method import Method
from pipeline.reporting.analysis import provenance
from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import Row
from pipeline.reporting.page.charts import Chart, charts
from pipeline.reporting.plots.looks import styles_of
from pipeline.reporting.plots.training import NLL, curve_of
from pipeline.reporting.render import anchors
from pipeline.reporting.render.table import Cell, Group, Heading, Table
from pipeline.reporting.sections.score_tables import score_cell, seeds_sentence
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
class MethodPage:
    """A method, in full."""

    name: str  # in the grid
    method: Method
    checkout: Mapping[str, Any]  # the commit that the first of its students was trained on
    details: str
    scores: Table
    curves: list[Chart]


def method_pages(
    settings: ReportSettings, inputs: ReportInputs, comparisons: Comparisons
) -> Iterator[MethodPage]:
    """A page for each method of the grid."""
    results = comparisons.results
    styles, configured = styles_of(results), settings.config.get("methods")
    chosen = configured if isinstance(configured, dict) else {}
    for name, method in settings.methods.items():
        if rows := [row for row in results.trained if row.method == name]:
            first = inputs.grid.loc[inputs.grid["method"] == name, "student_id"].iloc[0]
            curves = {
                results.title(row.pair): (curve.steps, curve.means)
                for row in rows[:MOST_LINES]
                if len((curve := curve_of(inputs, row, NLL)).steps)
            }
            yield MethodPage(
                name,
                method,
                inputs.manifests[inputs.model_folders[first]].get("checkout", {}),
                details(method, chosen.get(name) or {}),
                _table(comparisons, rows),
                charts("Held-out NLL (nats/token), means over seeds", styles[name].colour, curves),
            )


def details(method: Method, chosen: Mapping[str, object]) -> str:
    """A method's hyperparameters: its own, and those that the configuration sets."""
    settings = {
        **method.defaults,
        **{key: value for key, value in chosen.items() if value is not None},
        **{key: value for key in EXTRAS if (value := getattr(method, key))},
    }
    shown = {key: value for key, value in settings.items() if key not in ("teacher", "text")}
    return ", ".join(
        f"{key} = {value}"
        for key, value in provenance.flat(shown).items()
        if value not in (None, {})
    )


def _table(comparisons: Comparisons, rows: Sequence[Row]) -> Table:
    """The method's means, a row for each teacher and student."""
    results = comparisons.results
    measures = [each for each in results.measures if results.means_by_row(rows, each)]
    cells = []
    for row in rows:
        title = results.title(row.pair)
        scores = (score_cell(comparisons, row, measure) for measure in measures)
        cells.append((Cell(title, title, link=anchors.of_cell(row)), *scores))
    first = Heading("Teacher and student", numeric=False)
    return Table(
        name="",
        caption=f"{seeds_sentence(results)} Letters as in the main table. Bold: the best method.",
        group_headings=(),
        headings=(first, *(Heading(measure.heading, measure.detail) for measure in measures)),
        groups=(Group("", (), (), tuple(cells)),),
        data=pd.DataFrame(),
    )

"""All that is known of each method: what it is, what it reached, and how its training went."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.methods.method import Method
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.costs.books import trainings_of
from pipeline.reporting.page.sparklines import Chart, Series, chart
from pipeline.reporting.render import anchors
from pipeline.reporting.render.table import Cell, Group, Heading, Table, pair_title
from pipeline.reporting.sections.slices import score_cell
from pipeline.reporting.sections.training_curves import held_out
from pipeline.settings.report import ReportSettings

Trained = Mapping[tuple[str, str, str], Mapping[int, str]]
MOST_LINES = 12  # that a small chart can hold and still be read


@dataclass(frozen=True)
class Recipe:
    """A method in words."""

    name: str
    method: Method
    details: str

    @property
    def address(self) -> str:
        """Where its page is."""
        return anchors.of_method(self.name)


@dataclass(frozen=True)
class MethodPage:
    """A method, in full."""

    recipe: Recipe
    label: str
    scores: Table
    curve: Chart | None


def recipes(settings: ReportSettings) -> list[Recipe]:
    """Every method with what the configuration sets of it."""
    rows = settings.config.get("methods")
    chosen = rows if isinstance(rows, dict) else {}
    return [
        Recipe(name, method, details(method, chosen.get(name) or {}))
        for name, method in settings.methods.items()
    ]


def details(method: Method, chosen: Mapping[str, object]) -> str:
    """What else makes the method, and what the configuration sets of it."""
    shown = {key: value for key, value in chosen.items() if value not in (None, {})}
    found = {**method.defaults, **shown}
    for key in ("update", "gold_weight", "plain_text_weight", "draws", "relabelling_stages"):
        if value := getattr(method, key):
            found[key] = value
    return ", ".join(
        f"{key} = {value}" for key, value in found.items() if key not in ("teacher", "text")
    )


def method_pages(
    settings: ReportSettings, inputs: ReportInputs, results: Results, sizes: Mapping[str, int]
) -> list[MethodPage]:
    """A page for each method of the grid."""
    found = []
    trained = trainings_of(inputs.grid)
    for recipe in recipes(settings):
        rows = _rows(results, recipe.name)
        if rows:
            label = next(iter(rows)).label
            table = _table(results, label, rows, sizes)
            found.append(MethodPage(recipe, label, table, _curve(inputs, rows, trained, sizes)))
    return found


def _rows(results: Results, method: str) -> dict[Row, Pair]:
    return {
        row: pair for pair in results.pairs for row in results.methods[pair] if row.method == method
    }


def _table(
    results: Results, label: str, rows: Mapping[Row, Pair], sizes: Mapping[str, int]
) -> Table:
    """The method's means, a line for each teacher and student."""
    shown = [one for one in results.measures if results.means_by_row(tuple(rows), one)]
    lines = [
        (
            Cell(pair_title(pair, sizes), pair_title(pair, sizes), link=anchors.of_cell(row)),
            *(score_cell(one, results.means.get((row, one))) for one in shown),
        )
        for row, pair in rows.items()
    ]
    first = Heading("Teacher and student", numeric=False)
    return Table(
        name="",
        caption=f"{label} under every teacher: mean ± standard deviation over training seeds.",
        group_headings=(),
        headings=(first, *(Heading(one.heading, one.detail) for one in shown)),
        groups=(Group("", (), (), tuple(lines)),),
    )


def _curve(
    inputs: ReportInputs, rows: Mapping[Row, Pair], trained: Trained, sizes: Mapping[str, int]
) -> Chart | None:
    series = []
    for row, pair in list(rows.items())[:MOST_LINES]:
        paths = trained[row.teacher, row.student, row.method].values()
        curve = held_out(inputs, row, [path.partition("/")[2] for path in paths])
        series.append(Series(pair_title(pair, sizes), curve.steps, curve.values))
    return chart("Held-out NLL (nats/token), means over seeds", series)

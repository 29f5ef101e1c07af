"""All that is known of each row of the main table: its scores by seed, curves, costs and jobs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.reporting.analysis import provenance
from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.load import ReportInputs, StepColumns
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import CELL, SCORE, Results, Row
from pipeline.reporting.page.sparklines import Chart, Series, chart
from pipeline.reporting.render import anchors
from pipeline.reporting.render.table import COSTS, MISSING, sized

CURVES = (
    ("Held-out NLL (nats/token)", "validation_nll_nats"),
    ("Training loss (nats/token)", "loss_nats"),
    ("Gradient norm", "gradient_norm"),
)

Certainty = Mapping[tuple[str, ...], tuple[float, int]]


@dataclass(frozen=True)
class Score:
    """A measure of a cell, with a value for each seed."""

    measure: Measure
    mean: str
    letters: str  # of the groups that can't be told apart
    interval: str
    spread: str  # over seeds
    stderr: str  # over items, of a single seed
    items: int
    points: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """One seed of a cell: what was trained, what evaluated it, and what it cost."""

    seed: int
    model: str  # "stage/id"
    evaluation: str
    finished: str
    costs: tuple[str, ...]
    execution: tuple[str, ...]  # how the job used its machine, in sentences

    @property
    def model_job(self) -> str:
        """The address of the job that trained."""
        return anchors.of_job(self.model)

    @property
    def evaluation_job(self) -> str:
        """The address of the job that evaluated."""
        return anchors.of_job(self.evaluation)


@dataclass(frozen=True)
class CellPage:
    """A row of the main table, in full."""

    row: Row
    student: str
    teacher: str
    scores: tuple[Score, ...]  # of whole tasks
    slices: tuple[Score, ...]  # of parts of them
    curves: tuple[Chart, ...]
    runs: tuple[Run, ...]
    settings: Mapping[str, str]  # of its training, but for the seed
    commands: tuple[str, ...]

    @property
    def address(self) -> str:
        """Where it stands in the page."""
        return anchors.of_cell(self.row)

    @property
    def method(self) -> str:
        """Where its method stands in the page."""
        return anchors.of_method(self.row.method)


def cell_pages(
    experiment: str,
    inputs: ReportInputs,
    results: Results,
    comparisons: Comparisons,
    sizes: Mapping[str, int],
) -> Iterator[CellPage]:
    """A page for each row of the main table, none twice."""
    grid = inputs.grid.sort_values("seed", kind="stable").drop_duplicates([*CELL, "eval_id"])
    cells = dict(list(grid.groupby(CELL, sort=False)))
    certainty = _certainty(results)
    rows = [row for pair in results.pairs for row in results.references[pair]]
    rows += [row for pair in results.pairs for row in results.methods[pair]]
    for row in dict.fromkeys(rows):
        place = (row.teacher, row.student, row.method)
        runs = tuple(_run(inputs, cell) for cell in cells[place].itertuples())
        yield CellPage(
            row=row,
            student=sized(row.student, sizes),
            teacher=sized(row.teacher, sizes),
            scores=tuple(_scores(results, row, results.measures, certainty, comparisons)),
            slices=tuple(_scores(results, row, results.slice_measures, certainty, comparisons)),
            curves=_curves(inputs, runs),
            runs=runs,
            settings=_settings(inputs, runs[0].model),
            commands=tuple(_commands(experiment, runs)),
        )


def _run(inputs: ReportInputs, cell: tuple) -> Run:
    id = cell.teacher_id if cell.kind == "teacher" else cell.student_id
    evaluation = f"evals/{cell.eval_id}"
    cost = inputs.costs.get(id)
    values = [column.value(cost) for column in COSTS] if cost else []
    shown = zip(COSTS, values, strict=False)
    texts = [MISSING if value is None else column.text(value) for column, value in shown]
    finished = str(inputs.manifests[evaluation].get("finished", ""))
    execution = tuple(cost.execution) if cost else ()
    return Run(cell.seed, inputs.model_folders[id], evaluation, finished, tuple(texts), execution)


def _certainty(results: Results) -> Certainty:
    """The standard error over items (the mean of those of the seeds) and the number of items."""
    runs = results.scores.drop_duplicates([*CELL, *SCORE, "id"])
    found = runs.groupby([*CELL, *SCORE]).agg({"stderr": "mean", "n": "max"})
    return dict(zip(found.index, zip(found["stderr"], found["n"], strict=True), strict=True))


def _scores(
    results: Results,
    row: Row,
    measures: Sequence[Measure],
    certainty: Certainty,
    comparisons: Comparisons,
) -> Iterator[Score]:
    for measure in measures:
        if mean := results.means.get((row, measure)):
            score = (measure.task, measure.slice, measure.metric.name)
            error, items = certainty[row.teacher, row.student, row.method, *score]
            interval = comparisons.intervals.get((row, measure))
            yield Score(
                measure=measure,
                mean=measure.format(mean.value),
                letters=comparisons.letters.get((row, measure), ""),
                interval=f"{measure.format(interval.low)} to {measure.format(interval.high)}"
                if interval
                else "",
                spread="" if mean.spread is None else measure.format(mean.spread),
                stderr="" if np.isnan(error) else measure.format(error),
                items=int(items),
                points=tuple(measure.format(point) for point in mean.seed_values),
            )


def _curves(inputs: ReportInputs, runs: Sequence[Run]) -> tuple[Chart, ...]:
    trained = {f"seed {run.seed}": inputs.training_steps.get(_id(run.model)) for run in runs}
    found = [
        chart(
            title,
            [_series(name, steps, column) for name, steps in trained.items() if steps is not None],
        )
        for title, column in CURVES
    ]
    return tuple(one for one in found if one)


def _series(name: str, steps: StepColumns, column: str) -> Series:
    measured = ~np.isnan(steps[column])
    return Series(name, steps["step"][measured], steps[column][measured])


def _id(path: str) -> str:
    return path.partition("/")[2]


def _settings(inputs: ReportInputs, model: str) -> dict[str, str]:
    """What the first of a cell's models was made with; its seed is not the others'."""
    made = inputs.manifests[model].get("settings")
    settings = made if isinstance(made, dict) else {}
    return {key: text for key, text in flat(settings) if key != "seed"}


def flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted names and texts; what is empty is left out."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)


def _commands(experiment: str, runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        for path in (run.model, run.evaluation):
            yield provenance.command(experiment, path)

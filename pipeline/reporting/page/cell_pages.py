"""The page of each row of the main table: its scores by seed, curves, costs and jobs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.reporting.analysis import provenance
from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import CELL, SCORE, Results, Row
from pipeline.reporting.costs.tables import OF_TRAINING
from pipeline.reporting.page.charts import Chart, cell_charts
from pipeline.reporting.plots.looks import INK, styles_of
from pipeline.reporting.render import anchors
from pipeline.reporting.render.units import sized

Certainty = Mapping[tuple[str, ...], tuple[float, int]]


class GridCell(NamedTuple):
    """The columns of the grid that a page is made from."""

    teacher: str
    student: str
    method: str
    kind: str
    seed: int
    student_id: str
    teacher_id: str
    eval_id: str


@dataclass(frozen=True)
class Score:
    """A measure of a cell, with a value for each seed."""

    measure: Measure
    mean: str
    letters: str  # of the groups that don't differ significantly
    interval: str
    spread: str  # over seeds
    stderr: str  # over items, of a single seed
    items: int
    seed_values: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """One seed of a cell: its model, its evaluation, and what training cost."""

    seed: int
    model: str  # "stage/id"
    evaluation: str
    finished: str
    costs: tuple[str, ...]
    execution: tuple[str, ...]  # how the job used its machine, in sentences

    @property
    def model_job(self) -> str:
        """The address of the job that made the model."""
        return anchors.of_job(self.model)

    @property
    def evaluation_job(self) -> str:
        """The address of the job that evaluated it."""
        return anchors.of_job(self.evaluation)


@dataclass(frozen=True)
class CellPage:
    """Everything about a row of the main table."""

    row: Row
    student: str
    teacher: str
    scores: tuple[Score, ...]  # of whole tasks
    slices: tuple[Score, ...]  # of parts of them
    curves: list[Chart]  # of training
    runs: tuple[Run, ...]
    settings: Mapping[str, str]  # of its training, without the seed
    commands: tuple[str, ...]

    @property
    def address(self) -> str:
        """The page's own address."""
        return anchors.of_cell(self.row)

    @property
    def executions(self) -> dict[str, str]:
        """The seeds by what is said of how their jobs used the machine."""
        seeds: dict[str, list[str]] = {}
        for run in self.runs:
            seeds.setdefault(" ".join(run.execution), []).append(str(run.seed))
        return {text: ", ".join(of_text) for text, of_text in seeds.items() if text}

    @property
    def method(self) -> str:
        """The address of the page of its method."""
        return anchors.of_method(self.row.method)


def cell_pages(
    experiment: str,
    inputs: ReportInputs,
    results: Results,
    comparisons: Comparisons,
    sizes: Mapping[str, int],
) -> Iterator[CellPage]:
    """A page for each row of the main table, none twice."""
    cells = _cells(inputs)
    certainty = _certainty(results)
    styles = styles_of(results)
    rows = [row for pair in results.pairs for row in results.references[pair]]
    rows += [row for pair in results.pairs for row in results.methods[pair]]
    pages = list(dict.fromkeys(rows))
    for row in pages:
        runs = tuple(_run(inputs, cell) for cell in cells[row.teacher, row.student, row.method])
        colour = styles[row.label].colour if row.kind == "method" else INK
        yield CellPage(
            row=row,
            student=sized(row.student, sizes),
            teacher=sized(row.teacher, sizes),
            scores=tuple(_scores(results, row, results.measures, certainty, comparisons)),
            slices=tuple(_scores(results, row, results.slice_measures, certainty, comparisons)),
            curves=_curves(inputs, runs, colour),
            runs=runs,
            settings=_settings(inputs, runs[0].model),
            commands=tuple(
                provenance.rebuild_command(experiment, path)
                for run in runs
                for path in (run.model, run.evaluation)
            ),
        )


def _cells(inputs: ReportInputs) -> dict[tuple[str, str, str], list[GridCell]]:
    """The cells of each row, a cell for each evaluation, by seed."""
    grid = inputs.grid.sort_values("seed", kind="stable").drop_duplicates([*CELL, "eval_id"])
    cells: dict[tuple[str, str, str], list[GridCell]] = {}
    for values in grid[list(GridCell._fields)].itertuples(index=False, name=None):
        cell = GridCell(*values)
        cells.setdefault((cell.teacher, cell.student, cell.method), []).append(cell)
    return cells


def _run(inputs: ReportInputs, cell: GridCell) -> Run:
    id = cell.teacher_id if cell.kind == "teacher" else cell.student_id
    evaluation = f"evals/{cell.eval_id}"
    job = inputs.costs.get(id)
    costs = [column.of(job.cost).text for column in OF_TRAINING] if job else []
    finished = str(inputs.manifests[evaluation].get("finished", ""))
    execution = tuple(job.execution) if job else ()
    return Run(cell.seed, inputs.model_folders[id], evaluation, finished, tuple(costs), execution)


def _certainty(results: Results) -> Certainty:
    """The standard error over items, the mean of those of the seeds, and the number of items."""
    runs = results.scores.drop_duplicates([*CELL, *SCORE, "id"])
    scores = runs.groupby([*CELL, *SCORE]).agg({"stderr": "mean", "n": "max"})
    return dict(zip(scores.index, zip(scores["stderr"], scores["n"], strict=True), strict=True))


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
                seed_values=tuple(measure.format(value) for value in mean.seed_values),
            )


def _curves(inputs: ReportInputs, runs: Sequence[Run], colour: str) -> list[Chart]:
    trained = {f"seed {run.seed}": inputs.training_steps.get(_id(run.model)) for run in runs}
    return cell_charts(
        {seed: steps for seed, steps in trained.items() if steps is not None}, colour
    )


def _id(path: str) -> str:
    return path.partition("/")[2]


def _settings(inputs: ReportInputs, model: str) -> dict[str, str]:
    """The settings of a training but for its seed, which is not that of the cell's others."""
    settings = provenance.flat(inputs.manifests[model].get("settings", {}))
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in settings.items()
        if key != "seed" and value not in (None, {})
    }

"""The page of each row of the main table: its scores by seed, curves, costs and jobs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.reporting.analysis import provenance
from pipeline.reporting.analysis.findings import Comparisons, Interval
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import CELL, SCORE, Mean, Results, Row
from pipeline.reporting.costs.tables import OF_TRAINING
from pipeline.reporting.page.charts import Chart, cell_charts
from pipeline.reporting.plots.looks import INK, styles_of

Certainty = Mapping[tuple[str, ...], tuple[float, int]]


@dataclass(frozen=True)
class Score:
    """A measure of a cell."""

    measure: Measure
    mean: Mean  # with a value for each seed
    interval: Interval | None
    letters: str  # of the groups that don't differ significantly
    stderr: float | None  # over items, of a single seed
    items: int


@dataclass(frozen=True)
class Run:
    """One seed of a cell: its model, its evaluation, and what training cost."""

    seed: int
    model: str  # "stage/id"
    evaluation: str
    finished: str
    costs: Sequence[str]
    execution: str  # how the job used its machine, in sentences


@dataclass(frozen=True)
class CellPage:
    """Everything about a row of the main table."""

    row: Row
    scores: Sequence[Score]  # of whole tasks
    slices: Sequence[Score]  # of parts of them
    curves: Sequence[Chart]  # of training
    runs: Sequence[Run]
    settings: Mapping[str, str]  # of its training, without the seed
    commands: Sequence[str]

    @property
    def executions(self) -> dict[str, str]:
        """The seeds by what is said of how their jobs used the machine."""
        seeds: dict[str, list[str]] = {}
        for run in self.runs:
            seeds.setdefault(run.execution, []).append(str(run.seed))
        return {text: ", ".join(of_text) for text, of_text in seeds.items() if text}


def cell_pages(
    experiment: str, inputs: ReportInputs, comparisons: Comparisons
) -> Iterator[CellPage]:
    """A page for each row of the main table, none twice."""
    results = comparisons.results
    grid = inputs.grid.sort_values("seed", kind="stable").drop_duplicates([*CELL, "eval_id"])
    cells = {cell: rows.to_dict("records") for cell, rows in grid.groupby(CELL, sort=False)}
    certainty, styles = _certainty(results), styles_of(results)
    references = [row for pair in results.pairs for row in results.references[pair]]
    for row in dict.fromkeys((*references, *results.trained)):
        runs = [_run(inputs, **cell) for cell in cells[row.cell]]
        colour = styles[row.label].colour if row.kind == "method" else INK
        yield CellPage(
            row=row,
            scores=list(_scores(comparisons, row, results.measures, certainty)),
            slices=list(_scores(comparisons, row, results.slice_measures, certainty)),
            curves=_curves(inputs, runs, colour),
            runs=runs,
            settings=_settings(inputs, runs[0].model),
            commands=[
                provenance.rebuild_command(experiment, path)
                for run in runs
                for path in (run.model, run.evaluation)
            ],
        )


def _run(
    inputs: ReportInputs,
    *,
    kind: str,
    seed: int,
    teacher_id: str,
    student_id: str,
    eval_id: str,
    **_: str,
) -> Run:
    id = teacher_id if kind == "teacher" else student_id
    evaluation = f"evals/{eval_id}"
    job = inputs.costs.get(id)
    costs = [column.of(job.cost).text for column in OF_TRAINING] if job else []
    finished = str(inputs.manifests[evaluation].get("finished", ""))
    execution = " ".join(job.execution) if job else ""
    return Run(seed, inputs.model_folders[id], evaluation, finished, costs, execution)


def _certainty(results: Results) -> Certainty:
    """The standard error over items, the mean of those of the seeds, and the number of items."""
    runs = results.scores.drop_duplicates([*CELL, *SCORE, "id"])
    scores = runs.groupby([*CELL, *SCORE]).agg({"stderr": "mean", "n": "max"})
    return dict(zip(scores.index, zip(scores["stderr"], scores["n"], strict=True), strict=True))


def _scores(
    comparisons: Comparisons, row: Row, measures: Sequence[Measure], certainty: Certainty
) -> Iterator[Score]:
    for measure in measures:
        if mean := comparisons.results.means.get((row, measure)):
            error, items = certainty[*row.cell, measure.task, measure.slice, measure.metric.name]
            yield Score(
                measure,
                mean,
                comparisons.intervals.get((row, measure)),
                comparisons.letters.get((row, measure), ""),
                None if np.isnan(error) else error,
                int(items),
            )


def _curves(inputs: ReportInputs, runs: Sequence[Run], colour: str) -> Sequence[Chart]:
    ids = {f"seed {run.seed}": run.model.partition("/")[2] for run in runs}
    steps = {seed: inputs.training_steps.get(id) for seed, id in ids.items()}
    return cell_charts({seed: of_seed for seed, of_seed in steps.items() if of_seed}, colour)


def _settings(inputs: ReportInputs, model: str) -> dict[str, str]:
    """The settings of a training but for its seed, which is not that of the cell's others."""
    settings = provenance.flat(inputs.manifests[model].get("settings", {}))
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in settings.items()
        if key != "seed" and value not in (None, {})
    }

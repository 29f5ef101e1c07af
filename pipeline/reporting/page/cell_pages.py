"""The page of each row of the main table: its scores by seed, curves, costs and jobs."""

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.reporting.analysis import provenance
from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import CELL, SCORE, Results, Row
from pipeline.reporting.costs.tables import OF_TRAINING
from pipeline.reporting.page.charts import Chart, cell_charts
from pipeline.reporting.plots.looks import INK, styles_of

Error = tuple[float | None, int]  # the standard error over items, and their number


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
    scores: Mapping[Measure, Error]  # of whole tasks
    slices: Mapping[Measure, Error]  # of parts of them
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
    styles, errors = styles_of(results), _errors(results)
    references = [row for pair in results.pairs for row in results.references[pair]]
    for row in dict.fromkeys((*references, *results.trained)):
        runs = [_run(inputs, cell) for cell in cells[row.cell]]
        ids = {f"seed {run.seed}": run.model.partition("/")[2] for run in runs}
        known = inputs.training_steps
        steps = {seed: known[id] for seed, id in ids.items() if id in known}
        scores, slices = (
            {
                measure: errors[*row.cell, *measure.names]
                for measure in measures
                if (row, measure) in results.means
            }
            for measures in (results.measures, results.slice_measures)
        )
        yield CellPage(
            row=row,
            scores=scores,
            slices=slices,
            curves=cell_charts(steps, styles[row.method].colour if row.kind == "method" else INK),
            runs=runs,
            settings=_settings(inputs, runs[0].model),
            commands=[
                provenance.rebuild_command(experiment, path)
                for run in runs
                for path in (run.model, run.evaluation)
            ],
        )


def _errors(results: Results) -> dict[tuple[str, ...], Error]:
    """The mean error of the seeds, by cell and measure."""
    runs = results.scores.drop_duplicates([*CELL, *SCORE, "id"])
    errors = runs.groupby([*CELL, *SCORE]).agg({"stderr": "mean", "n": "max"})
    return {
        key: (None if np.isnan(stderr) else stderr, int(count))
        for key, stderr, count in errors.itertuples(name=None)
    }


def _run(inputs: ReportInputs, cell: Mapping[Hashable, str]) -> Run:
    id = cell["teacher_id"] if cell["kind"] == "teacher" else cell["student_id"]
    evaluation = f"evals/{cell['eval_id']}"
    job = inputs.costs.get(id)
    return Run(
        int(cell["seed"]),
        inputs.model_folders[id],
        evaluation,
        str(inputs.manifests[evaluation].get("finished", "")),
        [column.of(job.cost).text for column in OF_TRAINING] if job else [],
        " ".join(job.execution) if job else "",
    )


def _settings(inputs: ReportInputs, model: str) -> dict[str, str]:
    """The settings of a training but for its seed, which is not that of the cell's others."""
    settings = provenance.flat(inputs.manifests[model].get("settings", {}))
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in settings.items()
        if key != "seed" and value not in (None, {})
    }

"""Writes the report of an experiment from its evaluations."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.artifacts import artifact, schemas
from pipeline.artifacts.lock import acquire_lock
from pipeline.reporting.analysis import outcome, provenance, summary
from pipeline.reporting.analysis.comparisons import compare
from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.load import ReportInputs, read_grid, read_inputs
from pipeline.reporting.analysis.scores import assemble
from pipeline.reporting.analysis.verdict import verdicts
from pipeline.reporting.costs.attribution import collect_costs
from pipeline.reporting.page import page
from pipeline.reporting.page.primary_table import training_times
from pipeline.reporting.paper import documents
from pipeline.reporting.paper.tables import paper_tables
from pipeline.reporting.render import formats
from pipeline.reporting.sections.contents import sections
from pipeline.reporting.sections.score_tables import measures_data
from pipeline.runtime.progress import log
from pipeline.settings.report import ReportSettings
from pipeline.stages.options import ReportOptions


def run(options: ReportOptions) -> None:
    """Writes the report and prints its summary."""
    settings = ReportSettings.model_validate(options.job.settings)
    acquire_lock(options.out, log)
    grid = read_grid(options.grid)
    check_cards(set(grid.loc[grid["kind"] == "method", "method"]), settings)

    inputs = read_inputs(options.results, grid, settings.data_id, settings.tokens_id)
    read = [f"evals/{id}" for id in inputs.evaluation_manifests]
    evaluations = {path: options.results / path for path in read}
    with artifact.create(options.out, options.job, evaluations) as (folder, _):
        text = write_report(folder, options.job, settings, inputs)
    print(text)
    print(options.out / "index.html")


def check_cards(methods: set[str], settings: ReportSettings) -> None:
    """Raises ValueError for a method of the grid that the settings don't describe."""
    if unknown := sorted(methods - set(settings.methods)):
        raise ValueError(f"the grid has {unknown}, which the report's settings don't describe")


def write_report(
    folder: Path,
    job: artifact.Job,
    settings: ReportSettings,
    inputs: ReportInputs,
) -> str:
    """Writes everything but the manifest to `folder`; returns a summary of a few lines."""
    results = assemble(inputs, settings.primary)
    comparisons = compare(results, settings, inputs.manifests)
    scores = {str(name): column.tolist() for name, column in results.scores.items()}
    schemas.write(folder / "scores.parquet", scores, schemas.SCORES)
    (folder / provenance.CONFIG).write_text(page.configuration(settings), encoding="utf-8")
    provenance.write(folder / provenance.MANIFESTS, inputs.manifests)

    for name in ("plots", "tables"):
        (folder / name).mkdir()
    formats.write_data(folder / "tables", "measures", measures_data(results))
    shown = []
    costs = collect_costs(inputs, results)
    for section in sections(settings, comparisons, costs):
        images = [page.image(plot, *plot.write(folder / "plots")) for plot in section.plots]
        for table in (*section.tables, *section.folded.values()):
            formats.write(folder / "tables", table)
        if section.tables or section.folded or images:
            shown.append((section, images))
    figures = {
        image.name: f"{image.title}. {image.caption}" for _, images in shown for image in images
    }
    tables = list(paper_tables(comparisons, settings.methods))
    documents.write(folder / "paper", settings.experiment, tables, figures)
    times = training_times(costs)
    html = page.render(job, settings, comparisons, costs, times, shown)
    (folder / "index.html").write_text(html, encoding="utf-8")
    artifact.write_json(folder / outcome.FILE, outcome.outcome(comparisons, times))
    return "\n".join([summary.scope(results), *_answers(comparisons)])


def _answers(comparisons: Comparisons) -> Iterator[str]:
    for verdict in verdicts(comparisons):
        yield f"{verdict.measure.heading} ({verdict.measure.task}): {verdict.text}"

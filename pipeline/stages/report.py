"""Writes what pipeline.reporting makes of an experiment's evaluations."""

import gc
import io
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from pipeline.artifacts import artifact, schemas
from pipeline.artifacts.lock import acquire_lock
from pipeline.reporting.analysis import provenance
from pipeline.reporting.analysis.comparisons import compare
from pipeline.reporting.analysis.load import ReportInputs, read_grid, read_inputs
from pipeline.reporting.analysis.model_sizes import sizes_of
from pipeline.reporting.analysis.scores import assemble
from pipeline.reporting.page import page
from pipeline.reporting.page.cell_pages import cell_pages
from pipeline.reporting.page.method_pages import method_pages
from pipeline.reporting.page.samples import samples
from pipeline.reporting.render import formats
from pipeline.reporting.render import table as tables
from pipeline.reporting.render.plot_style import STYLE, Plot
from pipeline.reporting.sections.contents import Draft, drafts
from pipeline.runtime import process_pool
from pipeline.runtime.progress import log
from pipeline.settings.report import ReportSettings
from pipeline.stages.options import ReportOptions

MANY = 1000  # cells, from which on other processes do more than it takes to begin them
SVG_NOTES = ("Date", "Creator", "Format", "Type")  # left out: equal plots are equal files


def run(options: ReportOptions) -> None:
    """Writes the report and prints its main table."""
    gc.disable()  # of millions of scores none is garbage: a quarter of the time went into looking
    settings = ReportSettings.model_validate(options.job.settings)
    acquire_lock(options.out, log)
    grid = read_grid(options.grid)
    check_cards(set(grid.loc[grid["kind"] == "method", "method"]), settings)
    results_folder = options.results

    with process_pool.process_pool(options.threads if len(grid) >= MANY else 1) as helpers:
        inputs = read_inputs(results_folder, grid, settings.data_id, helpers)
        with artifact.atomic_write(options.out) as folder:
            main_table = write_report(folder, options.job, settings, inputs, helpers)
            evaluations = {f"evals/{id}": results_folder / "evals" / id for id in inputs.sums}
            artifact.write_manifest(folder, options.job, evaluations)
    print(main_table)
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
    helpers: Executor,
) -> str:
    """Everything but the manifest, in `folder`; the main table in Markdown."""
    results = assemble(inputs, settings.titles)
    sizes = sizes_of(inputs)
    comparisons = compare(inputs, results, settings)
    folder.mkdir()
    scores = {name: column.tolist() for name, column in results.scores.items()}
    schemas.write(folder / "scores.parquet", scores, schemas.SCORES)
    (folder / provenance.CONFIG).write_text(page.configuration(settings), encoding="utf-8")
    provenance.write(folder / provenance.MANIFESTS, inputs.manifests)

    with matplotlib.rc_context(STYLE):
        begun = [
            begin_section(folder, one, helpers)
            for one in drafts(settings, inputs, results, comparisons, sizes)
        ]
    contents = page.Contents(
        methods=method_pages(settings, inputs, results, sizes),
        cells=cell_pages(settings.experiment, inputs, results, comparisons, sizes),
        samples=samples(inputs, results, sizes),
        sizes=sizes,
        comparisons=comparisons,
        sections=[section for one in begun if (section := finished(one))],  # plots need their time
    )
    html = page.page(job, settings, inputs, results, contents)
    (folder / "index.html").write_text(html, encoding="utf-8")
    return (folder / "tables/main.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Begun:
    """A section whose plots are being drawn."""

    draft: Draft
    drawings: Sequence[Future[page.Drawing]]


def begin_section(folder: Path, draft: Draft, helpers: Executor) -> Begun:
    """The tables and plots of a section, each in all its formats; plots are in others' hands."""
    drawings = [helpers.submit(write_plot, folder / "plots", plot) for plot in draft.plots]
    for table in (*draft.tables, *draft.folded):
        write_table(folder / "tables", table)
    return Begun(draft, drawings)


def finished(begun: Begun) -> page.Section | None:
    """The section for the page, with its plots; None where there is nothing in it."""
    draft, drawings = begun.draft, [one.result() for one in begun.drawings]
    if not (draft.tables or draft.folded or drawings):
        return None
    return page.Section(draft.name, draft.title, draft.lead, draft.tables, drawings, draft.folded)


def write_table(folder: Path, table: tables.Table) -> None:
    """A table in four formats."""
    folder.mkdir(exist_ok=True)
    numbers = table.csv or formats.plain_csv(table)
    formats.write_parquet(folder / f"{table.name}.parquet", numbers)
    for end, text in (
        ("csv", numbers),
        ("md", formats.markdown(table)),
        ("tex", formats.latex(table)),
    ):
        (folder / f"{table.name}.{end}").write_text(text, encoding="utf-8")


def write_plot(folder: Path, plot: Plot) -> page.Drawing:
    """A plot as PNG and SVG, and as the page holds it."""
    folder.mkdir(exist_ok=True)
    with matplotlib.rc_context(STYLE):
        plot.figure.get_layout_engine().execute(plot.figure)
        plot.figure.set_layout_engine(None)  # what was laid out holds for both formats
        svg = as_svg(plot.figure)
        (folder / f"{plot.name}.svg").write_bytes(svg)
        plot.figure.savefig(folder / f"{plot.name}.png", dpi=130)
    return page.drawing(plot, svg)


def as_svg(figure: Figure) -> bytes:
    """The figure as SVG, without the date that would make each one different."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(SVG_NOTES))
    return buffer.getvalue()

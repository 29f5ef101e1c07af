"""Makes scores, tables, plots and one page of everything that an experiment has evaluated."""

import io
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from pipeline import artifacts, cli, schemas
from pipeline.reporting import curves, formats, page, plots, tables, trade_offs
from pipeline.reporting.inputs import Inputs, read_grid, read_inputs
from pipeline.reporting.looks import STYLE, Plot
from pipeline.reporting.samples import samples
from pipeline.reporting.scores import Results, assemble
from pipeline.settings.report import ReportSettings


def main() -> None:
    """Writes the report and prints its main table."""
    parser = cli.parser(__doc__)
    parser.add_argument("--grid", required=True, help="the experiment's grid.csv")
    parser.add_argument("--results", required=True, help="the folder of all artifacts")
    arguments = parser.parse_args()
    settings = ReportSettings.model_validate(arguments.job.settings)
    grid = read_grid(Path(arguments.grid))
    check_cards(set(grid.loc[grid["kind"] == "method", "method"]), settings)
    results_folder = Path(arguments.results)
    inputs = read_inputs(results_folder, grid, settings.data_id)
    results = assemble(inputs, settings.titles)

    with artifacts.whole(Path(arguments.out)) as folder:
        main_table = write_report(folder, arguments.job, settings, inputs, results)
        evaluations = {f"evals/{id}": results_folder / "evals" / id for id in inputs.evaluations}
        artifacts.write_manifest(folder, arguments.job, evaluations)
    print(formats.markdown(main_table))
    print(Path(arguments.out) / "index.html")


def check_cards(methods: set[str], settings: ReportSettings) -> None:
    """Raises ValueError for a method of the grid that the settings don't describe."""
    if unknown := sorted(methods - set(settings.methods)):
        raise ValueError(f"the grid has {unknown}, which the report's settings don't describe")


def write_report(
    folder: Path, job: artifacts.Job, settings: ReportSettings, inputs: Inputs, results: Results
) -> tables.Table:
    """Everything but the manifest, in `folder`; the main table."""
    sizes = tables.sizes_of(inputs)
    main_table = tables.main_table(results, sizes)
    cost_table = tables.cost_table(inputs, results, sizes)
    folder.mkdir()
    schemas.write(folder / "scores.parquet", results.scores.to_dict("list"), schemas.SCORES)
    write_table(folder / "tables", main_table, formats.main_csv(results))
    write_table(folder / "tables", cost_table, formats.plain_csv(cost_table))
    with matplotlib.rc_context(STYLE):
        drawings = [write_plot(folder / "plots", plot) for plot in draw(inputs, results, sizes)]

    shown = samples(inputs, results, sizes)
    contents = page.Contents(main_table, cost_table, drawings, shown, sizes)
    html = page.page(job, settings, inputs, results, contents)
    (folder / "index.html").write_text(html, encoding="utf-8")
    return main_table


def write_table(folder: Path, table: tables.Table, numbers: str) -> None:
    """A table in three formats."""
    folder.mkdir(exist_ok=True)
    (folder / f"{table.name}.csv").write_text(numbers, encoding="utf-8")
    (folder / f"{table.name}.md").write_text(formats.markdown(table), encoding="utf-8")
    (folder / f"{table.name}.tex").write_text(formats.latex(table), encoding="utf-8")


def draw(inputs: Inputs, results: Results, sizes: dict[str, int]) -> list[Plot]:
    """Every plot that the experiment has something for."""
    if not results.judged:
        return []
    drawn = (
        plots.scores_by_method(results, sizes),
        trade_offs.scores_by_teacher_size(results, sizes),
        trade_offs.scores_by_seconds(inputs, results, sizes),
        curves.validation_curves(inputs, results, sizes),
        curves.loss_curves(inputs, results, sizes),
    )
    return [plot for plot in drawn if plot]


def write_plot(folder: Path, plot: Plot) -> page.Drawing:
    """A plot as PNG and SVG, and as the page holds it."""
    folder.mkdir(exist_ok=True)
    plot.figure.draw_without_rendering()
    plot.figure.set_layout_engine("none")  # what was laid out holds for both formats
    svg = as_svg(plot.figure)
    (folder / f"{plot.name}.svg").write_bytes(svg)
    plot.figure.savefig(folder / f"{plot.name}.png", dpi=200)
    return page.Drawing(plot.name, plot.title, plot.caption, svg)


def as_svg(figure: Figure) -> bytes:
    """The figure as SVG, without the date that would make each one different."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


if __name__ == "__main__":
    cli.run(main)

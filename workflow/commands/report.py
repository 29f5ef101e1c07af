"""The report of an experiment, or of those of its cells that are finished.

A partial report stands in results/EXPERIMENT/partial/ and is not part of the workflow: no job runs
for it, and the whole report is made as if it weren't there. It is for a grid that is still running,
and for one in which a cell fails for good.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.artifacts import artifact
from workflow.commands import run
from workflow.grid.grid import Cell
from workflow.jobs import grid_csv
from workflow.jobs.condition import State
from workflow.jobs.jobs import Jobs
from workflow.jobs.rerun_reasons import RESULTS

EXAMPLES = 20  # of the cells that are left out
LOCAL = Path("workflow/profiles/local")


def is_finished(jobs: Jobs, cell: Cell) -> bool:
    """Whether every artifact that the report reads of a cell is finished."""
    grid = jobs.grid
    inputs = (
        cell.model,
        grid.evaluations[cell.model],
        grid.teacher(cell.teacher),
        grid.signals(cell.teacher),
    )
    return all(jobs.state(input) is State.FINISHED for input in inputs)


def suggest_partial(jobs: Jobs, configfiles: Sequence[str]) -> str:
    """What to do about the cells that are finished, when a run has ended with a failure."""
    if not any(is_finished(jobs, cell) for cell in jobs.grid.cells if cell.kind == "method"):
        return ""
    config = "".join(f" {path}" for path in configfiles[-1:])
    return (
        "A cell that fails for good can be left out of `grid`; a report of the finished cells: "
        f"distilbench report --partial{config}"
    )


def main(*, config: Path, partial: bool) -> int:
    """Makes the report, and prints its main table, or the cells that a partial one lacks."""
    jobs = Jobs.of_file(config)
    return _partial(jobs) if partial else _whole(jobs, config)


def _whole(jobs: Jobs, config: Path) -> int:
    cells = jobs.grid.cells
    missing = sum(not is_finished(jobs, cell) for cell in cells) if jobs.unfinished else 0
    if jobs.unfinished:
        sys.exit(
            f"{jobs.experiment}: {missing} of {len(cells)} cells are not finished: `distilbench "
            "run` runs what is left, and `distilbench report --partial` reports on the others"
        )
    folder = RESULTS / jobs.experiment / "report"
    if not jobs.is_reported:
        command = run.command(config, "all", LOCAL, ["--quiet"])
        status = subprocess.run(command, env=run.environment(), check=False).returncode
        if status:
            return status
    print((folder / "tables" / "main.md").read_text(encoding="utf-8"))
    print(f"The report: {(folder / 'index.html').resolve()}")
    return 0


def _partial(jobs: Jobs) -> int:
    cells = jobs.grid.cells
    finished = [is_finished(jobs, cell) for cell in cells]
    if not any(done and cell.kind == "method" for cell, done in zip(cells, finished, strict=True)):
        sys.exit(f"{jobs.experiment}: no method is evaluated yet: there is nothing to report")

    status = _write(jobs, finished)
    missing = [_name(cell) for cell, done in zip(cells, finished, strict=True) if not done]
    for name in missing[:EXAMPLES]:
        print(f"left out: {name}")
    if len(missing) > EXAMPLES:
        print(f"left out: {len(missing) - EXAMPLES} more")
    print(f"{len(cells) - len(missing)} of {len(cells)} cells are in it")
    return status


def _name(cell: Cell) -> str:
    return f"{cell.method}.{cell.student}.{cell.teacher}.s{cell.seed}"


def _write(jobs: Jobs, finished: Sequence[bool]) -> int:
    """Writes the report of the finished cells; its exit status."""
    folder = RESULTS / jobs.experiment / "partial"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for row, done in zip(grid_csv.rows(jobs.grid), finished, strict=True) if done]
    with artifact.atomic_write(folder / "grid.csv") as temporary:
        temporary.write_text(grid_csv.text(rows), encoding="utf-8", newline="")
    artifact.write_json(folder / "job.json", jobs.report_job)
    command = [
        *(sys.executable, "-m", "pipeline", "report", "--job", str(folder / "job.json")),
        *("--grid", str(folder / "grid.csv"), "--results", str(RESULTS)),
        *("--out", str(folder / "report")),
    ]
    return subprocess.run(command, check=False).returncode

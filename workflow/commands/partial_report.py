"""The report of the cells that are finished, with a hole where one isn't.

python -m workflow.commands.partial_report [--configfile mine.yaml]

It stands in results/EXPERIMENT/partial/ and is no part of the workflow: nothing is made for it, and
the whole report is made as if it weren't there. For a grid that is still running, and for one in
which a cell fails for good.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.artifacts import artifact
from workflow.grid.grid import Cell
from workflow.jobs import grid_csv, read_config
from workflow.jobs.finished import State
from workflow.jobs.jobs import REPORT, Jobs
from workflow.jobs.rerun_reasons import RESULTS

SHOWN = 20  # of the cells that are left out


def is_finished(jobs: Jobs, cell: Cell) -> bool:
    """Whether all that the report reads of a cell is there."""
    grid = jobs.grid
    read = (
        cell.model,
        grid.evaluations[cell.model],
        grid.teacher(cell.teacher),
        grid.signals(cell.teacher),
    )
    return all(jobs.state(one) is State.FINISHED for one in read)


def name(cell: Cell) -> str:
    """A cell in a word."""
    return f"{cell.method}.{cell.student}.{cell.teacher}.s{cell.seed}"


def offer(jobs: Jobs, configfiles: Sequence[str]) -> str:
    """What to do about the rest, when a run has ended with something that failed."""
    there = sum(is_finished(jobs, cell) for cell in jobs.grid.cells if cell.kind == "method")
    if not there:
        return ""
    given = " ".join(f"--configfile {one}" for one in configfiles[-1:])
    return (
        "A cell that fails for good can be left out of `grid`; the report of those that are "
        f"finished: python -m workflow.commands.partial_report {given}"
    )


def write(jobs: Jobs, there: Sequence[bool]) -> int:
    """The report of the cells that are there; its exit status."""
    folder = RESULTS / jobs.experiment / "partial"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for row, is_there in zip(grid_csv.rows(jobs.grid), there, strict=True) if is_there]
    with artifact.atomic_write(folder / "grid.csv") as temporary:
        temporary.write_text(grid_csv.text(rows), encoding="utf-8", newline="")
    out = ["--results", str(RESULTS), "--out", str(folder / "report")]
    command = [sys.executable, "-m", REPORT, jobs.report(None), "--grid", str(folder / "grid.csv")]
    threads = ["--threads", str(os.cpu_count() or 1)]
    return subprocess.run([*command, *out, *threads], check=False).returncode


def main() -> None:
    """Writes the report; says what it lacks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", type=Path, default=Path("config.yaml"))
    jobs = read_config.jobs(parser.parse_args().configfile)
    cells = jobs.grid.cells
    there = [is_finished(jobs, cell) for cell in cells]
    if not any(
        is_there and cell.kind == "method" for cell, is_there in zip(cells, there, strict=True)
    ):
        sys.exit(f"{jobs.experiment}: no method is evaluated yet: there is nothing to report")

    status = write(jobs, there)
    missing = [name(cell) for cell, is_there in zip(cells, there, strict=True) if not is_there]
    for one in missing[:SHOWN]:
        print(f"left out: {one}")
    if len(missing) > SHOWN:
        print(f"left out: {len(missing) - SHOWN} more")
    print(f"{len(cells) - len(missing)} of {len(cells)} cells are in it")
    raise SystemExit(status)


if __name__ == "__main__":
    main()

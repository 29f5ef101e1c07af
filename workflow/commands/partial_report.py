"""The report of those cells of an experiment that are finished, naming each that is missing.

It stands in results/EXPERIMENT/partial/ and is not part of the workflow: no job runs for it, and
the run that makes the whole report deletes it. It is for a grid that is still running, and for one
in which a cell fails for good; a run that ends with a failure makes it, too.
"""

import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.artifacts import artifact, checksums
from pipeline.settings.report import MissingCell
from workflow.commands.alike import Shared, shared
from workflow.commands.job_status import JobStatus, UnfinishedJob, status_of
from workflow.grid.artifact import Artifact, reachable
from workflow.grid.cell import Cell
from workflow.jobs import grid_csv
from workflow.jobs.condition import State
from workflow.jobs.jobs import Jobs
from workflow.jobs.rerun_reasons import RESULTS

LONGEST = 300  # characters of an error that a cell is missing for


@dataclass(frozen=True, eq=False)
class PartialReport:
    """The partial report of an experiment, as it would be made now."""

    jobs: Jobs

    @property
    def folder(self) -> Path:
        """Where it is written, with the list of its cells."""
        return RESULTS / self.jobs.experiment / "partial"

    @cached_property
    def finished(self) -> frozenset[Cell]:
        """The cells that are in it."""
        return frozenset(cell for cell in self.jobs.grid.cells if is_finished(self.jobs, cell))

    @property
    def has_methods(self) -> bool:
        """Whether a method is evaluated: without one there is nothing to report."""
        return any(cell.kind == "method" for cell in self.finished)

    @cached_property
    def unfinished_jobs(self) -> Mapping[str, UnfinishedJob]:
        """The jobs that are left, by the id of what they make."""
        return {job.id: job for job in status_of(self.jobs, time.time()).jobs}

    @property
    def has_failures(self) -> bool:
        """Whether a job has failed, and was not only asked to stop."""
        return any(job.status is JobStatus.FAILED for job in self.unfinished_jobs.values())

    @cached_property
    def _reasons(self) -> dict[Cell, str]:
        """Why each of the cells is missing that are not in it."""
        cells = self.jobs.grid.cells
        return {cell: self._why(cell) for cell in cells if cell not in self.finished}

    @property
    def missing(self) -> list[MissingCell]:
        """The cells that are not in it, each with the reason."""
        return [
            MissingCell.model_validate({**grid_csv.place(cell), "why": _short(why)})
            for cell, why in self._reasons.items()
        ]

    def _why(self, cell: Cell) -> str:
        behind = reversed(reachable(_read(self.jobs, cell)).values())  # what comes first, first
        for job in (self.unfinished_jobs.get(each.id) for each in behind):
            if job and job.status is JobStatus.FAILED:
                error = job.message.removeprefix("error: ")
                return f"{job.name} failed: {error}"
        return "not yet run"

    @property
    def summary(self) -> str:
        """A line for each reason that cells are missing for, and the number of the others."""
        reasons = {
            f"{cell.method}.{cell.student}.{cell.teacher}.s{cell.seed}": why
            for cell, why in self._reasons.items()
        }
        lines = [
            f"left out: {_counted(cause)}: {_short(cause.message)}" for cause in shared(reasons)
        ]
        count = len(self.jobs.grid.cells)
        return "\n".join([*lines, f"{len(self.finished)} of {count} cells are in it"])

    def write(self) -> "subprocess.CompletedProcess[str]":
        """Writes it in another process, whose output is captured."""
        self.folder.mkdir(parents=True, exist_ok=True)
        cells = zip(grid_csv.rows(self.jobs.grid), self.jobs.grid.cells, strict=True)
        rows = [row for row, cell in cells if cell in self.finished]
        with artifact.atomic_write(self.folder / "grid.csv") as temporary:
            temporary.write_text(grid_csv.text(rows), encoding="utf-8", newline="")
        job = self.jobs.report_job
        missing = [cell.model_dump() for cell in self.missing]
        settings = job["settings"] | {"missing": missing}
        artifact.write_json(self.folder / "job.json", job | {"settings": settings})
        command = [
            *(sys.executable, "-m", "pipeline", "report", "--job", f"{self.folder}/job.json"),
            *("--grid", f"{self.folder}/grid.csv", "--results", str(RESULTS)),
            *("--out", f"{self.folder}/report"),
        ]
        return subprocess.run(command, check=False, capture_output=True, text=True)


def _short(message: str) -> str:
    return textwrap.shorten(message, LONGEST)


def _counted(cause: Shared) -> str:
    """The cells that are missing for a reason: one by its name, several by their first names."""
    count = len(cause.names)
    return cause.names[0] if count == 1 else f"{count} cells ({cause.listed})"


def is_finished(jobs: Jobs, cell: Cell) -> bool:
    """Whether every artifact that the report reads of a cell is finished."""
    return all(jobs.state(input) is State.FINISHED for input in _read(jobs, cell))


def _read(jobs: Jobs, cell: Cell) -> tuple[Artifact, ...]:
    """The artifacts that the report reads of a cell."""
    grid = jobs.grid
    evaluation = grid.evaluations[cell.model]
    if cell.teacher not in grid.experiment.local_teachers:
        return cell.model, evaluation
    return cell.model, evaluation, grid.teacher(cell.teacher), grid.signals(cell.teacher)


def make(jobs: Jobs) -> int:
    """Makes the report for a person who asked for it; its exit status."""
    report = PartialReport(jobs)
    if not report.has_methods:
        sys.exit(f"{jobs.experiment}: no method is evaluated yet: there is nothing to report")
    done = report.write()
    print(done.stdout, end="")
    print(done.stderr, end="", file=sys.stderr)
    print(report.summary)
    return done.returncode


def after_failure(jobs: Jobs) -> str:
    """Makes the report at the end of a run with a failure; what to say of it.

    A run that was asked to stop makes none, nor does one without any evaluated method.
    """
    report = PartialReport(jobs)
    if not report.has_methods or not report.has_failures:
        return ""
    done = report.write()
    if done.returncode:
        return f"No partial report: {done.stderr.strip()}"
    return (
        f"A partial report: {report.folder / 'report' / 'index.html'}\n{report.summary}\n"
        "Run again once that is repaired; a cell that fails for good can be left out of `grid`."
    )


def remove_beside_whole(jobs: Jobs) -> None:
    """Deletes the partial report of an experiment whose whole report is finished."""
    if jobs.is_reported:
        checksums.remove(PartialReport(jobs).folder)

"""Before jobs run: their job files, a record of their code, room for what they make again."""

import sys
from collections.abc import Callable
from pathlib import Path

from pipeline.artifacts import checksums
from pipeline.artifacts.part import of_marker
from workflow.jobs import grid_csv, job_files, source_hash
from workflow.jobs.condition import State
from workflow.jobs.jobs import Jobs
from workflow.jobs.parts import drop_other_cuts
from workflow.jobs.stage_modules import REPORT, modules_of


def move_damaged_aside(jobs: Jobs, log: Callable[[str], None]) -> None:
    """Makes room for what a run makes again, in the place of what is damaged."""
    conditions = {each.path: jobs.condition(each) for each in jobs.unfinished}
    conditions |= {jobs.report: jobs.report_condition, jobs.grid_csv: jobs.grid_condition}
    for path, condition in conditions.items():
        if condition.state is State.DAMAGED:
            log(f"{condition.damage}; {path} is now {checksums.move_aside(Path(path))}")


def prepare_run(jobs: Jobs, is_forced: bool) -> None:
    """Writes the job files of a run, and records the sources that its jobs run.

    These are the jobs of unfinished artifacts, or of all if rules are forced.
    """
    unfinished = [each for each in jobs.artifacts if jobs.state(each) is not State.FINISHED]
    for artifact in jobs.artifacts if is_forced else unfinished:
        job_files.write(Path(artifact.path), jobs.job(artifact))
    for artifact in unfinished:
        drop_other_cuts(artifact, jobs.parts(artifact))
    _write_report_job(jobs)
    rows = grid_csv.text(grid_csv.rows(jobs.grid))
    Path(f"results/{job_files.FOLDER}/{jobs.experiment}/grid.csv").write_bytes(rows.encode())
    for code, artifact in {jobs.code(artifact): artifact for artifact in unfinished}.items():
        source_hash.record(code, source_hash.sources(*modules_of(artifact)))
    source_hash.record(jobs.report_job["code"], source_hash.sources(REPORT))


def path_named(jobs: Jobs, name: Path) -> Path:
    """The path of the artifact whose id, or stage and id, this is; any other as it is."""
    artifact = jobs.grid.by_id.get(name.name)
    return Path(artifact.path) if artifact and artifact.path.endswith(f"/{name}") else name


def write_job_file(jobs: Jobs, output: Path) -> None:
    """Writes the job file of one artifact; exits with a line for each unfinished input."""
    if output == Path(jobs.report):
        _write_report_job(jobs)
        return
    output, _ = of_marker(output) or (output, None)
    artifact = jobs.grid.artifacts.get(str(output))
    if artifact is None:
        sys.exit(
            f"{output} isn't an artifact of experiment {jobs.experiment}; "
            "--configfile names another one"
        )
    if unfinished := [
        f"{output} reads {input.path} ({role}), which is {jobs.state(input).value}: make it first"
        for role, input in artifact.reads
        if jobs.state(input) is not State.FINISHED
    ]:
        sys.exit("\n".join(unfinished))
    job_files.write(output, jobs.job(artifact))


def _write_report_job(jobs: Jobs) -> None:
    inputs = [["grid", jobs.grid_csv], ["results", "results"]]
    job = {"stage": "report", "inputs": inputs, **jobs.report_job}
    job_files.write(Path(jobs.report), job)

"""Runs Snakemake on an experiment, with the libraries of its jobs loaded once.

What Snakemake prints goes to results/logs/run/EXPERIMENT.log, and one view of the run to the
terminal. With arguments for Snakemake itself, its own output is shown instead.
"""

import importlib.util
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.training.trackers import TrackerName
from workflow.commands import live, outcome
from workflow.commands.alike import failures
from workflow.commands.console import duration
from workflow.commands.job_status import JobStatus, Status
from workflow.config import load
from workflow.jobs.jobs import Jobs
from workflow.jobs.rerun_reasons import RESULTS
from workflow.launch import run_lock
from workflow.launch.run_stage import TRACKER
from workflow.launch.snakemake_process import SnakemakeProcess, command, environment
from workflow.resources.requests import machine_of

CONFIG = Path("config.yaml")
LOCKED = "Directory cannot be locked"  # Snakemake's: another makes what this one would
TAIL = 12  # lines of Snakemake's own, shown where no job says why a run has failed


def main(
    *, config: Path | None, cores: str, profile: Path, tracker: str | None, snakemake: list[str]
) -> int:
    """Snakemake's exit status."""
    if tracker:
        _choose(tracker)
    command_line = command(config, cores, profile, snakemake)
    machine_of(profile)  # Snakemake would do without a profile that isn't there
    if snakemake:  # becomes Snakemake's process, so that signals reach it
        # Snakemake's own reader would run what a configuration has as code
        load.plain_data(str(config or CONFIG))
        os.execve(sys.executable, command_line, environment())
    jobs, began = Jobs.of_file(config or CONFIG), time.time()
    run = SnakemakeProcess(command_line, fresh_log(jobs.experiment))
    status = live.follow(jobs, lambda _, seconds: run.has_ended(seconds), began)
    if run.status == 0:
        took, count = duration(time.time() - began), sum(status.done.values())
        note = f"{jobs.experiment}: all {count} jobs are finished; this run took {took}"
        outcome.show(Path(jobs.report), note)
    else:
        for line in _failure(jobs, status, run):
            print(line)
    return run.status


def _choose(tracker: str) -> None:
    """Lets the jobs report to a tracker; exits where there is none such, or not its library."""
    if tracker not in [*TrackerName]:
        sys.exit(f"--tracker {tracker}: allowed are {', '.join(TrackerName)}")
    if tracker != "none" and importlib.util.find_spec(tracker) is None:
        sys.exit(f"--tracker {tracker} needs its library: pip install distilbench[{tracker}]")
    os.environ[TRACKER] = tracker


def fresh_log(experiment: str) -> Path:
    """The log of a run. That of the run before stays beside it, and an active one keeps its own."""
    log = RESULTS / "logs" / "run" / f"{experiment}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if experiment in (run_lock.active_experiments() or ()):
        return log.with_suffix(".second.log")
    if log.exists():
        log.replace(log.with_suffix(".previous.log"))
    return log


def _failure(jobs: Jobs, status: Status, run: SnakemakeProcess) -> Iterator[str]:
    """What has become of a run that did not reach its end, and what to do."""
    if run.is_stopping:
        yield f"stopped: {live.counts(status)}; the same command resumes it"
        return
    failed = [job for job in status.jobs if job.status is JobStatus.FAILED]
    if failed:
        yield from (f"failed: {cause}" for cause in failures(failed))
        yield f"{live.counts(status)}; jobs that wait for the {len(failed)} failed did not run"
        page = RESULTS / jobs.experiment / "partial" / "report" / "index.html"
        if page.exists():
            yield f"report of the finished cells: {page.resolve()}"
    else:
        output = run.log.read_text(encoding="utf-8", errors="replace")
        yield from last_words(output, run_lock.active_experiments() or ())
    yield f"all that Snakemake said: {run.log}"


def last_words(output: str, active: Sequence[str]) -> list[str]:
    """The last lines of a Snakemake's output, or why it didn't start beside the active runs."""
    if LOCKED in output and active:
        return [
            f"not started: the run of {', '.join(active)} is making the same artifacts in this "
            "folder; run the same command again when it has ended"
        ]
    return [line for line in output.splitlines() if line.strip()][-TAIL:]

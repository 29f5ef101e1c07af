"""The status of a run: what is done, runs, has failed and why, what is left and for how long.

It only reads files, so it can be asked at any time, from any machine that sees them.
"""

import json as json_text
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from pipeline.artifacts.artifact import MANIFEST
from pipeline.runtime.inert import inert
from workflow.commands import snakemake_state
from workflow.commands.console import duration, show_table
from workflow.commands.plan import RESULTS, TO_DO
from workflow.commands.snakemake_state import modified
from workflow.grid.artifact import Artifact
from workflow.jobs.condition import State
from workflow.jobs.jobs import Jobs
from workflow.jobs.previous_runs import ArtifactStore
from workflow.jobs.rerun_reasons import Reasons
from workflow.launch import run_lock
from workflow.resources.measured_time import Costs, wall_seconds

FAILED = 1  # the exit status that says so
TAIL_BYTES = 8192  # of a log: enough for its last line
CLOCK_SKEW = 2.0  # seconds by which the clocks of two machines may differ


class JobStatus(StrEnum):
    """The status of a job that is not done."""

    RUNNING = "running"
    QUEUED = "queued"
    FAILED = "failed"
    LEFT = "left"


@dataclass(frozen=True)
class UnfinishedJob:
    """A job that is not done, and the last line of its log."""

    stage: str
    id: str
    status: JobStatus
    seconds: float  # since it was started or submitted
    log: str
    message: str


@dataclass(frozen=True)
class Status:
    """The status of an experiment."""

    experiment: str
    since: float | None  # when the Snakemake that is running it was started
    others: tuple[str, ...]  # experiments that Snakemake is running instead
    killed: float | None  # when the last Snakemake was started, if it was killed
    done: dict[str, int]  # artifacts by stage
    done_now: int  # of these, by the running Snakemake
    jobs: tuple[UnfinishedJob, ...]
    waiting: int  # jobs that need nothing that has failed
    seconds_left: float  # until they are done

    def count(self, status: JobStatus) -> int:
        """The number of jobs of that status."""
        return sum(job.status is status for job in self.jobs)


@dataclass(frozen=True)
class _Clock:
    """Tells a job of the current run from one of an earlier run."""

    now: float
    since: float | None  # when the run began that makes this experiment, if one does
    is_any: bool  # whether any run is active: it may make what this experiment shares with it


def status_of(jobs: Jobs, now: float) -> Status:
    """The experiment's status at a time."""
    snakemake, others = snakemake_state.started(), tuple(run_lock.active_experiments() or ())
    since = None if others and jobs.experiment not in others else snakemake
    clock = _Clock(now, since, snakemake is not None)
    unfinished = [_job(job.stage, job.id, job.path, clock) for job in jobs.unfinished]
    done = [each for each in jobs.artifacts if jobs.state(each) is State.FINISHED]
    times = [modified(Path(each.path) / MANIFEST) or 0 for each in done] if since else []
    waiting, seconds = _left(jobs, {job.id: job for job in unfinished})
    if jobs.report_state is not State.FINISHED:
        folder = f"{RESULTS}/{jobs.experiment}/report"
        unfinished.append(_job("report", jobs.experiment, folder, clock))
    return Status(
        jobs.experiment,
        since,
        () if since else others,
        snakemake_state.locked() if snakemake_state.was_killed() else None,
        dict(Counter(each.stage for each in done)),
        sum(time >= since - CLOCK_SKEW for time in times) if since else 0,
        tuple(unfinished),
        waiting,
        seconds,
    )


def _job(stage: str, id: str, output: str, clock: _Clock) -> UnfinishedJob:
    log = RESULTS / "logs" / stage / f"{id}.log"
    begun, logged = snakemake_state.begun(output) if clock.is_any else None, modified(log)
    if begun is not None:
        is_running = logged is not None and logged >= begun - CLOCK_SKEW
        status = JobStatus.RUNNING if is_running else JobStatus.QUEUED
    elif logged is not None and _has_failed(stage, id, logged, clock.since):
        status = JobStatus.FAILED
    else:
        status = JobStatus.LEFT
    has_log = status in (JobStatus.RUNNING, JobStatus.FAILED)
    return UnfinishedJob(
        stage,
        id,
        status,
        clock.now - begun if begun else 0.0,
        str(log) if has_log else "",
        last_line(log) if has_log else "",
    )


def _has_failed(stage: str, id: str, logged: float, since: float | None) -> bool:
    """Whether the log of a job that isn't active is that of a failure, in the run that counts."""
    if since is not None:
        return logged >= since - CLOCK_SKEW
    # no run is active: the last one counts. A job that succeeds leaves its measured seconds.
    succeeded = modified(RESULTS / "benchmarks" / stage / f"{id}.tsv") or 0
    return logged > succeeded + CLOCK_SKEW


def last_line(log: Path) -> str:
    """The last line of a log; of a progress bar, its last state."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    lines = [inert(line.strip()) for line in text.replace("\r", "\n").splitlines()]
    return next((line for line in reversed(lines) if line), "")


def _left(jobs: Jobs, unfinished: Mapping[str, UnfinishedJob]) -> tuple[int, float]:
    """The number of jobs that wait for nothing failed, and the seconds until the last one ends.

    As many are taken to run at once as now.
    """
    costs = Costs(jobs, Reasons(jobs, ArtifactStore(RESULTS)))
    failed: set[Artifact] = set()
    waiting, seconds = [], {}
    for artifact in jobs.unfinished:
        job = unfinished[artifact.id]
        if job.status is JobStatus.FAILED or any(input in failed for _, input in artifact.inputs):
            failed.add(artifact)
            continue
        waiting.append(artifact)
        elapsed = job.seconds if job.status is JobStatus.RUNNING else 0.0
        seconds[artifact.id] = max(0.0, costs.of(artifact).seconds - elapsed)
    slots = sum(job.status is JobStatus.RUNNING for job in unfinished.values())
    return len(waiting), wall_seconds(waiting, seconds, max(1, slots))


def show(status: Status) -> None:
    """Prints the status for people."""
    counts = {kind: status.count(kind) for kind in JobStatus}
    summary = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    print(f"{status.experiment}: {sum(status.done.values())} done, {summary}")
    print(f"  {_snakemake(status)}\n")
    headings = ("stage", "done", *JobStatus)
    show_table(headings, _stages(status), right=headings[1:])
    for kind in (JobStatus.RUNNING, JobStatus.FAILED):
        if jobs := [job for job in status.jobs if job.status is kind]:
            print(f"\n{kind}:")
            for job in jobs:
                print(f"  {job.stage}/{job.id}  {job.message}\n      {job.log}")
    if any(counts.values()):
        print(f"\n{_time_left(status)}")


def _stages(status: Status) -> list[tuple[str, ...]]:
    counts = Counter((job.stage, job.status) for job in status.jobs)
    return [
        (stage, str(status.done.get(stage, 0)), *(str(counts[stage, kind]) for kind in JobStatus))
        for stage in dict.fromkeys([*status.done, *(job.stage for job in status.jobs)])
    ]


def _snakemake(status: Status) -> str:
    if status.since:
        finished = f"{status.done_now} artifacts finished since"
        return f"Snakemake has been running since {_time(status.since)}; {finished}"
    if status.others:
        return f"Snakemake is running here, on {', '.join(status.others)}"
    if status.killed:
        return (
            f"the Snakemake started {_time(status.killed)} was killed: run it again to resume what "
            "its jobs have saved"
        )
    return "no Snakemake is running here"


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _time_left(status: Status) -> str:
    if status.waiting:
        slots = max(1, status.count(JobStatus.RUNNING))
        return f"time left: {duration(status.seconds_left)} with {slots} at once"
    if status.count(JobStatus.FAILED):
        return (
            "time left: unknown, every job that is left waits for one that has failed; for a "
            "report without them: distilbench report --partial"
        )
    return "time left: that of the report"


def main(*, config: Path, json: bool) -> int:
    """Prints the status. Status 0: all is done; 1: a job has failed; 3 otherwise."""
    status = status_of(Jobs.of_file(config), time.time())
    if json:
        print(json_text.dumps(asdict(status), indent=1))
    else:
        show(status)
    if status.count(JobStatus.FAILED):
        return FAILED
    return TO_DO if status.jobs else 0

"""The status of an experiment's jobs, from files alone: any machine that sees them can ask."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from pipeline.artifacts.artifact import MANIFEST
from pipeline.runtime.inert import inert
from pipeline.runtime.progress import STOPPED
from pipeline.training import step_log
from pipeline.training.step_log import LoggedSteps
from workflow.commands import snakemake_state
from workflow.commands.snakemake_state import modified
from workflow.grid.artifact import Artifact
from workflow.jobs.condition import State
from workflow.jobs.jobs import Jobs
from workflow.jobs.parts import begun as begun_parts
from workflow.jobs.parts import marker
from workflow.jobs.previous_runs import ArtifactStore
from workflow.jobs.rerun_reasons import RESULTS, Reasons
from workflow.launch import run_lock
from workflow.resources.measured_time import Costs, wall_seconds

TAIL_BYTES = 8192  # of a log: enough for its last line
CLOCK_SKEW = 2.0  # seconds by which the clocks of two machines may differ


class JobStatus(StrEnum):
    """The status of a job that is not done."""

    RUNNING = "running"
    QUEUED = "queued"
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # saved what it had, or was killed: the next run resumes it
    LEFT = "left"


@dataclass(frozen=True)
class UnfinishedJob:
    """A job that is not done, and how far it is, or what it said last."""

    stage: str
    id: str
    status: JobStatus
    seconds: float  # since it was started or submitted
    log: str
    message: str
    seconds_left: float | None = None  # by its present speed, where that is known

    @property
    def name(self) -> str:
        """Its stage and id, as in the path of what it makes."""
        return f"{self.stage}/{self.id}"


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
    since: float | None  # when the run began that makes this experiment, if one does or just did
    any_since: float | None  # the same of any run: it may make what this experiment shares with it


def status_of(jobs: Jobs, now: float, slots: int = 1, run_began: float | None = None) -> Status:
    """The experiment's status at a time.

    What is left is taken to run as many at once as now, or as `slots` says if those are more.
    `run_began` is when the caller started a run of its own: what failed before it is left to do,
    even if Snakemake has not yet noted that it runs.
    """
    snakemake, others = snakemake_state.started(), tuple(run_lock.active_experiments() or ())
    since = None if others and jobs.experiment not in others else snakemake
    clock = _Clock(now, since or run_began, snakemake)
    unfinished = [_of_artifact(job, clock) for job in jobs.unfinished]
    waiting, seconds = _left(jobs, {job.id: job for job in unfinished}, slots)

    finished = [each for each in jobs.artifacts if jobs.state(each) is State.FINISHED]
    done = Counter(each.stage for each in finished)
    if jobs.report_condition.state is State.FINISHED:
        done["report"] = 1
    else:
        unfinished.append(_job("report", jobs.experiment, jobs.report, clock))
    return Status(
        jobs.experiment,
        since,
        () if since else others,
        snakemake_state.locked() if snakemake_state.was_killed() else None,
        dict(done),
        _count_since(since, finished) if since else 0,
        tuple(unfinished),
        waiting,
        seconds,
    )


def _count_since(since: float, finished: Iterable[Artifact]) -> int:
    times = (modified(Path(each.path) / MANIFEST) or 0 for each in finished)
    return sum(time >= since - CLOCK_SKEW for time in times)


def _of_artifact(artifact: Artifact, clock: _Clock) -> UnfinishedJob:
    """The status of an artifact: its own job's, or where that waits for parts, theirs."""
    whole = _job(artifact.stage, artifact.id, artifact.path, clock)
    if whole.status is not JobStatus.LEFT or not (parts := begun_parts(artifact)):
        return whole
    left = [part for part in parts if not Path(marker(artifact, part)).is_dir()]
    jobs = [
        _job(artifact.stage, part.name_of(artifact.id), marker(artifact, part), clock)
        for part in left
    ]
    by_status = {job.status: job for job in reversed(jobs)}  # of each status the first
    for status in (JobStatus.RUNNING, JobStatus.FAILED, JobStatus.INTERRUPTED, JobStatus.QUEUED):
        if job := by_status.get(status):
            alike = sum(other.status is status for other in jobs)
            done = f"{len(parts) - len(left)} of {len(parts)} parts done, {alike} {status}"
            return replace(job, id=artifact.id, message=f"{done}: {job.message}".strip(": "))
    return whole


def _job(stage: str, id: str, output: str, clock: _Clock) -> UnfinishedJob:
    log = RESULTS / "logs" / stage / f"{id}.log"
    logged = modified(log)  # read before Snakemake's note: a job that starts meanwhile has no log
    begun = snakemake_state.begun(output)
    status = _status(stage, id, output, logged, begun, clock)
    if status in (JobStatus.QUEUED, JobStatus.LEFT):
        seconds = clock.now - begun if begun and status is JobStatus.QUEUED else 0.0
        return UnfinishedJob(stage, id, status, seconds, "", "")
    if status is JobStatus.FAILED:
        return UnfinishedJob(stage, id, status, 0.0, str(log), last_line(log))
    steps = step_log.read(RESULTS / "state" / id)
    if status is JobStatus.INTERRUPTED or begun is None:
        return UnfinishedJob(stage, id, status, 0.0, str(log), _stopped(steps))
    if steps is None or not steps.rows:
        return UnfinishedJob(stage, id, status, clock.now - begun, str(log), last_line(log))
    left = (steps.steps - steps.last) * steps.seconds_per_step or None
    return UnfinishedJob(stage, id, status, clock.now - begun, str(log), steps.describe(), left)


def _stopped(steps: LoggedSteps | None) -> str:
    """How far a job was when it was stopped, whatever that has left in its log."""
    if steps is None or not steps.last:
        return "stopped"
    return f"stopped after step {steps.last} of {steps.steps}"


def _status(
    stage: str, id: str, output: str, logged: float | None, begun: float | None, clock: _Clock
) -> JobStatus:
    # an older note is that of a run that was killed
    if begun and clock.any_since and begun >= clock.any_since - CLOCK_SKEW:
        has_begun = logged is not None and logged >= begun - CLOCK_SKEW
        return JobStatus.RUNNING if has_begun else JobStatus.QUEUED
    if logged is None or not _is_unsuccessful(stage, id, output, logged, clock.since):
        return JobStatus.LEFT
    # a Snakemake that was killed leaves its note that the job has begun
    lines = last_lines(RESULTS / "logs" / stage / f"{id}.log")
    # a library may have said more on the way out
    is_interrupted = begun is not None or any(line.startswith(STOPPED) for line in lines)
    return JobStatus.INTERRUPTED if is_interrupted else JobStatus.FAILED


def _is_unsuccessful(stage: str, id: str, output: str, logged: float, since: float | None) -> bool:
    """Whether the log of a job that isn't active is of no success, in the run that counts."""
    made = modified(Path(output) / MANIFEST) or 0.0
    if since is not None:  # the job may have ended well a moment ago
        return logged >= since - CLOCK_SKEW > made
    # no run is active: the last one counts. A success leaves measured seconds and a manifest
    measured = modified(RESULTS / "benchmarks" / stage / f"{id}.tsv") or 0.0
    return logged > max(made, measured) + CLOCK_SKEW


def last_line(log: Path) -> str:
    """The last line of a log; of a progress bar, its last state."""
    return next(iter(last_lines(log)), "")


def last_lines(log: Path) -> list[str]:
    """The lines at the end of a log that are not empty, the last one first."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    lines = [inert(line.strip()) for line in text.replace("\r", "\n").splitlines()]
    return [line for line in reversed(lines) if line]


def _left(jobs: Jobs, unfinished: Mapping[str, UnfinishedJob], slots: int) -> tuple[int, float]:
    """The number of jobs that wait for nothing failed, and the seconds until the last one ends."""
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
        cost = costs.of(artifact)
        expected = max(0.0, cost.seconds / cost.ranks - elapsed)
        seconds[artifact.id] = expected if job.seconds_left is None else job.seconds_left
    running = sum(job.status is JobStatus.RUNNING for job in unfinished.values())
    return len(waiting), wall_seconds(waiting, seconds, max(slots, running))

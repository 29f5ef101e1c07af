"""The status of a run: what is done, runs, has failed and why, what is left and for how long.

It only reads files, so it can be asked at any time, from any machine that sees them.
"""

import json as json_text
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from workflow.commands import live
from workflow.commands.alike import failures
from workflow.commands.console import duration, show_table
from workflow.commands.job_status import JobStatus, Status, status_of
from workflow.commands.plan import TO_DO
from workflow.jobs.jobs import Jobs

FAILED = 1  # the exit status that says so
INTERRUPTED = "interrupted; the next `distilbench run` resumes them from what was saved"


def show(status: Status) -> None:
    """Prints the status for people."""
    counts = {kind: status.count(kind) for kind in JobStatus}
    summary = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    print(f"{status.experiment}: {sum(status.done.values())} done, {summary}")
    print(f"  {_snakemake(status)}\n")
    headings = ("stage", "done", *JobStatus)
    show_table(headings, _stages(status), right=headings[1:])
    for line in _told(status):
        print(line)
    if any(counts.values()):
        print(f"\n{_time_left(status)}")


def _told(status: Status) -> Iterator[str]:
    """What runs, what has failed of which cause, and what a run was stopped at."""
    by_kind = {kind: [job for job in status.jobs if job.status is kind] for kind in JobStatus}
    paragraphs = {
        "running": [
            f"{job.name}  {job.message}\n    {job.log}" for job in by_kind[JobStatus.RUNNING]
        ],
        "failed": failures(by_kind[JobStatus.FAILED]),
        INTERRUPTED: [f"{job.name}  {job.message}" for job in by_kind[JobStatus.INTERRUPTED]],
    }
    for heading, texts in paragraphs.items():
        if texts:
            yield f"\n{heading}:"
            yield textwrap.indent("\n".join(texts), "  ")


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


def main(*, config: Path, json: bool, watch: bool) -> int:
    """Prints the status. Status 0: all is done; 1: a job has failed; 3 otherwise."""
    jobs = Jobs.of_file(config)
    status = live.follow(jobs, _has_ended) if watch else status_of(jobs, time.time())
    if json:
        print(json_text.dumps(asdict(status), indent=1))
    else:
        show(status)
    if status.count(JobStatus.FAILED):
        return FAILED
    return TO_DO if status.jobs else 0


def _has_ended(status: Status, seconds: float) -> bool:
    """Whether no run works on the experiment; waits some seconds before it is asked again."""
    if status.since is None:
        return True
    time.sleep(seconds)
    return False

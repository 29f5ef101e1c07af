"""How a run stands: what is done, what runs, what has failed and why, what is left and how long.

python -m workflow.commands.status [--configfile mine.yaml] [--json]

Ends with status 0 if all is done, 1 if a job has failed (or the configuration is at fault), 3 else.
It reads files alone, so it may be asked as often as one likes, from any machine that sees them.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from pipeline.artifacts.artifact import MANIFEST
from workflow.commands import running
from workflow.commands.plan import RESULTS, TO_DO, duration
from workflow.grid.artifact import Artifact
from workflow.jobs import read_config
from workflow.jobs.finished import State
from workflow.jobs.jobs import Jobs
from workflow.jobs.previous_runs import Shelf
from workflow.jobs.rerun_reasons import Reasons
from workflow.launch import run_lock
from workflow.resources.measured_time import Costs, wall_seconds

FAILED = 1
TAIL_BYTES = 8192  # of a log: enough for its last line
CLOCKS = 2.0  # seconds by which the clocks of two machines may differ


class Standing(StrEnum):
    """How a job stands that is not done."""

    RUNNING = "running"
    QUEUED = "queued"
    FAILED = "failed"
    LEFT = "left"


@dataclass(frozen=True)
class Line:
    """A job that is not done, and the last that its log says."""

    stage: str
    id: str
    standing: Standing
    seconds: float  # since it was started or submitted
    log: str
    said: str


@dataclass(frozen=True)
class Status:
    """How an experiment stands."""

    experiment: str
    since: float | None  # when the Snakemake that is at work on it began
    others: tuple[str, ...]  # experiments that one is at work on instead
    killed: float | None  # when the Snakemake began that was killed, if the last one was
    done: dict[str, int]  # by stage
    done_now: int  # of these, by that Snakemake
    lines: tuple[Line, ...]
    waiting: int  # jobs that need nothing that has failed
    seconds_left: float  # until they are done

    def count(self, standing: Standing) -> int:
        """So many jobs."""
        return sum(line.standing is standing for line in self.lines)


def status(jobs: Jobs, now: float) -> Status:
    """How the experiment stands at a time."""
    snakemake, others = running.started(), tuple(run_lock.at_work() or ())
    since = None if others and jobs.experiment not in others else snakemake
    clock = _Clock(now, since, snakemake is not None)
    lines = [_line(one.stage, one.id, one.path, clock) for one in jobs.unfinished]
    made = [one for one in jobs.grid.artifacts.values() if jobs.state(one) is State.FINISHED]
    times = [running.changed(Path(one.path) / MANIFEST) or 0 for one in made] if since else []
    waiting, seconds = _left(jobs, {line.id: line for line in lines})
    if jobs.report_state is not State.FINISHED:
        folder = f"{RESULTS}/{jobs.experiment}/report"
        lines.append(_line("report", jobs.experiment, folder, clock))
    return Status(
        jobs.experiment,
        since,
        () if since else others,
        running.locked() if running.was_killed() else None,
        dict(Counter(one.stage for one in made)),
        sum(one >= since - CLOCKS for one in times) if since else 0,
        tuple(lines),
        waiting,
        seconds,
    )


@dataclass(frozen=True)
class _Clock:
    """What tells a job of now from one of an earlier run."""

    now: float
    since: float | None  # when the run began that makes this experiment, if one does
    is_any: bool  # whether any run is under way: it may make what this experiment shares with it


def _line(stage: str, id: str, output: str, clock: _Clock) -> Line:
    log = RESULTS / "logs" / stage / f"{id}.log"
    begun, written = running.begun(output) if clock.is_any else None, running.changed(log)
    if begun is not None:
        is_running = written is not None and written >= begun - CLOCKS
        standing = Standing.RUNNING if is_running else Standing.QUEUED
    elif written is not None and _is_of_failure(stage, id, written, clock.since):
        standing = Standing.FAILED
    else:
        standing = Standing.LEFT
    tells = standing in (Standing.RUNNING, Standing.FAILED)
    return Line(
        stage,
        id,
        standing,
        clock.now - begun if begun else 0.0,
        str(log) if tells else "",
        last_line(log) if tells else "",
    )


def _is_of_failure(stage: str, id: str, written: float, since: float | None) -> bool:
    """Whether a log that was written then is that of a job that failed in the run that counts."""
    if since is not None:
        return written >= since - CLOCKS
    # no run goes on: the last one counts. A job that succeeds leaves its measured seconds.
    succeeded = running.changed(RESULTS / "benchmarks" / stage / f"{id}.tsv") or 0
    return written > succeeded + CLOCKS


def last_line(log: Path) -> str:
    """The last that a log says; of a progress bar, its last state."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines()]
    return next((line for line in reversed(lines) if line), "")


def _left(jobs: Jobs, lines: Mapping[str, Line]) -> tuple[int, float]:
    """Jobs that wait for nothing failed, and the seconds until the last of them ends.

    As many are taken to run at once as now.
    """
    costs = Costs(jobs, Reasons(jobs, Shelf(RESULTS)))
    failed: set[Artifact] = set()
    waiting, seconds = [], {}
    for one in jobs.unfinished:
        line = lines[one.id]
        if line.standing is Standing.FAILED or any(each in failed for _, each in one.inputs):
            failed.add(one)
            continue
        waiting.append(one)
        elapsed = line.seconds if line.standing is Standing.RUNNING else 0.0
        seconds[one.id] = max(0.0, costs.of(one).seconds - elapsed)
    slots = sum(line.standing is Standing.RUNNING for line in lines.values())
    return len(waiting), wall_seconds(waiting, seconds, max(1, slots))


def as_text(found: Status) -> str:
    """The status for people."""
    counts = {one: found.count(one) for one in Standing}
    done = sum(found.done.values())
    summary = ", ".join(f"{count} {one}" for one, count in counts.items())
    lines = [f"{found.experiment}: {done} done, {summary}", f"  {_at_work(found)}"]
    for standing in (Standing.RUNNING, Standing.FAILED):
        lines += _block([line for line in found.lines if line.standing is standing], standing)
    if counts[Standing.LEFT]:
        by_stage = Counter(line.stage for line in found.lines if line.standing is Standing.LEFT)
        lines += ["", "left: " + ", ".join(f"{count} {stage}" for stage, count in by_stage.items())]
    if any(counts.values()):
        lines += ["", _time_left(found)]
    return "\n".join(lines)


def _at_work(found: Status) -> str:
    if found.since:
        made = f"{found.done_now} artifacts made since"
        return f"Snakemake has been at work since {_time(found.since)}; {made}"
    if found.others:
        return f"Snakemake is at work here, on {', '.join(found.others)}"
    if found.killed:
        return (
            f"the Snakemake that began {_time(found.killed)} was killed: start it again, and it "
            "goes on"
        )
    return "no Snakemake is at work here"


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _time_left(found: Status) -> str:
    if found.waiting:
        slots = max(1, found.count(Standing.RUNNING))
        return f"time left: {duration(found.seconds_left)} with {slots} at once"
    if found.count(Standing.FAILED):
        return (
            "time left: unknown, all that is left waits for what has failed; a report without it: "
            "python -m workflow.commands.partial_report"
        )
    return "time left: that of the report"


def _block(lines: list[Line], title: str) -> list[str]:
    shown = [f"  {one.stage}/{one.id}  {one.said}\n      {one.log}" for one in lines]
    return ["", f"{title}:", *shown] if lines else []


def main() -> None:
    """Prints the status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", type=Path, default=Path("config.yaml"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = status(read_config.jobs(options.configfile), time.time())
    print(json.dumps(asdict(found), indent=1) if options.json else as_text(found))
    if found.count(Standing.FAILED):
        raise SystemExit(FAILED)
    raise SystemExit(TO_DO if found.lines else 0)


if __name__ == "__main__":
    main()

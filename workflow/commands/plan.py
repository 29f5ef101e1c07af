"""What would run, why, and what it would cost; nothing is run.

python -m workflow.commands.plan [--configfile mine.yaml] [--profile workflow/profiles/slurm]
[--json]

Ends with status 0 if there is nothing to do, 3 if there is, 1 if the configuration is at fault, or
if a job can't fit the GPUs that the profile names. The jobs are those of `snakemake --dry-run` on
the same file: both ask `workflow.jobs.jobs` what is finished.
"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workflow.jobs import finished, read_config
from workflow.jobs.finished import State
from workflow.jobs.jobs import Jobs
from workflow.jobs.previous_runs import Shelf
from workflow.jobs.rerun_reasons import RESULTS, Reason, Reasons, configuration_changes
from workflow.resources.machine import Machine
from workflow.resources.measured_time import Cost, Costs, wall_seconds
from workflow.resources.requests import refuse

TO_DO = 3  # the exit status that says so
SHOWN = 3  # examples of each reason; --json has all
BASES = {
    "measured": "measured when the same job ran before",
    "scaled": "formula, set right by jobs of this stage that have run here",
    "formula": "formula alone (workflow/resources/estimates.py)",
}


@dataclass(frozen=True)
class Step:
    """A job that would run."""

    stage: str
    id: str
    output: str
    why: Reason
    cost: Cost | None  # of a grid.csv and a report, nothing is known


@dataclass(frozen=True)
class Plan:
    """Everything that would run for an experiment, each job after those whose results it reads."""

    experiment: str
    steps: tuple[Step, ...]
    reused: dict[str, int]  # artifacts by stage
    changes: tuple[str, ...]  # of the configuration, since the last report
    slots: int
    wall_seconds: float
    gpu_mb: int  # of a GPU's memory, without which one of the jobs fails; 0: they need none

    def hours(self, on_gpu: bool) -> float:
        """Of all jobs that would run on a GPU, or of all others."""
        costs = [step.cost for step in self.steps if step.cost]
        return sum(one.seconds for one in costs if one.on_gpu == on_gpu) / 3600

    @property
    def disk_mb(self) -> int:
        """Of all that would be made."""
        return sum(step.cost.disk_mb for step in self.steps if step.cost)


def plan(jobs: Jobs, slots: int) -> Plan:
    """What would run if `slots` jobs could run at once."""
    reasons = Reasons(jobs, Shelf(RESULTS))
    costs = Costs(jobs, reasons)
    steps = [
        Step(one.stage, one.id, one.path, reasons.of(one), costs.of(one)) for one in jobs.unfinished
    ]
    seconds = {step.id: step.cost.seconds for step in steps if step.cost}
    return Plan(
        jobs.experiment,
        (*steps, *_last_steps(jobs, reasons)),
        _reused(jobs),
        _changes(jobs),
        slots,
        wall_seconds(jobs.unfinished, seconds, slots),
        max((step.cost.least_gpu_mb for step in steps if step.cost), default=0),
    )


def _last_steps(jobs: Jobs, reasons: Reasons) -> list[Step]:
    """`grid.csv`, which follows any evaluation, and the report, which follows that."""
    folder = f"{RESULTS}/{jobs.experiment}"
    grid = Step("grid", "grid.csv", f"{folder}/grid.csv", reasons.of_grid(), None)
    report = Step("report", "report", f"{folder}/report", reasons.of_report(), None)
    made_anew = not set(jobs.unfinished).isdisjoint(jobs.evaluated)
    if jobs.is_reported:
        return []
    is_grid_due = jobs.grid_state is not State.FINISHED or made_anew
    return [grid] * is_grid_due + [report]


def _reused(jobs: Jobs) -> dict[str, int]:
    """Artifacts that are finished and wanted: what would be read, or is the end itself."""
    read = (other for one in jobs.unfinished for _, other in one.inputs)
    needed = [*dict.fromkeys([*jobs.evaluated, *read])]
    return dict(Counter(one.stage for one in needed if jobs.state(one) is State.FINISHED))


def _changes(jobs: Jobs) -> tuple[str, ...]:
    made = finished.manifest(RESULTS / jobs.experiment / "report")
    return tuple(map(str, configuration_changes(made, jobs))) if made else ()


def as_json(found: Plan) -> dict[str, Any]:
    """The plan for programs: every job, with all that is known of it."""
    totals = {
        "jobs": len(found.steps),
        "gpu_hours": found.hours(on_gpu=True),
        "cpu_hours": found.hours(on_gpu=False),
        "gpu_mb": found.gpu_mb,
        "disk_mb": found.disk_mb,
        "at_once": found.slots,
        "wall_seconds": found.wall_seconds,
    }
    return asdict(found) | {"steps": [asdict(one) for one in found.steps], "totals": totals}


def as_text(found: Plan) -> str:
    """The plan for people."""
    reused = sum(found.reused.values())
    if not found.steps:
        return f"{found.experiment}: nothing to do; {reused} artifacts are as they should be"
    lines = [f"{found.experiment}: {len(found.steps)} jobs to run, {reused} artifacts reused", ""]
    if found.changes:
        lines += ["changed in the configuration since the last report:"]
        lines += [*(f"  {line}" for line in found.changes), ""]
    return "\n".join([*lines, *_stages(found), "", *_whys(found.steps), "", *_costs(found)])


def _stages(found: Plan) -> list[str]:
    counts, hours = Counter(step.stage for step in found.steps), Counter[str]()
    for step in found.steps:
        hours[step.stage] += step.cost.seconds / 3600 if step.cost else 0
    stages = dict.fromkeys([*found.reused, *counts])
    lines = [f"  {'stage':<12}{'run':>7}{'reused':>8}{'hours':>10}"]
    return lines + [
        f"  {one:<12}{counts[one]:>7}{found.reused.get(one, 0):>8}{hours[one]:>10.3f}"
        for one in stages
    ]


def _whys(steps: Sequence[Step]) -> list[str]:
    groups: dict[tuple[str, str], list[Step]] = {}
    for step in steps:
        groups.setdefault((step.stage, step.why.text), []).append(step)
    lines = ["why:"]
    for (stage, text), group in groups.items():
        lines.append(f"  {stage}, {len(group)}: {text}")
        lines += [f"      {step.id}{_since(step.why)}" for step in group[:SHOWN]]
        if len(group) > SHOWN:
            lines.append(f"      and {len(group) - SHOWN} more")
    return lines


def _since(why: Reason) -> str:
    was = f" (was {why.was})" if why.was and why.kind != "new" else ""
    return was + (f": {'; '.join(why.inputs)}" if why.kind == "inputs" and why.inputs else "")


def _costs(found: Plan) -> list[str]:
    known: dict[str, list[str]] = {}
    for step in found.steps:
        if step.cost and step.stage not in known.setdefault(step.cost.basis, []):
            known[step.cost.basis].append(step.stage)
    gpu, cpu = (found.hours(on_gpu) for on_gpu in (True, False))
    wall = f"{duration(found.wall_seconds)} with {found.slots} at once"
    needs = f"a GPU of {found.gpu_mb / 1000:.0f} GB or more, " if found.gpu_mb else ""
    return [
        f"estimated: {needs}{gpu:.2f} GPU-hours, {cpu:.2f} CPU-hours, {found.disk_mb} MB of disk, "
        f"{wall}",
        *(f"  {', '.join(stages)}: {BASES[basis]}" for basis, stages in known.items()),
    ]


def duration(seconds: float) -> str:
    """So much time in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def main() -> None:
    """Prints the plan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", type=Path, default=Path("config.yaml"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", type=Path, help="folder: whether the jobs fit its machine")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="jobs at a time")
    parser.add_argument(
        "--keep-code", action="store_true", help="as with `snakemake --rerun-triggers mtime input`"
    )
    options = parser.parse_args()
    jobs = read_config.jobs(options.configfile, options.keep_code)
    if options.profile:
        try:
            machine = Machine.of_profile(options.profile)
        except ValueError as error:
            sys.exit(f"profile: {error}")
        refuse(jobs.grid, machine, jobs.unfinished)
    found = plan(jobs, options.at_once)
    print(json.dumps(as_json(found), indent=1) if options.json else as_text(found))
    raise SystemExit(TO_DO if found.steps else 0)


if __name__ == "__main__":
    main()

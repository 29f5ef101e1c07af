"""The plan of a run: which jobs, why, and at what cost.

The jobs are those of `snakemake --dry-run` on the same file: both ask `workflow.jobs.jobs` which
artifacts are finished.
"""

import json as json_text
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pipeline.reporting.analysis.texts import counted
from workflow.commands.console import duration, show_table
from workflow.config import name_checks
from workflow.grid.artifact import Artifact
from workflow.jobs.condition import State, read_manifest
from workflow.jobs.jobs import Jobs
from workflow.jobs.parts import marker
from workflow.jobs.previous_runs import ArtifactStore
from workflow.jobs.rerun_reasons import RESULTS, Reason, Reasons, configuration_changes
from workflow.launch.gpu_lease import visible_names
from workflow.resources.machine import CPU, Machine
from workflow.resources.measured_time import Cost, Costs, wall_seconds
from workflow.resources.requests import ResourceRequests, machine_of, refuse

TO_DO = 3  # the exit status that says so
EXAMPLES = 3  # of each reason; --json has all
GRID = "grid"  # the stage of `grid.csv`
BASES = {
    "measured": "measured when the same job ran before",
    "scaled": "a formula, scaled by what jobs of this stage took here",
    "formula": "a formula alone (workflow/resources/estimates.py)",
}


@dataclass(frozen=True)
class Step:
    """A job that would run."""

    stage: str
    id: str
    output: str
    why: Reason
    cost: Cost | None  # None: a grid.csv or a report, of which nothing is known


@dataclass(frozen=True)
class Search:
    """The size of a search for settings, finished trials counted."""

    choices: int  # of a method and a student each
    trials: int
    students: int  # that are trained at the chosen settings

    def __str__(self) -> str:
        return (
            f"{self.trials} trials for {self.choices} choices of settings, which {self.students} "
            "students follow"
        )


@dataclass(frozen=True)
class Plan:
    """Everything that would run for an experiment, each job after those whose results it reads."""

    experiment: str
    steps: tuple[Step, ...]
    reused: dict[str, int]  # artifacts by stage
    changes: tuple[str, ...]  # of the configuration, since the last report
    unused: tuple[str, ...]  # keys of the configuration that no cell uses
    search: Search | None  # None: no settings are tuned
    slots: int
    wall_seconds: float
    gpu_mb: int  # of a GPU's memory, without which one of the jobs fails; 0: they need none

    @property
    def jobs(self) -> tuple[Step, ...]:
        """The steps that `run` and `status` count: `grid.csv` is a list that is copied."""
        return tuple(step for step in self.steps if step.stage != GRID)

    def hours(self, on_gpu: bool) -> float:
        """Hours of all jobs that would run on a GPU, or of all others."""
        costs = [step.cost for step in self.steps if step.cost]
        return sum(cost.seconds for cost in costs if cost.on_gpu == on_gpu) / 3600

    @property
    def disk_mb(self) -> int:
        """Disk space of all artifacts that would be made."""
        return sum(step.cost.disk_mb for step in self.steps if step.cost)

    @property
    def totals(self) -> dict[str, float]:
        """Sums over all jobs."""
        return {
            "jobs": len(self.jobs),
            "gpu_hours": self.hours(on_gpu=True),
            "cpu_hours": self.hours(on_gpu=False),
            "gpu_mb": self.gpu_mb,
            "disk_mb": self.disk_mb,
            "at_once": self.slots,
            "wall_seconds": self.wall_seconds,
        }


def plan_of(jobs: Jobs, slots: int, machine: Machine = CPU) -> Plan:
    """What would run if `slots` jobs could run at once."""
    reasons = Reasons(jobs, ArtifactStore(RESULTS))
    costs = Costs(jobs, reasons, machine)
    steps = [step for job in jobs.unfinished for step in _steps(jobs, job, reasons, costs)]
    seconds = {step.id: step.cost.seconds / step.cost.ranks for step in steps if step.cost}
    of_parts = {
        job.id: [seconds[part.name_of(job.id)] for part in jobs.unfinished_parts(job)]
        for job in jobs.unfinished
    }
    manifest = read_manifest(Path(jobs.report))
    return Plan(
        jobs.experiment,
        (*steps, *_last_steps(jobs, reasons)),
        _reused(jobs),
        tuple(configuration_changes(manifest, jobs)) if manifest else (),
        tuple(name_checks.unused(jobs.grid.experiment)),
        _search(jobs),
        slots,
        wall_seconds(jobs.unfinished, seconds, slots, of_parts),
        max((step.cost.least_gpu_mb for step in steps if step.cost), default=0),
    )


def _steps(jobs: Jobs, artifact: Artifact, reasons: Reasons, costs: Costs) -> Iterator[Step]:
    """The jobs of an unfinished artifact: those of its parts, and its own."""
    why, stage = reasons.of(artifact), artifact.stage
    for part in jobs.unfinished_parts(artifact):
        name, output = part.name_of(artifact.id), marker(artifact, part)
        yield Step(stage, name, output, why, costs.of_job(artifact, is_part=True))
    yield Step(stage, artifact.id, artifact.path, why, costs.of_job(artifact))


def _last_steps(jobs: Jobs, reasons: Reasons) -> list[Step]:
    """`grid.csv`, which follows any evaluation, and the report, which follows that."""
    if jobs.is_reported:
        return []
    grid = Step(GRID, "grid.csv", jobs.grid_csv, reasons.of_grid(), None)
    report = Step("report", "report", jobs.report, reasons.of_report(), None)
    has_new_results = not set(jobs.unfinished).isdisjoint(jobs.evaluated)
    is_grid_due = jobs.grid_condition.state is not State.FINISHED or has_new_results
    return [grid, report] if is_grid_due else [report]


def _reused(jobs: Jobs) -> dict[str, int]:
    """Finished artifacts that jobs would read, or that the experiment is for, by stage."""
    inputs = (artifact for job in jobs.unfinished for _, artifact in job.inputs)
    needed = dict.fromkeys([*jobs.evaluated, *inputs])
    return dict(Counter(each.stage for each in needed if jobs.state(each) is State.FINISHED))


def _search(jobs: Jobs) -> Search | None:
    if jobs.grid.experiment.tuning is None:
        return None
    choices = [each for each in jobs.artifacts if each.stage == "choices"]
    trials = {trial for choice in choices for _, trial in choice.inputs}
    students = {cell.model for cell in jobs.grid.cells if cell.kind == "method"}
    return Search(len(choices), len(trials), len(students))


def show(plan: Plan) -> None:
    """Prints the plan for people."""
    if plan.unused:
        print(f"no cell of the grid uses {', '.join(plan.unused)}\n")
    reused = counted(sum(plan.reused.values()), "artifact")
    if not plan.steps:
        print(f"{plan.experiment}: nothing to do; {reused} up to date")
        return
    print(f"{plan.experiment}: {counted(len(plan.jobs), 'job')} to run, {reused} reused\n")
    if plan.search:
        print(f"{plan.search}\n")
    if plan.changes:
        print("configuration changes since the last report:")
        print("".join(f"  {change}\n" for change in plan.changes))
    numbers = ("run", "reused", "time")
    show_table(("stage", *numbers), _stages(plan), right=numbers)
    print("\n".join(["", *_reasons(plan.jobs), "", *_costs(plan), *_ranks(plan)]))


def _stages(plan: Plan) -> list[tuple[str, ...]]:
    counts = Counter(step.stage for step in plan.jobs)
    seconds: dict[str, float] = defaultdict(float)
    for step in plan.jobs:
        seconds[step.stage] += step.cost.seconds if step.cost else 0.0
    return [
        (stage, str(counts[stage]), str(plan.reused.get(stage, 0)), duration(seconds[stage]))
        for stage in dict.fromkeys([*plan.reused, *counts])
    ]


def _reasons(steps: Sequence[Step]) -> list[str]:
    groups: dict[tuple[str, str], list[Step]] = {}
    for step in steps:
        groups.setdefault((step.stage, step.why.text), []).append(step)
    lines = ["why:"]
    for (stage, text), group in groups.items():
        lines.append(f"  {stage}, {len(group)}: {text}")
        lines += [f"      {step.id}{_replaces(step.why)}" for step in group[:EXAMPLES]]
        if len(group) > EXAMPLES:
            lines.append(f"      and {len(group) - EXAMPLES} more")
    return lines


def _replaces(why: Reason) -> str:
    was = f" (was {why.was})" if why.was and why.kind != "new" else ""
    return was + (f": {'; '.join(why.inputs)}" if why.kind == "inputs" and why.inputs else "")


def _costs(plan: Plan) -> list[str]:
    stages: dict[str, list[str]] = {}  # by what their costs are known from
    for step in plan.steps:
        if step.cost and step.stage not in stages.setdefault(step.cost.basis, []):
            stages[step.cost.basis].append(step.stage)
    gpu, cpu = (plan.hours(on_gpu) for on_gpu in (True, False))
    memory = f"a GPU of {plan.gpu_mb / 1000:.0f} GB or more, " if gpu and plan.gpu_mb else ""
    of_gpus = f"{memory}{gpu:.2f} GPU-hours, " if gpu else ""
    note = ["  this machine has no GPU: without one, GPU-hours are many times as many"]
    return [
        f"estimated: {of_gpus}{cpu:.2f} CPU-hours, {plan.disk_mb} MB of disk, "
        f"{duration(plan.wall_seconds)} with {plan.slots} at once",
        *(note if gpu and not visible_names() else ()),
        *(f"  {', '.join(names)}: {BASES[basis]}" for basis, names in stages.items()),
    ]


def _ranks(plan: Plan) -> list[str]:
    """The ranks of the jobs of each stage, where one has several."""
    stages: dict[str, dict[str, None]] = {}
    for step in plan.steps:
        if step.cost and step.cost.ranks > 1:
            each = f"{step.cost.ranks}{', sharded' * step.cost.is_sharded}"
            stages.setdefault(step.stage, {})[each] = None
    shown = "; ".join(f"{stage} {' or '.join(each)}" for stage, each in stages.items())
    return [f"ranks per job: {shown}"] if shown else []


def main(*, config: Path, profile: Path | None, at_once: int, keep_code: bool, json: bool) -> int:
    """Prints the plan. Status 3: something is to do; 1: a job can't fit the profile's GPUs."""
    jobs = Jobs.of_file(config, keep_code)
    machine = machine_of(profile)
    if profile:
        refuse(jobs.grid, machine, jobs.unfinished)
        jobs = replace(jobs, parts=ResourceRequests(jobs.grid, machine).parts)
    plan = plan_of(jobs, at_once, machine)
    if json:
        print(json_text.dumps(asdict(plan) | {"totals": plan.totals}, indent=1))
    else:
        show(plan)
    return TO_DO if plan.steps else 0

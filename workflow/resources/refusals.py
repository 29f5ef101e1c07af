"""What a profile's machine can't do for an experiment, found before any job runs."""

from collections.abc import Iterable, Iterator, Sequence

from pipeline.artifacts.stages import BY_RANKS
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid
from workflow.jobs.stage_modules import stage_of
from workflow.resources.estimates import workload_of
from workflow.resources.fit import MB, Fit, Workload, least_mb
from workflow.resources.machine import COUNTS, PARTS, Machine
from workflow.resources.ranks import fit_ranks, work_of_rank

RANKED_RULES = (
    "teacher",
    "teacher_text",
    "teacher_cache",
    "start",
    "student",
    "evaluation",
    "part",
)
SHARED_RULES = {"texts": "teacher_text", "evals": "evaluation"}  # with stages of one process
OF_RANKS = ("ranks", "nodes", "shard")  # resources of these rules
# resources that describe the machine, which rules don't have
OF_MACHINE = ("device_memory_mb", "share_devices", *COUNTS, *PARTS.values())


def refusals(grid: Grid, machine: Machine, artifacts: Iterable[Artifact]) -> list[str]:
    """A line for each fault of the profile, and for each group of artifacts that it can't make."""
    if faults := list(_of_profile(machine)):
        return faults
    groups: dict[tuple[str, str], list[Artifact]] = {}
    for artifact in artifacts:
        for reason in reasons(workload_of(grid, artifact), artifact, machine):
            groups.setdefault((artifact.stage, reason), []).append(artifact)
    return [f"{_named(alike)} {reason}" for (_, reason), alike in sorted(groups.items())]


def _of_profile(machine: Machine) -> Iterator[str]:
    for rule, resources in machine.of_rules.items():
        for name, value in resources.items():
            place = f"set-resources: {rule}: {name} = {value}"
            if name in OF_MACHINE:
                yield f"{place}: this is said of all rules; move it to `default-resources`"
            elif name in OF_RANKS and rule not in RANKED_RULES:
                yield (
                    f"{place}: jobs of this rule are one process ({', '.join(RANKED_RULES)} can "
                    "have several); leave it out"
                )
    on_node, most = machine.gpus_per_node, machine.gpus_per_node * machine.nodes_per_job
    asked = machine.gpus_per_job
    if machine.device_memory_mb and asked > most:
        yield (
            f"gpus_per_job = {asked}, and a job has at most {most}: gpus_per_node = {on_node} "
            f"times nodes_per_job = {machine.nodes_per_job}; set these to what your nodes have, or "
            "ask for fewer"
        )
    elif machine.device_memory_mb and asked > on_node and asked % on_node:
        yield (
            f"gpus_per_job = {asked} can't be spread equally over nodes of gpus_per_node = "
            f"{on_node}: ask for a multiple of it"
        )
    if not machine.device_memory_mb and asked > 1:
        yield (
            f"gpus_per_job = {asked}, and the profile's machine has no GPU: set "
            "`device_memory_mb`, or `ranks_per_job` for several processes on the CPU"
        )


def reasons(workload: Workload, artifact: Artifact, machine: Machine) -> Iterator[str]:
    """Why a machine can't make an artifact."""
    rule, stage = SHARED_RULES.get(artifact.stage, ""), stage_of(artifact)
    asked = machine.of_rules.get(rule, {}).get("ranks", 1)
    if asked != 1 and stage not in BY_RANKS:
        yield (
            f"can't be made by several processes (set-resources: {rule}: ranks = {asked}): the "
            f"stage {stage} is one; set `gpus_per_job` or `ranks_per_job` among "
            "`default-resources`, which it ignores"
        )
    fit = fit_ranks(workload, machine)
    if 1 < workload.step_texts < fit.ranks:
        name = "gpus_per_job" if fit.machine.device_memory_mb else "ranks_per_job"
        yield (
            f"can't share {workload.step_texts} texts of a step (`batch_size`) among "
            f"{fit.ranks} ranks: set `{name}` in the profile to {workload.step_texts} or fewer"
        )
    if machine.shard and workload.kept_whole and fit.ranks > 1:
        yield (
            f"can't shard {workload.kept_whole} over {fit.ranks} ranks: leave out `shard` in the "
            "profile, or that in the configuration"
        )
    device_mb = fit.machine.device_memory_mb
    needed = least_mb(work_of_rank(workload, fit), fit.machine) if device_mb else 0
    if needed > device_mb:
        yield f"{_need(workload, fit, needed)}: take {_way_out(workload, artifact, fit)}"


def _need(workload: Workload, fit: Fit, needed: int) -> str:
    device_mb = fit.machine.device_memory_mb
    where = "a GPU" if fit.ranks == 1 else f"each of {fit.ranks} GPUs"
    parts = ""
    if fit.is_sharded:
        share, whole = workload.shared / fit.ranks, workload.unshared
        parts = f" ({share / 1e9:.0f} GB of sharded weights, {whole / 1e9:.0f} GB not split)"
    return (
        f"needs at least {needed * MB / 1e9:.0f} GB of {where}{parts}, and the profile's "
        f"`device_memory_mb` says that one has {device_mb * MB / 1e9:.0f} GB"
    )


def _way_out(workload: Workload, artifact: Artifact, fit: Fit) -> str:
    has_live = "teacher" in dict(artifact.inputs) and artifact.stage == "students"
    ways = ["a smaller model"]
    if has_live:
        ways.append("a method that reads its teacher's cache")
    machine = fit.machine
    if workload.unshared and workload.kept_whole:
        ways.append(f"one without {workload.kept_whole}, to shard it over several GPUs")
    elif workload.unshared and workload.step_texts > fit.ranks:
        ways.append(
            f"more GPUs for a job (gpus_per_node = {machine.gpus_per_node}, nodes_per_job = "
            f"{machine.nodes_per_job})"
        )
    return ", ".join(ways) + ", or a GPU with more memory"


def _named(alike: Sequence[Artifact]) -> str:
    first, others = alike[0].path, len(alike) - 1
    return f"{first} (and {others} more)" if others else first

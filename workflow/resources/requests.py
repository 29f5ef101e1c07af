"""What each job asks of the machine, as functions of its wildcards and of the attempt.

Time and memory grow with each attempt, and a micro-batch on a GPU shrinks, so that a job that was
ended by a limit gets through without a person.
"""

import math
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.artifacts.stages import BY_PARTS
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid
from workflow.jobs.job_files import Wildcards
from workflow.jobs.stage_modules import stage_of
from workflow.resources.estimates import Estimate, estimate, workload_of
from workflow.resources.fit import GRAIN, MB, Fit
from workflow.resources.machine import CPU, Machine
from workflow.resources.ranks import fit_ranks
from workflow.resources.refusals import refusals

LEAST_MINUTES = 15
SAVED_BYTES_PER_SECOND = 200 * MB  # to a shared disk
SAVING_SLACK = 2
WARNING = re.compile(r"TERM@(\d+)")  # seconds before the limit
VERIFIED = 0.02  # of the work, about as much as the job has left that puts finished parts together
REPORT_MB, REPORT_CELL_MB = 3_000, 0.5
REPORT_MINUTES, REPORT_CELL_MINUTES = 15, 0.01


def share_of_job(parts: int, is_part: bool) -> float:
    """The share of the work that the job of a part does, or that which puts parts together."""
    if is_part:
        return 1 / parts
    return VERIFIED if parts > 1 else 1


@dataclass(frozen=True, eq=False)
class ResourceRequests:
    """What the jobs of one experiment ask of a machine, by the id among a rule's wildcards."""

    grid: Grid
    machine: Machine

    def parts(self, artifact: Artifact) -> int:
        """The number of parts of an artifact that jobs of their own make; 1: none is cut."""
        is_divided = stage_of(artifact) in BY_PARTS
        return self.machine.parts.get(artifact.stage, 1) if is_divided else 1

    def mem_mb(self, wildcards: Wildcards, attempt: int) -> int:
        """Memory of the machine, in megabytes."""
        return attempt * self._estimate(wildcards.id).memory_mb

    def runtime(self, wildcards: Wildcards, attempt: int) -> int:
        """Minutes after which the job has gone wrong."""
        slack = self._fit(wildcards.id).machine.speed.slack
        expected = slack * self._own_estimate(wildcards).seconds / 60
        saving = self._saving_seconds(wildcards.id) // 60  # less than a minute is none
        return attempt * max(LEAST_MINUTES, math.ceil(expected)) + saving

    def slurm_extra(self, wildcards: Wildcards) -> str:
        """The profile's options for sbatch; a model whose state is large is warned earlier."""
        seconds, fit = self._saving_seconds(wildcards.id), self._fit(wildcards.id)
        options = WARNING.sub(
            lambda warning: f"TERM@{max(int(warning[1]), seconds)}", self.machine.slurm_extra
        )
        each = f" --gpus-per-node={fit.ranks_of_node}" if fit.nodes > 1 else ""
        return options + each

    def ranks(self, wildcards: Wildcards) -> int:
        """Processes that share the job."""
        return self._fit(wildcards.id).ranks

    def nodes(self, wildcards: Wildcards) -> int:
        """Nodes that they are on."""
        return self._fit(wildcards.id).nodes

    def tasks(self, wildcards: Wildcards) -> int | None:
        """Tasks of several nodes, each of which starts the ranks of its own.

        None on one node: the plugin would take them for tasks of each GPU.
        """
        nodes = self._fit(wildcards.id).nodes
        return nodes if nodes > 1 else None

    def mpi(self, wildcards: Wildcards) -> str | None:
        """The command that starts the tasks of several nodes; set, the plugin starts none."""
        return "srun" if self._fit(wildcards.id).nodes > 1 else None

    def tasks_per_gpu(self, wildcards: Wildcards) -> int | None:
        """0 where the plugin would take the tasks of a job for those of each GPU."""
        return 0 if self._fit(wildcards.id).nodes > 1 else None

    def gpu(self, wildcards: Wildcards) -> int | None:
        """GPUs of the job that a scheduler assigns: one at least, where the profile names any."""
        is_assigned = self.machine.device_memory_mb and not self.machine.share_devices
        return self._fit(wildcards.id).ranks if is_assigned else None

    def threads(self, wildcards: Wildcards) -> int:
        """CPU cores: one for each rank of the CPU; on GPUs the profile's for each rank."""
        fit = self._fit(wildcards.id)
        return 1 if fit.machine.device_memory_mb else fit.ranks

    def cpus_per_task(self, wildcards: Wildcards, threads: int) -> int:
        """CPU cores of all ranks that a task starts."""
        fit = self._fit(wildcards.id)
        return threads * fit.ranks_of_node if fit.machine.device_memory_mb else threads

    def shard(self, wildcards: Wildcards) -> int:
        """1 where each rank keeps a share of the weights."""
        return int(self._fit(wildcards.id).is_sharded)

    def _saving_seconds(self, id: str) -> int:
        state = workload_of(self.grid, self.grid.by_id[id]).state
        return math.ceil(SAVING_SLACK * state / SAVED_BYTES_PER_SECOND)

    def disk_mb(self, wildcards: Wildcards) -> int:
        """Size of what the job writes, in megabytes."""
        return self._own_estimate(wildcards).disk_mb

    def gpu_memory_mb(self, wildcards: Wildcards, attempt: int) -> int:
        """The memory of GPUs that the job claims; 0 where a scheduler assigns whole ones."""
        if not self.machine.share_devices:
            return 0
        needed = attempt * self._estimate(wildcards.id).gpu_memory_mb
        return self._fit(wildcards.id).ranks * min(needed, self.machine.device_memory_mb)

    def micro_batch_tokens(self, wildcards: Wildcards, attempt: int) -> int:
        """Positions of a micro-batch, padding counted."""
        return max(GRAIN, self._fit(wildcards.id).micro_batch >> (attempt - 1))

    def device(self, wildcards: Wildcards) -> str:
        """What the job's models run on: "gpu" or "cpu"."""
        return "gpu" if self._fit(wildcards.id).machine.device_memory_mb else "cpu"

    def gradient_checkpointing(self, wildcards: Wildcards, attempt: int) -> int:
        """1 where layers are to be computed once more for the backward pass, to save memory."""
        fit = self._fit(wildcards.id)
        no_smaller = fit.micro_batch >> (attempt - 1) < GRAIN
        on_gpu = fit.machine.device_memory_mb > 0
        return int(fit.is_checkpointed or (on_gpu and no_smaller))

    def report_mem_mb(self, _: Wildcards, attempt: int) -> int:
        """Memory of the report's job."""
        return attempt * (REPORT_MB + round(REPORT_CELL_MB * len(self.grid.cells)))

    def report_runtime(self, _: Wildcards, attempt: int) -> int:
        """Minutes of the report's job."""
        return attempt * (REPORT_MINUTES + round(REPORT_CELL_MINUTES * len(self.grid.cells)))

    def _own_estimate(self, wildcards: Wildcards) -> Estimate:
        """The estimate of a job: of a part, of the whole of finished parts, or of all the work."""
        parts = self.parts(self.grid.by_id[wildcards.id])
        if parts == 1:
            return self._estimate(wildcards.id)
        return self._estimate(wildcards.id, share_of_job(parts, "part" in vars(wildcards)))

    @cache
    def _estimate(self, id: str, share: float = 1) -> Estimate:
        return estimate(self.grid, self.grid.by_id[id], self.machine, share)

    @cache
    def _fit(self, id: str) -> Fit:
        return fit_ranks(workload_of(self.grid, self.grid.by_id[id]), self.machine)


def machine_of(profile: Path | None) -> Machine:
    """The machine of a profile, or a CPU; a faulty profile ends the process with a line."""
    try:
        return Machine.of_profile(profile) if profile else CPU
    except ValueError as error:
        sys.exit(f"profile: {error}")


def refuse(grid: Grid, machine: Machine, artifacts: Iterable[Artifact]) -> None:
    """Ends the process, with a line for each fault, where something can't be made."""
    if lines := refusals(grid, machine, artifacts):
        sys.exit("\n".join(f"machine: {line}" for line in lines))

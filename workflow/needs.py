"""What each job asks of the machine, as functions of its wildcards and of the attempt.

Time and memory grow with each attempt, and a micro-batch on a GPU shrinks, so that a job that was
ended by a limit gets through without a person.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from workflow.grid import Grid
from workflow.machine import Machine
from workflow.resources import GRAIN, Estimate, Work, estimate, micro_batch, work

SLACK = 3  # a limit is no estimate: a shared machine may be slower
LEAST_MINUTES = 15
REPORT_MB, REPORT_CELL_MB = 3_000, 0.5
REPORT_MINUTES, REPORT_CELL_MINUTES = 15, 0.01

Need = Callable[..., int]  # of wildcards and, where it counts, the attempt


@dataclass(frozen=True, eq=False)
class Needs:
    """The needs of one experiment's jobs on one machine, looked up by stage and id."""

    grid: Grid
    machine: Machine

    def mem_mb(self, stage: str) -> Need:
        """Memory of the machine, in megabytes."""
        return lambda wildcards, attempt: attempt * self._estimate(stage, wildcards.id).memory_mb

    def runtime(self, stage: str) -> Need:
        """Minutes after which the job has gone wrong."""

        def minutes(wildcards: Any, attempt: int) -> int:
            expected = SLACK * self._estimate(stage, wildcards.id).seconds / 60
            return attempt * max(LEAST_MINUTES, math.ceil(expected))

        return minutes

    def disk_mb(self, stage: str) -> Need:
        """Size of the artifact, in megabytes."""
        return lambda wildcards: self._estimate(stage, wildcards.id).disk_mb

    def gpu_memory_mb(self, stage: str) -> Need:
        """The part of a GPU that the job claims; 0 where a scheduler assigns whole ones."""

        def megabytes(wildcards: Any, attempt: int) -> int:
            if not self.machine.share_devices:
                return 0
            needed = attempt * self._estimate(stage, wildcards.id).gpu_memory_mb
            return min(needed, self.machine.device_memory_mb)

        return megabytes

    def micro_batch_tokens(self, stage: str) -> Need:
        """Positions of a micro-batch, padding counted."""

        def tokens(wildcards: Any, attempt: int) -> int:
            whole = micro_batch(self._work(stage, wildcards.id), self.machine)
            return max(GRAIN, whole >> (attempt - 1))

        return tokens

    def report_mem_mb(self, _: Any, attempt: int) -> int:
        """Memory of the report's job."""
        return attempt * (REPORT_MB + round(REPORT_CELL_MB * len(self.grid.cells)))

    def report_runtime(self, _: Any, attempt: int) -> int:
        """Minutes of the report's job."""
        return attempt * (REPORT_MINUTES + round(REPORT_CELL_MINUTES * len(self.grid.cells)))

    @cache
    def _estimate(self, stage: str, id: str) -> Estimate:
        return estimate(self.grid, self.grid.artifacts[f"results/{stage}/{id}"], self.machine)

    @cache
    def _work(self, stage: str, id: str) -> Work:
        return work(self.grid, self.grid.artifacts[f"results/{stage}/{id}"])

"""What jobs will take: as measured when they ran before, else by formula, set right by what ran.

A formula knows a job's operations and a usual machine (`workflow.resources.estimates`). Where jobs
of the
same stage have run here, their seconds over those of the formula correct it for the others.
"""

import csv
import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from workflow.grid.artifact import Artifact, canonical
from workflow.jobs.jobs import STAGES, Jobs
from workflow.jobs.previous_runs import Manifest, setting_changes
from workflow.jobs.rerun_reasons import Reasons
from workflow.resources.estimates import estimate, workload_of
from workflow.resources.fit import least_mb
from workflow.resources.machine import GPU

RESULTS = Path("results")
SAMPLES = 100  # of a stage's jobs: more would not make a better guess, and files are slow to read


@dataclass(frozen=True)
class Cost:
    """What one job will take, and how that is known."""

    seconds: float
    disk_mb: int
    on_gpu: bool  # where its models would be run, if a GPU is there
    least_gpu_mb: int  # of its memory, without which the job fails
    basis: str  # measured (this job before), scaled (by others of its stage) or formula


@dataclass(frozen=True)
class Sample:
    """A job that has run, and what the formula says of it."""

    seconds: float
    expected: float


def seconds_of(stage: str, id: str) -> float | None:
    """How long the job of an artifact took the last time, start-up included."""
    try:
        with (RESULTS / "benchmarks" / stage / f"{id}.tsv").open(newline="") as file:
            *_, last = csv.DictReader(file, delimiter="\t")
        return float(last["s"])
    except (OSError, ValueError, KeyError):
        return None  # never run, cut off, or run without a benchmark


@dataclass(frozen=True, eq=False)
class Costs:
    """The costs of an experiment's jobs."""

    jobs: Jobs
    reasons: Reasons

    def of(self, artifact: Artifact) -> Cost:
        """What the job of an artifact will take."""
        expected = estimate(self.jobs.grid, artifact)
        seconds, basis = expected.seconds, "formula"
        if samples := self._samples.get(STAGES[artifact.stage]):
            seconds *= sum(one.seconds for one in samples) / sum(one.expected for one in samples)
            basis = "scaled"
        if (measured := seconds_of(artifact.stage, artifact.id)) is not None:
            seconds, basis = measured, "measured"
        on_gpu = expected.gpu_memory_mb > 0
        needed = least_mb(workload_of(self.jobs.grid, artifact), GPU) if on_gpu else 0
        return Cost(seconds, expected.disk_mb, on_gpu, needed, basis)

    @cached_property
    def _samples(self) -> Mapping[str, list[Sample]]:
        """For each module that has jobs to run: those of it that have run."""
        found = {}
        for module in {STAGES[one.stage] for one in self.jobs.unfinished}:
            found[module] = list(islice(self._own(module), SAMPLES)) or list(
                islice(self._of_previous(module), SAMPLES)
            )
        return found

    def _own(self, module: str) -> Iterator[Sample]:
        """Those of this very experiment."""
        for one in self.jobs.grid.artifacts.values():
            if STAGES[one.stage] == module:
                seconds = seconds_of(one.stage, one.id)
                if seconds is not None:
                    yield Sample(seconds, estimate(self.jobs.grid, one).seconds)

    def _of_previous(self, module: str) -> Iterator[Sample]:
        """Those whose place others are to take, with the settings that they had."""
        for one in self.jobs.unfinished:
            before = self.reasons.previous(one) if STAGES[one.stage] == module else ""
            made = self.reasons.store.manifest(one.stage, before) if before else None
            seconds = seconds_of(one.stage, before)
            if made is not None and seconds is not None and _same_keys(made, one):
                old = replace(one, settings_json=canonical(made["settings"]))
                yield Sample(seconds, estimate(self.jobs.grid, old).seconds)


def _same_keys(made: Manifest, artifact: Artifact) -> bool:
    """Whether a formula can read the old settings: code of another day may have had others."""
    return all(
        change.old is not None and change.new is not None
        for change in setting_changes(made, artifact.settings)
    )


def wall_seconds(artifacts: Sequence[Artifact], seconds: Mapping[str, float], slots: int) -> float:
    """When the last job ends if so many run at once, each as soon as its inputs are there.

    `artifacts` stand after their inputs; `seconds` are by id.
    """
    free, ends = [0.0] * slots, {}
    for one in artifacts:
        ready = max((ends.get(other.id, 0.0) for _, other in one.inputs), default=0.0)
        begin = max(ready, heapq.heappop(free))
        ends[one.id] = begin + seconds[one.id]
        heapq.heappush(free, ends[one.id])
    return max(ends.values(), default=0.0)

"""The expected cost of jobs: as measured in an earlier run, else a formula scaled to other jobs.

A formula knows a job's operations and a usual machine (`workflow.resources.estimates`). Where jobs
of the same stage have run here, their seconds over those of the formula correct it for the others.
"""

import csv
import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from workflow.grid.artifact import Artifact, canonical
from workflow.jobs.jobs import Jobs
from workflow.jobs.previous_runs import Manifest, setting_changes
from workflow.jobs.rerun_reasons import RESULTS, Reasons
from workflow.jobs.stage_modules import stage_of
from workflow.resources.estimates import estimate, workload_of
from workflow.resources.fit import least_mb
from workflow.resources.machine import CPU, GPU, Machine
from workflow.resources.ranks import fit_ranks, work_of_rank
from workflow.resources.requests import share_of_job

SAMPLES = 100  # of a stage's jobs: more would not make a better guess, and files are slow to read


@dataclass(frozen=True)
class Cost:
    """The expected time, disk and GPU memory of a job, and the basis of the expectation."""

    seconds: float  # of all its ranks together, which share them
    disk_mb: int
    on_gpu: bool  # of a GPU: where it was measured, else where its models would be run
    least_gpu_mb: int  # of its memory, without which the job fails
    ranks: int
    is_sharded: bool  # over the ranks
    basis: str  # measured (this job before), scaled (by others of its stage) or formula


@dataclass(frozen=True)
class Sample:
    """How long the jobs of an artifact took, and how long they should have by the formula."""

    elapsed: float  # seconds
    ranks: int  # that worked side by side
    expected: float  # seconds of one rank
    on_gpu: bool  # its machine had one

    @property
    def seconds(self) -> float:
        """Of all ranks together."""
        return self.ranks * self.elapsed


def seconds_of(stage: str, id: str) -> float | None:
    """How long the jobs of an artifact took the last time, start-up included: of all its parts."""
    folder = RESULTS / "benchmarks" / stage
    if (whole := _measured(folder / f"{id}.tsv")) is None:
        return None
    parts = map(_measured, folder.glob(f"{id}-part-*-of-*.tsv"))
    return whole + sum(seconds for seconds in parts if seconds)


def _measured(benchmark: Path) -> float | None:
    try:
        with benchmark.open(encoding="utf-8", newline="") as file:
            *_, last = csv.DictReader(file, delimiter="\t")
        return float(last["s"])
    except (OSError, ValueError, KeyError):
        return None  # never run, cut off, or run without a benchmark


@dataclass(frozen=True, eq=False)
class Costs:
    """The costs of an experiment's jobs."""

    jobs: Jobs
    reasons: Reasons
    machine: Machine | None = None  # None: unknown, so that jobs get the ranks that others had

    def of_job(self, artifact: Artifact, is_part: bool = False) -> Cost:
        """The expected cost of one of an artifact's jobs: of a part of it, or its own."""
        whole, parts = self.of(artifact), self.jobs.parts(artifact)
        share = share_of_job(parts, is_part)
        disk = 0 if is_part else whole.disk_mb  # the pieces become the artifact's
        return replace(whole, seconds=share * whole.seconds, disk_mb=disk)

    def of(self, artifact: Artifact) -> Cost:
        """The expected cost of all jobs of an artifact."""
        grid, machine = self.jobs.grid, self.machine or CPU
        expected, work = estimate(grid, artifact), workload_of(grid, artifact)
        on_gpu = expected.gpu_memory_mb > 0
        fit = fit_ranks(work, machine if machine.device_memory_mb or not on_gpu else GPU)
        needed = least_mb(work_of_rank(work, fit), fit.machine) if on_gpu else 0
        # seconds without a GPU say nothing of a profile's machine that has one
        needs_gpu = on_gpu and machine.device_memory_mb > 0

        seconds, basis, had_gpu, usual_ranks = expected.seconds, "formula", True, 1
        sample = self._sample(artifact, artifact.id, fit.ranks)
        if sample and (sample.on_gpu or not needs_gpu):
            seconds, basis = sample.seconds, "measured"
            had_gpu, usual_ranks = sample.on_gpu, sample.ranks
        elif samples := [
            each
            for each in self._samples.get(stage_of(artifact), [])
            if each.on_gpu or not needs_gpu
        ]:
            seconds *= sum(sample.seconds for sample in samples) / sum(
                sample.expected for sample in samples
            )
            basis, had_gpu = "scaled", any(sample.on_gpu for sample in samples)
            usual_ranks = samples[0].ranks
        ranks = fit.ranks if self.machine else usual_ranks
        is_gpu_time = on_gpu and had_gpu
        return Cost(seconds, expected.disk_mb, is_gpu_time, needed, ranks, fit.is_sharded, basis)

    def _sample(self, artifact: Artifact, id: str, ranks: int = 1) -> Sample | None:
        """The jobs of an artifact as they ran under an id, on `ranks` if no manifest tells."""
        if (elapsed := seconds_of(artifact.stage, id)) is None:
            return None
        manifest = self.reasons.store.manifest(artifact.stage, id) or {"ranks": ranks}
        gpus = (manifest.get("machine") or {}).get("gpus", ["unknown"])
        expected = estimate(self.jobs.grid, artifact).seconds
        return Sample(elapsed, manifest.get("ranks", 1), expected, bool(gpus))

    @cached_property
    def _samples(self) -> Mapping[str, list[Sample]]:
        """The jobs that have run, by module, for each module with unfinished jobs."""
        samples = {}
        for module in {stage_of(artifact) for artifact in self.jobs.unfinished}:
            samples[module] = list(islice(self._finished(module), SAMPLES)) or list(
                islice(self._of_previous(module), SAMPLES)
            )
        return samples

    def _finished(self, module: str) -> Iterator[Sample]:
        """The finished jobs of this experiment."""
        for artifact in self.jobs.artifacts:
            if stage_of(artifact) == module and (sample := self._sample(artifact, artifact.id)):
                yield sample

    def _of_previous(self, module: str) -> Iterator[Sample]:
        """The earlier jobs whose artifacts are to be replaced, with the settings that they had."""
        for artifact in self.jobs.unfinished:
            before = self.reasons.previous(artifact) if stage_of(artifact) == module else ""
            manifest = self.reasons.store.manifest(artifact.stage, before) if before else None
            if manifest is not None and _same_keys(manifest, artifact):
                old = replace(artifact, settings_json=canonical(manifest["settings"]))
                if sample := self._sample(old, before):
                    yield sample


def _same_keys(manifest: Manifest, artifact: Artifact) -> bool:
    """Whether a formula can read the old settings: code of another day may have had others."""
    return all(
        change.old is not None and change.new is not None
        for change in setting_changes(manifest, artifact.settings)
    )


def wall_seconds(
    artifacts: Sequence[Artifact],
    seconds: Mapping[str, float],
    slots: int,
    of_parts: Mapping[str, Sequence[float]] | None = None,
) -> float:
    """The end of the last job if `slots` run at once, each as soon as its inputs are finished.

    `artifacts` stand after their inputs; `seconds` are by id, and so are those of jobs of parts,
    which an artifact's own job waits for.
    """
    free, ends = [0.0] * slots, {}

    def end(ready: float, duration: float) -> float:
        """When a job ends that has all it reads at some time."""
        last = max(ready, heapq.heappop(free)) + duration
        heapq.heappush(free, last)
        return last

    for artifact in artifacts:
        ready = max((ends.get(input.id, 0.0) for _, input in artifact.inputs), default=0.0)
        parts = (of_parts or {}).get(artifact.id, ())
        ready = max([end(ready, part) for part in parts], default=ready)
        ends[artifact.id] = end(ready, seconds[artifact.id])
    return max(ends.values(), default=0.0)

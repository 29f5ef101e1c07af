"""Jobs of a grid, each after its inputs, done in this process as their rules start them."""

import sys
from pathlib import Path

import pytest

import pipeline.__main__ as command_line
from pipeline.artifacts.lock import release_locks
from workflow.grid.artifact import Artifact
from workflow.jobs import job_files
from workflow.jobs.jobs import Jobs
from workflow.launch.run_stage import MachineLimits, stage_arguments


def run(jobs: Jobs, artifact: Artifact, patch: pytest.MonkeyPatch) -> None:
    """The job of an artifact, as its rule starts it, in this process."""
    out = Path(artifact.path)
    started(out, job_files.write(out, jobs.job(artifact)), patch)


def started(out: Path, file: Path, patch: pytest.MonkeyPatch) -> None:
    """What a job file says, done in this process."""
    patch.setattr(sys, "argv", ["pipeline", *stage_arguments(out, file, MachineLimits())])
    try:
        command_line.main()
    finally:
        release_locks()


def ordered(artifacts: dict[str, Artifact]) -> list[Artifact]:
    """The artifacts, each after its inputs."""
    order: dict[Artifact, None] = {}

    def visit(artifact: Artifact) -> None:
        for _, input in artifact.inputs:
            visit(input)
        order[artifact] = None

    for artifact in artifacts.values():
        visit(artifact)
    return list(order)


def roles(artifact: Artifact) -> dict[str, Path]:
    """The folders that a job reads, by role; several of a role are numbered."""
    return {
        f"{role}-{index}": Path(input.path) for index, (role, input) in enumerate(artifact.inputs)
    }

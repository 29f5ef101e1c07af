"""Runs the job that makes one artifact, in this terminal and not under Snakemake."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from pipeline.stages.options import STAGES
from workflow.grid.artifact import Artifact
from workflow.jobs import read_config
from workflow.jobs.finished import State
from workflow.jobs.jobs import JOB_FILES, MODULES, Jobs
from workflow.jobs.rerun_reasons import RESULTS
from workflow.resources.estimates import work
from workflow.resources.fit import placed
from workflow.resources.machine import Machine


def command(jobs: Jobs, artifact: Artifact, machine: Machine) -> list[str]:
    """The stage's command line, with what the machine gives it."""
    stage = MODULES[artifact.stage].rpartition(".")[2]
    fit = placed(work(jobs.grid, artifact), machine)
    given: dict[str, list[str]] = {
        "state": ["--state", str(RESULTS / "state" / artifact.id)],
        "threads": ["--threads", str(os.cpu_count() or 1)],
        "micro_batch_tokens": ["--micro-batch-tokens", str(fit.micro_batch)],
        "gradient_checkpointing": ["--gradient-checkpointing"] * fit.is_checkpointed,
    }
    options = [given[field.name] for field in fields(STAGES[stage]) if field.name in given]
    return [
        *(sys.executable, "-m", "pipeline", stage),
        *("--job", str(JOB_FILES / artifact.stage / f"{artifact.id}.json")),
        *(part for role, one in artifact.inputs for part in (f"--{role}", one.path)),
        *("--out", artifact.path),
        *(part for option in options for part in option),
    ]


def main(*, path: Path, config: Path, profile: Path | None) -> int:
    """The exit status of the job; its messages go to this terminal."""
    jobs = read_config.jobs(config)
    artifact = jobs.grid.artifacts.get(str(path).rstrip("/"))
    if artifact is None:
        sys.exit(f"{path} is not part of experiment {jobs.experiment} ({config})")
    for role, one in artifact.inputs:
        if jobs.state(one) is not State.FINISHED:
            sys.exit(f"{path} needs the {role} {one.path}, which is not finished: make it first")
    try:
        machine = Machine.of_profile(profile) if profile else Machine()
    except ValueError as error:
        sys.exit(f"profile: {error}")
    jobs.write_job_files(everything=jobs.state(artifact) is State.FINISHED)
    on_cpu = {} if machine.device_memory_mb else {"CUDA_VISIBLE_DEVICES": ""}
    environment = os.environ | on_cpu
    return subprocess.run(command(jobs, artifact, machine), env=environment, check=False).returncode

"""Snakemake on the tests' SLURM, as from a login node."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from slurm_cluster import PAIR
from snaking import JOB_SERVERS, ROOT, Copy

from workflow.launch.preload_client import SERVER_ADDRESS

PLUGIN = Path(sys.prefix) / "slurm"  # where `make test` has put it: on the path, it slows Snakemake
TOO_LITTLE_MB = 300  # Python and torch alone take more
TASKS = 2
# as a profile's two nodes of a GPU each would have it, but by hand: models this small need no GPU
EACH_ON_A_NODE = {"ranks": TASKS, "nodes": TASKS, "tasks": TASKS, "mpi": "srun"}
ON_TWO_NODES = ("teacher", "start", "student", "teacher_text", "teacher_cache", "evaluation")


def shipped_profile() -> dict[str, Any]:
    """The profile as shipped, but for its polling and its cores: a node of the tests has few."""
    shipped = yaml.safe_load((ROOT / "workflow/profiles/slurm/config.yaml").read_text())
    del shipped["set-threads"]
    return shipped | {"slurm-init-seconds-before-status-checks": 8}


def profile(folder: Path, parts: Mapping[str, int] | None = None, **changes: Any) -> Path:
    """A profile of a node with GPUs, where one job is given a memory that is far too low."""
    shipped = shipped_profile()
    too_low = f"{TOO_LITTLE_MB} if attempt == 1 and 'narrow' in wildcards.id else 2500"
    shipped["set-resources"] |= {"model": {"mem_mb": too_low}}
    shipped["default-resources"] |= parts or {}
    return _written(folder, shipped | changes)


def two_task_profile(folder: Path, jobs: int) -> Path:
    """A profile of two nodes without GPUs, on each of which a job has a task."""
    shipped = shipped_profile()
    del shipped["default-resources"]["device_memory_mb"]
    shipped["default-resources"]["slurm_partition"] = PAIR
    shipped["set-resources"] = dict.fromkeys(ON_TWO_NODES, EACH_ON_A_NODE)
    return _written(folder, shipped | {"jobs": jobs})


def _written(folder: Path, content: Mapping[str, Any]) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(content)))
    return folder


@contextlib.contextmanager
def started(
    project: Copy, config: str, profile: Path, output: Path, *targets: str, preloaded: bool = False
) -> Iterator[subprocess.Popen]:
    """Snakemake as from a login node, the ranks of its jobs from preloaded libraries if wished."""
    machine = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(PLUGIN),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    if preloaded:
        machine[SERVER_ADDRESS] = JOB_SERVERS.address(project.folder)
    command = [sys.executable, "-m", "snakemake", "--configfile", config]
    with output.open("w") as file:
        process = subprocess.Popen(
            # whatever becomes of the test, no Snakemake outlives it
            ["setpriv", "--pdeathsig", "KILL", *command, f"--workflow-profile={profile}", *targets],
            cwd=project.folder,
            env=machine,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.kill()

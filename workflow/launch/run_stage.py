"""Runs the job that makes one artifact, in the foreground.

    python -m workflow.launch.run_stage results/students/ID --configfile mine.yaml

The job's settings are in its job file, which a run of Snakemake writes before its first job; with
--configfile (and the machine's --profile) it is written here. Further flags are passed on to the
stage. The output may be that of a part (`pipeline.artifacts.part`). The job runs in a process
forked from preloaded libraries if there is a server of them (`workflow.launch.preloaded`),
otherwise in this process; one of several ranks in a process for each (`workflow.launch.ranks`).
"""

import argparse
import contextlib
import json
import os
import runpy
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from pipeline.artifacts import part as parts
from pipeline.artifacts.stages import BY_RANKS
from pipeline.runtime.progress import log
from pipeline.runtime.streams import prepare_streams
from pipeline.settings.memory import CONTEXT_MB
from pipeline.stages.options import STAGES
from workflow.jobs import job_files
from workflow.launch import gpu_lease, processes, ranks
from workflow.launch.preload_client import (
    ALLOCATOR,
    COMPILE_THREADS,
    THREADS,
    connect_to_server,
    run_on_server,
)

TRACKER = "DISTILBENCH_TRACKER"  # a choice of the machine, which no job file may hold


@dataclass(frozen=True)
class MachineLimits:
    """What a job may use of the machine. Without a GPU the job sees none."""

    device: str = "cpu"
    ranks: int = 1  # processes that share the job's work, each with a GPU of its own
    tasks: int = 1  # of SLURM's that start them: one on each node
    gpu_memory_mb: int = 0  # to be claimed, of all GPUs; 0: whatever is visible is the job's
    threads: int = 1  # of each rank
    micro_batch_tokens: int | None = None  # None: the stage's default
    gradient_checkpointing: bool = False
    shard: bool = False  # models over the ranks


def main() -> None:
    """Runs the job of the artifact that the command line names."""
    prepare_streams()
    options, stage_flags = _parser().parse_known_args()
    output, limits = options.output, MachineLimits()
    if options.configfile:
        output, limits = prepare_artifact(output, options.configfile, options.profile)
    names = {field.name for field in fields(MachineLimits)}
    limits = replace(limits, **{name: vars(options)[name] for name in names & set(vars(options))})
    if limits.device == "cpu":  # Snakemake counts the cores of all ranks where these have no GPU
        limits = replace(limits, threads=max(1, limits.threads // limits.ranks))
    run_stage(output, limits, stage_flags)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("output", type=Path, help="artifact to make, such as results/students/ID")
    parser.add_argument("--configfile", type=Path, help="experiment that the artifact is a part of")
    parser.add_argument("--profile", type=Path, help="with --configfile: workflow profile to obey")
    limits = parser.add_argument_group("limits of the machine, each before that of the profile")
    limits.argument_default = argparse.SUPPRESS
    limits.add_argument("--device", choices=("cpu", "gpu"), help="gpu: if any is there")
    limits.add_argument("--gpu-memory-mb", type=int, help="to claim; 0: what is visible")
    limits.add_argument("--ranks", type=int, help="processes, each with its own GPU")
    limits.add_argument("--tasks", type=int, help="SLURM's, which start the ranks")
    limits.add_argument("--shard", type=int, choices=(0, 1), help="models over ranks")
    limits.add_argument("--threads", type=int, help="of a rank on a GPU, or of all on the CPU")
    limits.add_argument("--micro-batch-tokens", type=int)
    limits.add_argument("--gradient-checkpointing", type=int, choices=(0, 1))
    return parser


def prepare_artifact(
    output: Path, configfile: Path, profile: Path | None
) -> tuple[Path, MachineLimits]:
    """Writes the job file of an artifact; returns its path, and the limits that its rule has."""
    # these take longer to import than many a job of a rule takes to run
    from workflow.jobs.jobs import Jobs
    from workflow.jobs.preparation import path_named, write_job_file
    from workflow.resources.requests import ResourceRequests, machine_of

    machine, jobs = machine_of(profile), Jobs.of_file(configfile)
    output = path_named(jobs, output)
    write_job_file(jobs, output)
    whole, _ = parts.of_marker(output) or (output, None)
    artifact = jobs.grid.artifacts.get(str(whole))
    if artifact is None:  # it is the report
        return output, MachineLimits()
    requests, job = ResourceRequests(jobs.grid, machine), job_files.Wildcards(artifact.id)
    return output, MachineLimits(
        device=requests.device(job),
        ranks=requests.ranks(job),
        tasks=requests.nodes(job),
        shard=bool(requests.shard(job)),
        gpu_memory_mb=requests.gpu_memory_mb(job, attempt=1),
        micro_batch_tokens=requests.micro_batch_tokens(job, attempt=1),
        gradient_checkpointing=bool(requests.gradient_checkpointing(job, attempt=1)),
    )


def run_stage(output: Path, limits: MachineLimits, stage_flags: Sequence[str] = ()) -> None:
    """Runs the job of an artifact within the machine's limits."""
    file = job_files.path_of(output)
    if not file.is_file():
        sys.exit(f"{file} is not there: name the experiment by --configfile, or run Snakemake")
    run_module("pipeline", [*stage_arguments(output, file, limits), *stage_flags], limits)


def stage_arguments(output: Path, file: Path, limits: MachineLimits) -> list[str]:
    """The command line of the pipeline, with those of the machine's limits that the stage knows."""
    job = json.loads(file.read_bytes())
    if limits.ranks > 1 and job["stage"] not in BY_RANKS:
        sys.exit(
            f"error: {limits.ranks} ranks are asked for, and the stage {job['stage']} can't share "
            f"its work ({', '.join(BY_RANKS)} can): leave `ranks` of its rule out of the profile"
        )
    known = {field.name for field in fields(STAGES[job["stage"]])}
    output, part = parts.of_marker(output) or (output, None)
    flags: list[tuple[str, object]] = [("job", file), *job["inputs"], ("out", output)]
    optional = {
        "state": output.parents[1] / "state" / output.name,
        "part": part,
        "threads": limits.threads,
        "micro_batch_tokens": limits.micro_batch_tokens,
        "tracker": os.environ.get(TRACKER),
    }
    flags += [(name, value) for name, value in optional.items() if name in known and value]
    arguments = [part for name, value in flags for part in (_flag(name), str(value))]
    switches = {"gradient_checkpointing": limits.gradient_checkpointing, "sharded": limits.shard}
    arguments += [_flag(name) for name, is_on in switches.items() if is_on and name in known]
    return [job["stage"], *arguments, *job.get("flags", ())]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def run_module(module: str, arguments: Sequence[str], limits: MachineLimits) -> None:
    """Runs a module as a program that sees no more of the machine than the limits allow."""
    processes.end_with_parent(signal.SIGTERM)  # a killed Snakemake leaves no job behind
    with contextlib.ExitStack() as leases:
        try:
            if limits.tasks > 1 and not ranks.is_task(os.environ):
                ranks.become_step(limits.tasks)
            group = ranks.rank_group(limits.ranks, os.environ)
            if group is None or group.first == 0:
                # Snakemake shows no other log of a failed job once it meets an empty one
                log(f"{' '.join([module, *arguments[:1]])} on {socket.gethostname()}")
            _limit(limits, leases)
            gpus = None
            if group is not None and limits.device == "gpu":
                gpus = ranks.gpus_of_ranks(group, gpu_lease.visible_names())
        except ValueError as error:
            sys.exit(f"error: {error}")
        if group is None:
            run_here(module, arguments)
        else:
            command = [sys.executable, "-m", "workflow.launch.run_rank", module, *arguments]
            sys.exit(ranks.run_ranks(command, list(group.environments(gpus))))


def _limit(limits: MachineLimits, leases: contextlib.ExitStack) -> None:
    """Sets the variables that limit this process and its children, once it has its GPUs."""
    os.environ[THREADS] = str(limits.threads)
    os.environ.setdefault(COMPILE_THREADS, str(limits.threads))
    if limits.device == "cpu":
        os.environ[gpu_lease.VISIBLE] = ""
    gpus = gpu_lease.visible_gpus() if limits.gpu_memory_mb else []
    if gpus:
        _lease_gpus(leases, gpus, limits)
    os.environ.setdefault(ALLOCATOR, "expandable_segments:True")


def run_here(module: str, arguments: Sequence[str]) -> None:
    """Runs a module as a program: by the server of preloaded libraries, or in this process."""
    server = connect_to_server()
    if server is not None:
        with server:
            sys.exit(run_on_server(server, module, arguments))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _lease_gpus(
    leases: contextlib.ExitStack, gpus: list[gpu_lease.Gpu], limits: MachineLimits
) -> None:
    """Waits for memory of GPUs, and limits this job to those and that much of each."""
    memory_mb = limits.gpu_memory_mb // limits.ranks
    request = f"{memory_mb} MB of {'a GPU' if limits.ranks == 1 else f'{limits.ranks} GPUs each'}"
    log(f"waiting for {request}")
    lease = gpu_lease.leased_gpus(gpus, memory_mb, gpu_lease.lease_folder(), limits.ranks)
    leased = leases.enter_context(lease)
    names = ",".join(gpu.name for gpu in leased)
    os.environ[gpu_lease.VISIBLE] = names
    # the allocator doesn't count the context
    fraction = (memory_mb - CONTEXT_MB) / min(gpu.memory_mb for gpu in leased)
    if 0 < fraction < 1:
        limit = f"expandable_segments:True,per_process_memory_fraction:{fraction:.4f}"
        os.environ.setdefault(ALLOCATOR, limit)
    log(f"{request}: {names}")


if __name__ == "__main__":
    main()

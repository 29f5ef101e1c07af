"""Kills of real jobs at moments of a seeded schedule, and disks that are full."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import psutil
import pytest
from snaking import Copy
from stage_commands import LONG

from pipeline.artifacts import checksums
from workflow.grid.artifact import Artifact
from workflow.jobs import job_files
from workflow.jobs.jobs import Jobs
from workflow.launch.preload_client import SERVER_ADDRESS

Value = TypeVar("Value")

SEED = 20_261_123
HOLD = "import os, sys; print(os.environ[sys.argv[1]], flush=True); sys.stdin.read()"
MACHINE = {  # flags of the stages that have them
    "teachers": ("--save-seconds", "0"),
    "starts": ("--save-seconds", "0"),
    "students": ("--save-seconds", "0"),
}
TIMES = ["seconds"]  # columns of steps.parquet in which two runs differ


def draws(name: str) -> random.Random:
    """The schedule of one test."""
    return random.Random(f"{SEED}/{name}")


def children(process: int) -> list[int]:
    """The processes that a process has begun."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        listed = Path(f"/proc/{process}/task/{process}/children").read_text()
        return [int(part) for part in listed.split()]
    return []


def forks(process: int) -> list[int]:
    """Its children that run the same command: the server beside what it serves."""
    return [child for child in children(process) if command(child) == command(process)]


def command(process: int) -> list[bytes]:
    """What a process was started as; empty when it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    return []


def waited(condition: Callable[[], Value], pause: float = 0.01) -> Value:
    """The condition's value when it is true; fails if that takes too long."""
    until = time.monotonic() + LONG
    while not (value := condition()):
        assert time.monotonic() < until, "it takes too long"
        time.sleep(pause)
    return value


def kill(process: int) -> bool:
    """Whether it was there to be killed."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
        return True
    return False


def is_running(process: int) -> bool:
    """Whether it still holds what a process holds: its files, its locks."""
    try:
        state = psutil.Process(process).status()
    except psutil.NoSuchProcess:
        return False
    return state != psutil.STATUS_ZOMBIE


@dataclass(frozen=True)
class Server:
    """Preloaded libraries, for the jobs of stages alone."""

    copy: Copy
    environment: Mapping[str, str]
    process: int  # the one that forks

    def jobs(self) -> list[int]:
        """The jobs that run in it."""
        return children(self.process)


@contextlib.contextmanager
def served(copy: Copy, folder: Path) -> Iterator[Server]:
    """A server whose own run is in another folder than that of the copy."""
    command = [sys.executable, "-m", "workflow.launch.preloaded", sys.executable, "-c", HOLD]
    environment = os.environ | {"PYTHONPATH": str(copy.folder), "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        [*command, SERVER_ADDRESS],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        assert started.stdout is not None
        address = {SERVER_ADDRESS: started.stdout.readline().strip()}
        waited(lambda: len(children(started.pid)) == 2)
        (process,) = forks(started.pid)
        yield Server(copy, environment | address, process)
        started.communicate()


@dataclass(frozen=True)
class Job:
    """The job of one artifact, on inputs that are there, into a folder of its own."""

    server: Server
    artifact: Artifact
    told: Mapping[str, Any]  # its job file, but for the inputs
    results: Path  # where it writes
    inputs: tuple[tuple[str, Path], ...]

    @classmethod
    def of(cls, server: Server, jobs: Jobs, artifact: Artifact, results: Path) -> "Job":
        """The job as a rule starts it, but for where it writes."""
        inputs = [(role, server.copy.folder / source.path) for role, source in artifact.inputs]
        return cls(server, artifact, jobs.job(artifact), results, tuple(inputs))

    @property
    def out(self) -> Path:
        """What it makes."""
        return self.results / self.artifact.stage / self.artifact.id

    @property
    def state(self) -> Path:
        """What it has finished of it."""
        return self.results / "state" / self.artifact.id

    @property
    def log(self) -> Path:
        """What it says."""
        return self.results / f"{self.artifact.id}.log"

    def elsewhere(self, results: Path) -> "Job":
        """The same job, writing into another folder."""
        return replace(self, results=results)

    def reading(self, role: str, path: Path) -> "Job":
        """The same job with another folder as one of its inputs."""
        inputs = [(name, path if name == role else folder) for name, folder in self.inputs]
        return replace(self, inputs=tuple(inputs))

    def command(self) -> list[str]:
        """What a rule would start."""
        inputs = [[role, str(path)] for role, path in self.inputs]
        job_files.write(self.out, {**self.told, "inputs": inputs})
        module = [sys.executable, "-m", "workflow.launch.run_stage"]
        return [*module, str(self.out), *MACHINE.get(self.artifact.stage, ())]

    def begin(self) -> "subprocess.Popen[bytes]":
        """The process that asks for the job."""
        self.results.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command(),
                cwd=self.server.copy.folder,
                env=self.server.environment,
                stdout=log,
                stderr=log,
            )

    def end(self) -> int:
        """Runs it to its end: the exit status."""
        with self.begin() as process:
            return process.wait(LONG)

    def printed(self) -> str:
        """All that it has printed so far."""
        return self.log.read_text()


@dataclass
class AtRandom:
    """Kills a job at a moment drawn from its time; hits are those that found it at work."""

    draw: random.Random
    seconds: float  # that the job takes, as known so far

    def __call__(self, job: Job) -> bool:
        """Whether it hit."""
        with job.begin() as asker:
            waited(lambda: bool(job.server.jobs()) or asker.poll() is not None)
            with contextlib.suppress(subprocess.TimeoutExpired):
                asker.wait(self.draw.uniform(0, self.seconds))
                self.seconds *= 0.8
                return False
            hit = kill(asker.pid)
        waited(lambda: not job.server.jobs())  # the server kills what nobody waits for
        return hit


def kill_before_the_rename(job: Job) -> bool:
    """Whether the job was killed when all was written, and nothing had its name yet."""
    pattern = f".{job.artifact.id}.*.tmp/{checksums.MANIFEST}"
    with job.begin() as asker:
        while not any(job.out.parent.glob(pattern)) and asker.poll() is None:
            time.sleep(0.0005)  # to reach the disk takes the files longer
        hit = [kill(process) for process in job.server.jobs()] == [True]
        asker.wait(LONG)
    return hit and not job.out.exists()


def kills(job: Job, wanted: int, strike: Callable[[Job], bool]) -> None:
    """So many kills that hit. After each, what has the artifact's name is whole, or nothing has."""
    tries, hits = 0, 0
    while hits < wanted:
        tries += 1
        assert tries < 10 * wanted, "the kills come too late"
        hits += strike(job)
        assert not job.out.exists() or checksums.is_intact(job.out), job.printed()
        if job.out.exists():  # it was done: the next kill has another one to hit
            shutil.rmtree(job.out)


def agree(made: Path, unbroken: Path) -> bool:
    """Whether an artifact is whole and holds what another one does, but for the time it took."""
    manifests = [checksums.read_manifest(folder) for folder in (made, unbroken)]
    steps = [folder / "steps.parquet" for folder in (made, unbroken)]
    if steps[0].exists():
        tables = [pd.read_parquet(path).drop(columns=TIMES) for path in steps]
        pd.testing.assert_frame_equal(*tables, check_exact=True)
    return checksums.is_intact(made) and manifests[0]["content"] == manifests[1]["content"]


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """A folder on a disk of its own."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def grow_disk(folder: Path) -> None:
    """Room for everything."""
    subprocess.run(["mount", "-o", "remount,size=200m", folder], check=True)


def fill(path: Path) -> None:
    """A file that takes all the room that is left on its disk."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))

"""Leases of GPU memory, so that several jobs share the GPUs of one machine.

Snakemake counts a machine's GPU memory but assigns no GPU. Here each GPU has `SHARES` lock files,
and a lease is a lock on as many of them as the job's memory takes. The kernel releases the locks of
a process however it ends, so that no killed job keeps its memory leased.
"""

import contextlib
import csv
import math
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

SHARES = 32  # of a GPU: 2.5 GB of 80 GB
POLL_SECONDS = 0.5
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Gpu:
    """A GPU, by a name that CUDA_VISIBLE_DEVICES takes."""

    name: str
    memory_mb: int


def visible_gpus() -> list[Gpu]:
    """The GPUs that this process may use; empty where there is no driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
    done = subprocess.run(query, capture_output=True, text=True, check=True)
    return parse_gpus(done.stdout, os.environ.get(VISIBLE))


def parse_gpus(table: str, visible: str | None) -> list[Gpu]:
    """The GPUs in the driver's table that `CUDA_VISIBLE_DEVICES`, if it is set, lets through."""
    rows = csv.reader(table.splitlines(), skipinitialspace=True)
    allowed = None if visible is None else [name for name in visible.split(",") if name]
    return [
        Gpu(uuid, int(memory))
        for index, uuid, memory in rows
        # a GPU that shares the machine's memory has none of its own to lease: "[N/A]"
        if memory.isdecimal()
        and (allowed is None or index in allowed or uuid.startswith(tuple(allowed)))
    ]


def lease_folder() -> Path:
    """The folder of this user's leases on this machine: the same for all runs, unlike TMPDIR."""
    return Path(f"/tmp/distilbench-gpus-{os.getuid()}")


@contextlib.contextmanager
def leased_gpu(gpus: Sequence[Gpu], memory_mb: int, folder: Path) -> Iterator[Gpu]:
    """A GPU with this much memory for this process alone; waits until there is one.

    One process chooses at a time, and keeps its turn until it has its lease: a job that needs much
    is not overtaken by small ones for ever. One that needs more than any GPU has gets a whole one.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    with contextlib.ExitStack() as lease:
        with FileLock(folder / "turn.lock"):
            while (gpu := _lease(gpus, memory_mb, folder, lease)) is None:
                time.sleep(POLL_SECONDS)
        yield gpu


def _lease(
    gpus: Sequence[Gpu], memory_mb: int, folder: Path, lease: contextlib.ExitStack
) -> Gpu | None:
    """The GPU with the most free memory, if that is enough; its shares are then in the lease."""
    free = {gpu: _lock_free_shares(gpu, folder) for gpu in gpus}
    gpu = max(gpus, key=lambda gpu: gpu.memory_mb * len(free[gpu]))
    needed_mb = min(memory_mb, max(gpu.memory_mb for gpu in gpus))
    needed = math.ceil(needed_mb * SHARES / gpu.memory_mb)
    is_enough = needed <= len(free[gpu])
    for share in free[gpu][:needed] if is_enough else []:
        lease.callback(share.release)
    surplus = free.pop(gpu)[needed if is_enough else 0 :]
    for share in [*surplus, *(share for shares in free.values() for share in shares)]:
        share.release()
    return gpu if is_enough else None


def _lock_free_shares(gpu: Gpu, folder: Path) -> list[FileLock]:
    """The shares that no other process holds, now locked by this one."""
    free = []
    for number in range(SHARES):
        share = FileLock(folder / f"{gpu.name}.{number}.lock")
        with contextlib.suppress(Timeout):
            share.acquire(blocking=False)
            free.append(share)
    return free

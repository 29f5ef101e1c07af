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


def visible_names() -> list[str]:
    """The names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them."""
    if VISIBLE in os.environ:
        return [name for name in os.environ[VISIBLE].split(",") if name]
    return [gpu.name for gpu in visible_gpus()]


def lease_folder() -> Path:
    """The folder of this user's leases on this machine: the same for all runs, unlike TMPDIR."""
    return Path(f"/tmp/distilbench-gpus-{os.getuid()}")


@contextlib.contextmanager
def leased_gpus(
    gpus: Sequence[Gpu], memory_mb: int, folder: Path, count: int
) -> Iterator[list[Gpu]]:
    """Some GPUs with this much memory each for this process; waits until there are as many.

    One process chooses at a time, and keeps its turn until it has its lease: a job that needs much
    is not overtaken by small ones for ever, and none holds a GPU while it waits for another. One
    that needs more than any GPU has gets whole ones. Raises ValueError where there are too few.
    """
    if len(gpus) < count:
        raise ValueError(
            f"{count} ranks need a GPU each, and this machine has {len(gpus)}: set `gpus_per_job` "
            "and `gpus_per_node` in the profile to what it has"
        )
    folder.mkdir(mode=0o700, exist_ok=True)
    with contextlib.ExitStack() as lease:
        with FileLock(folder / "turn.lock"):
            while not (leased := _lease(gpus, memory_mb, count, folder, lease)):
                time.sleep(POLL_SECONDS)
        yield leased


def _lease(
    gpus: Sequence[Gpu], memory_mb: int, count: int, folder: Path, lease: contextlib.ExitStack
) -> list[Gpu]:
    """The GPUs with the most free memory, if that is enough; their shares are then in the lease."""
    free = {gpu: _lock_free_shares(gpu, folder) for gpu in gpus}
    ordered = sorted(gpus, key=lambda gpu: gpu.memory_mb * len(free[gpu]), reverse=True)
    needed_mb = min(memory_mb, sorted(gpu.memory_mb for gpu in gpus)[-count])
    needed = {gpu: math.ceil(needed_mb * SHARES / gpu.memory_mb) for gpu in ordered[:count]}
    if any(len(free[gpu]) < shares for gpu, shares in needed.items()):
        needed = {}
    for gpu, shares in free.items():
        leased = needed.get(gpu, 0)
        for share in shares[:leased]:
            lease.callback(share.release)
        for share in shares[leased:]:
            share.release()
    return list(needed)


def _lock_free_shares(gpu: Gpu, folder: Path) -> list[FileLock]:
    """The shares that no other process holds, now locked by this one."""
    free = []
    for number in range(SHARES):
        share = FileLock(folder / f"{gpu.name}.{number}.lock")
        with contextlib.suppress(Timeout):
            share.acquire(blocking=False)
            free.append(share)
    return free

"""Several jobs on the GPUs of one machine: each job claims memory of one of them before it starts.

Snakemake counts a machine's GPU memory but assigns no device. Here a device is a file with a byte
for each unit of its memory, and a claim is a lock on some of the bytes. The kernel drops the locks
of a process with the process, however it ends, so that nothing is ever left claimed.
"""

import contextlib
import csv
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

UNIT_MB = 256
LOOK_SECONDS = 0.5  # how often a job that waits looks for room
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Device:
    """A GPU, by a name that CUDA_VISIBLE_DEVICES takes."""

    name: str
    memory_mb: int


def visible_gpus() -> list[Device]:
    """The GPUs that this process may use; empty where there is no driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
    done = subprocess.run(query, capture_output=True, text=True, check=True)
    return parse_gpus(done.stdout, os.environ.get(VISIBLE))


def parse_gpus(table: str, visible: str | None) -> list[Device]:
    """The devices in the driver's table that `CUDA_VISIBLE_DEVICES`, if it is set, lets through."""
    rows = list(csv.reader(table.splitlines(), skipinitialspace=True))
    allowed = None if visible is None else visible.split(",")
    return [
        Device(uuid, int(memory))
        for index, uuid, memory in rows
        # a GPU that shares the machine's memory has none of its own to be claimed: "[N/A]"
        if memory.isdecimal()
        and (
            allowed is None
            or index in allowed
            or any(one and uuid.startswith(one) for one in allowed)
        )
    ]


def lease_folder() -> Path:
    """The folder of this user's claims on this machine."""
    return Path(tempfile.gettempdir()) / f"distilbench-devices-{os.getuid()}"


@contextlib.contextmanager
def claimed(devices: Sequence[Device], memory_mb: int, folder: Path) -> Iterator[Device]:
    """A device with so much memory for this process alone; waits until there is one.

    Jobs are served in turn: one that needs much is not overtaken by small ones for ever. One that
    needs more than any device has gets a whole one.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    with contextlib.ExitStack() as held:
        files = {one: held.enter_context((folder / one.name).open("ab")) for one in devices}
        with (folder / "turn").open("ab") as turn:
            fcntl.lockf(turn, fcntl.LOCK_EX)
            while (device := _try(files, memory_mb)) is None:
                time.sleep(LOOK_SECONDS)
        yield device


def _try(files: dict[Device, BinaryIO], memory_mb: int) -> Device | None:
    """The emptiest device, if what is free there is enough; its bytes are then locked."""
    free = {device: _free(device, file) for device, file in files.items()}
    device = max(free, key=lambda one: len(free[one]))
    needed = -(-min(memory_mb, max(one.memory_mb for one in files)) // UNIT_MB)
    if len(free[device]) < needed:
        return None
    for unit in free[device][:needed]:
        fcntl.lockf(files[device], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, unit)
    return device


def _free(device: Device, file: BinaryIO) -> list[int]:
    """Units that nobody has locked. Only whoever has the turn locks any."""
    found = []
    for unit in range(-(-device.memory_mb // UNIT_MB)):
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, unit)
        except (BlockingIOError, PermissionError):
            continue
        fcntl.lockf(file, fcntl.LOCK_UN, 1, unit)
        found.append(unit)
    return found

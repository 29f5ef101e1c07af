"""Seconds and memory of a device and of this process, as each of them has it."""

import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

GIB = 2**30
LOOK_SECONDS = 0.02


def synchronize(device: torch.device) -> None:
    """Waits until a GPU has done all that it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """How long some work takes, until the device is done with it, too."""
    synchronize(device)
    began = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - began


def best(device: torch.device, work: Callable[[], object], runs: int) -> float:
    """The shortest of several runs, after one to warm up."""
    work()
    return min(seconds(device, work) for _ in range(runs))


def now(device: torch.device) -> float:
    """Seconds, read when a GPU has done all that it was asked to; of a CPU this process's own.

    So other work on a CPU's machine counts only by what it takes of its caches and clock.
    """
    synchronize(device)
    return time.perf_counter() if device.type == "cuda" else time.process_time()


def peak_gib(device: torch.device) -> float:
    """The most that this process has held of a GPU at once; 0 on a CPU."""
    return torch.cuda.max_memory_allocated(device) / GIB if device.type == "cuda" else 0.0


class Peak:
    """The peak of memory from when this is made: of the GPU, else of what the process holds."""

    def __init__(self, device: torch.device):
        self.device = device
        self.held = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            self.held = resident_bytes()

    def megabytes(self) -> float:
        """All that a GPU holds at the peak; of a CPU's memory what came on top."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e6
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - self.held) / 1e6


def resident_bytes() -> int:
    """What this process has in memory now, pages of files among it."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def held_mb() -> float:
    """What this process holds for itself in megabytes, without pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    held = dict(line.split(":", 1) for line in lines)
    return sum(int(held[key].split()[0]) for key in ("RssAnon", "RssShmem")) * 1024 / 1e6


@contextmanager
def watched_memory() -> Iterator[list[float]]:
    """What this process holds meanwhile in megabytes, looked at again and again by a thread."""
    megabytes, is_done = [held_mb()], threading.Event()

    def look() -> None:
        """Looks until it is done."""
        while not is_done.wait(LOOK_SECONDS):
            megabytes.append(held_mb())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield megabytes
    finally:
        is_done.set()
        thread.join()

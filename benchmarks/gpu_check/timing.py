"""Seconds and memory of a device, both as the device has them."""

import time
from collections.abc import Callable

import torch

GIB = 2**30


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


def peak_gib(device: torch.device) -> float:
    """The most that this process has held of a GPU at once; 0 on a CPU."""
    return torch.cuda.max_memory_allocated(device) / GIB if device.type == "cuda" else 0.0

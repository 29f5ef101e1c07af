"""Time, memory and energy of the stretches in which a job works."""

import importlib
import importlib.util
import resource
import time
from collections.abc import Callable

import torch

from pipeline.runtime.costs import Cost


class Stopwatch:
    """A stretch of work on a device, from when this is made or was last started."""

    def __init__(self, device: torch.device):
        self.gpu = device if device.type == "cuda" else None
        self.joules = joules_of(device)
        self.start()

    def start(self) -> None:
        """Begins a new stretch."""
        self.began = time.monotonic()
        self.began_process = time.process_time()
        self.began_joules = self.joules() if self.joules else None

    def cost(self) -> Cost:
        """Time, memory and energy since the start."""
        seconds = time.monotonic() - self.began
        cores = time.process_time() - self.began_process
        energy = None
        if self.joules and self.began_joules is not None:
            energy = self.joules() - self.began_joules
        return Cost(
            seconds=seconds,
            device_seconds=seconds if self.gpu else cores,
            host_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,  # in KiB
            device_memory_bytes=torch.cuda.max_memory_allocated(self.gpu) if self.gpu else None,
            energy_joules=energy,
        )


def joules_of(device: torch.device) -> Callable[[], float] | None:
    """How to ask NVML what a GPU has used since its driver was loaded; None where it can't say."""
    if device.type != "cuda" or importlib.util.find_spec("pynvml") is None:
        return None
    nvml = importlib.import_module("pynvml")
    try:
        nvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError:  # no library, a GPU older than Volta, or a slice of one
        return None
    return lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000  # it gives millijoules


def device_name(device: torch.device) -> str:
    """The GPU's name, or "CPU" with the threads that the job may use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} thread(s)"

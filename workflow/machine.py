"""What is known of the machine: a profile says it among its default resources, never a config."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Speed:
    """What it costs to compute at all, and how fast that goes."""

    start_seconds: float  # imports, first kernels
    operations_per_second: float  # sustained
    batch_seconds: float  # to launch the kernels of a micro-batch
    position_seconds: float  # likewise of one position of a batch that is written
    base_mb: int  # of memory: Python with its libraries


CPU_SPEED = Speed(30, 5e10, 0.02, 0.005, 2_000)  # a core
GPU_SPEED = Speed(60, 3e13, 0.15, 0.03, 6_000)  # a data-centre GPU; CUDA maps some gigabytes


class Setting(Protocol):
    """A default resource of Snakemake's."""

    @property
    def raw(self) -> int | str | None:
        """As the profile has it."""
        ...


@dataclass(frozen=True)
class Machine:
    """What a profile says of the machine, among its default resources."""

    device_memory_mb: int = 0  # of each GPU; 0: there is none
    share_devices: int = 0  # 1: jobs share the GPUs, and each claims a part of one by itself

    @classmethod
    def of(cls, defaults: Mapping[str, Setting] | None) -> "Machine":
        """The machine of a profile. Raises ValueError if a number isn't one."""
        found = defaults or {}
        given = {name: found[name].raw for name in cls.__dataclass_fields__ if name in found}
        for name, value in given.items():
            if not isinstance(value, int):
                raise ValueError(f"default-resources: {name} = {value!r}: allowed: a whole number")
        return cls(**given)

    @property
    def speed(self) -> Speed:
        """Of what the models run on."""
        return GPU_SPEED if self.device_memory_mb else CPU_SPEED


CPU, GPU = Machine(), Machine(device_memory_mb=80_000)

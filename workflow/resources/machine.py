"""What is known of the machine: a profile says it among its default resources, never a config."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml


@dataclass(frozen=True)
class Speed:
    """What it costs to compute at all, and how fast that goes."""

    start_seconds: float  # imports, first kernels
    operations_per_second: float  # sustained
    batch_seconds: float  # to launch the kernels of a micro-batch
    position_seconds: float  # likewise of one position of a batch that is written
    base_mb: int  # of memory: Python with its libraries
    slack: int  # a time limit is so many times the estimate: a machine may be slower than this one


CPU_SPEED = Speed(30, 5e10, 0.02, 0.005, 2_000, slack=3)  # a core, as measured
# Of an H100, and an expectation: a fifth of the operations that it can do. This program has run on
# no GPU. An older one is slower by up to five. CUDA maps some gigabytes of the machine's memory
GPU_SPEED = Speed(60, 1.5e14, 0.15, 0.025, 6_000, slack=10)


class Setting(Protocol):
    """A default resource of Snakemake's."""

    @property
    def raw(self) -> int | str | None:
        """As the profile has it."""
        ...


@dataclass(frozen=True)
class Given:
    """A default resource as a profile's file has it."""

    raw: int | str | None


@dataclass(frozen=True)
class Machine:
    """What a profile says of the machine, among its default resources."""

    device_memory_mb: int = 0  # of each GPU; 0: there is none
    share_devices: int = 0  # 1: jobs share the GPUs, and each claims a part of one by itself
    slurm_extra: str = ""  # options of sbatch's

    @classmethod
    def of(cls, defaults: Mapping[str, Setting] | None) -> "Machine":
        """The machine of a profile. Raises ValueError if a number isn't one."""
        found = defaults or {}
        given = {name: found[name].raw for name in cls.__dataclass_fields__ if name in found}
        if "slurm_extra" in given:
            given["slurm_extra"] = _text("slurm_extra", given["slurm_extra"])
        for name, value in given.items():
            if name != "slurm_extra" and not isinstance(value, int):
                raise ValueError(f"default-resources: {name} = {value!r}: allowed: a whole number")
        return cls(**given)

    @classmethod
    def of_profile(cls, folder: Path) -> "Machine":
        """The machine of a workflow profile's folder. Raises ValueError if it holds none."""
        file = folder / "config.yaml"
        if not file.is_file():
            raise ValueError(f"{file}: there is no such file; a profile is a folder that has one")
        given = yaml.safe_load(file.read_text(encoding="utf-8")).get("default-resources") or {}
        if isinstance(given, list):  # Snakemake takes both
            given = dict(one.split("=", 1) for one in given)
            given = {name: int(one) if one.isdecimal() else one for name, one in given.items()}
        return cls.of({name: Given(value) for name, value in given.items()})

    @property
    def speed(self) -> Speed:
        """Of what the models run on."""
        return GPU_SPEED if self.device_memory_mb else CPU_SPEED


def _text(name: str, raw: object) -> str:
    """What Snakemake makes of a text in a profile: it is an expression, here a plain one."""
    try:
        value = ast.literal_eval(str(raw))
    except (SyntaxError, ValueError):
        value = raw if isinstance(raw, str) and not set("'\"") & set(raw) else None
    if not isinstance(value, str):
        raise ValueError(f"default-resources: {name} = {raw!r}: allowed: a text in quotes")
    return value


CPU, GPU = Machine(), Machine(device_memory_mb=80_000)

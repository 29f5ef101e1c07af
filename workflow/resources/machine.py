"""The machine that jobs run on, as the default resources of a Snakemake profile describe it."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import yaml


@dataclass(frozen=True)
class Speed:
    """How fast a machine computes, and what it costs before it does."""

    start_seconds: float  # imports, first kernels
    operations_per_second: float  # sustained
    batch_seconds: float  # to launch the kernels of a micro-batch
    position_seconds: float  # to launch those of one decoding step
    base_mb: int  # of memory: Python with its libraries
    slack: int  # factor from estimate to time limit: a machine may be slower than this one


CPU_SPEED = Speed(3, 5e10, 0.02, 0.005, 2_000, slack=3)  # a core, as measured, libraries loaded
# Of an H100, and an expectation: a fifth of the operations that it can do. An older GPU is up to
# five times slower. CUDA maps some gigabytes of the machine's memory
GPU_SPEED = Speed(60, 1.5e14, 0.15, 0.025, 6_000, slack=10)


PARTS = {"caches": "cache_parts", "texts": "text_parts", "evals": "evaluation_parts"}
RuleResources = Mapping[str, Mapping[str, object]]  # `set-resources`, by rule and name
COUNTS = ("gpus_per_job", "gpus_per_node", "nodes_per_job", "ranks_per_job")


@dataclass(frozen=True)
class Machine:
    """What a profile says of the machine, among its default resources."""

    device_memory_mb: int = 0  # of each GPU; 0: there is none
    share_devices: int = 0  # 1: jobs share the GPUs, and each claims a part of one
    gpus_per_job: int = 1  # that a job gets which can use them
    gpus_per_node: int = 1  # that a job may get on a node, where one is too small for its models
    nodes_per_job: int = 1  # at most
    ranks_per_job: int = 1  # processes of a job on the CPU
    shard: int = 0  # 1: jobs of several ranks shard their models, even where these fit one GPU
    slurm_extra: str = ""  # options of sbatch's
    parts: Mapping[str, int] = field(default_factory=dict)  # jobs that make parts, by folder
    of_rules: RuleResources = field(default_factory=dict)  # that are set by hand

    @classmethod
    def of(
        cls, raw: Mapping[str, object], of_rules: RuleResources = MappingProxyType({})
    ) -> "Machine":
        """The machine of some default resources. Raises ValueError if a number isn't one."""
        return cls(
            device_memory_mb=_whole_number(raw, "device_memory_mb"),
            share_devices=_whole_number(raw, "share_devices"),
            **{name: _count(raw, name) for name in COUNTS},
            shard=_whole_number(raw, "shard"),
            slurm_extra=_text("slurm_extra", raw.get("slurm_extra", "''")),
            parts={folder: _count(raw, key) for folder, key in PARTS.items() if key in raw},
            of_rules=of_rules,
        )

    @classmethod
    def of_profile(cls, folder: Path) -> "Machine":
        """The machine of a workflow profile's folder. Raises ValueError if it holds none."""
        file = folder / "config.yaml"
        if not file.is_file():
            raise ValueError(f"{file}: there is no such file; a profile is a folder that has one")
        profile = yaml.safe_load(file.read_text(encoding="utf-8"))
        raw = _by_name(profile.get("default-resources") or {})
        by_rule = profile.get("set-resources") or {}
        if isinstance(by_rule, list):
            lines: dict[str, list[str]] = {}
            for line in by_rule:
                rule, assignment = line.split(":", 1)
                lines.setdefault(rule, []).append(assignment)
            by_rule = lines
        return cls.of(raw, {rule: _by_name(each or {}) for rule, each in by_rule.items()})

    @property
    def ranks_of_node(self) -> int:
        """The most ranks of a job on one node."""
        return self.gpus_per_node if self.device_memory_mb else self.ranks_per_job

    @property
    def speed(self) -> Speed:
        """The speed of the device that models run on."""
        return GPU_SPEED if self.device_memory_mb else CPU_SPEED


def _by_name(resources: Mapping[str, object] | Sequence[str]) -> Mapping[str, object]:
    """Resources of a profile: Snakemake takes a mapping, and lines of assignments."""
    if isinstance(resources, Mapping):
        return resources
    texts = dict(line.split("=", 1) for line in resources)
    return {name: int(text) if text.isdecimal() else text for name, text in texts.items()}


def _whole_number(raw: Mapping[str, object], name: str) -> int:
    value = raw.get(name, 0)
    if not isinstance(value, int):
        raise ValueError(f"default-resources: {name} = {value!r}: allowed: a whole number")
    return value


def _count(raw: Mapping[str, object], name: str) -> int:
    if (value := _whole_number({name: 1} | dict(raw), name)) < 1:
        raise ValueError(f"default-resources: {name} = {value}: allowed: 1 or more")
    return value


def _text(name: str, raw: object) -> str:
    """The text that a profile's setting evaluates to: Snakemake takes it for an expression."""
    try:
        value = ast.literal_eval(str(raw))
    except (SyntaxError, ValueError):
        value = raw if isinstance(raw, str) and not set("'\"") & set(raw) else None
    if not isinstance(value, str):
        raise ValueError(f"default-resources: {name} = {raw!r}: allowed: a text in quotes")
    return value


CPU, GPU = Machine(), Machine(device_memory_mb=80_000)

"""What a job took, as it stands in `cost.json` beside what the job made."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import reduce
from pathlib import Path
from typing import Any

from pipeline.artifacts import artifact

FILE = "cost.json"


@dataclass(frozen=True)
class Usage:
    """What stretches of work took together."""

    seconds: float = 0.0
    device_seconds: float = 0.0  # of CPU cores, or of the GPU where there is one
    energy_joules: float | None = 0.0  # of the GPU; None where nothing measures it
    host_memory_bytes: int = 0  # at its peak, of the process
    device_memory_bytes: int | None = None  # at its peak, of the GPU; None without one

    def then(self, later: "Usage") -> "Usage":
        """Both stretches together."""
        energies = (self.energy_joules, later.energy_joules)
        measured = [one for one in energies if one is not None]
        peaks = (self.device_memory_bytes, later.device_memory_bytes)
        return Usage(
            self.seconds + later.seconds,
            self.device_seconds + later.device_seconds,
            sum(measured) if len(measured) == len(energies) else None,
            max(self.host_memory_bytes, later.host_memory_bytes),
            max((one for one in peaks if one is not None), default=None),
        )


@dataclass
class Work:
    """What a model has done since it is counted; see `pipeline.models.flops`."""

    positions: int = 0  # read
    trained_positions: int = 0  # of them, with a gradient that followed
    scored_tokens: int = 0  # distributions over the vocabulary
    written_tokens: int = 0
    flops: int | None = 0  # None where the formula doesn't hold

    def then(self, later: "Work") -> "Work":
        """Both parts of its work together."""
        return Work(
            self.positions + later.positions,
            self.trained_positions + later.trained_positions,
            self.scored_tokens + later.scored_tokens,
            self.written_tokens + later.written_tokens,
            flops_of(self, later),
        )


def flops_of(*works: Work) -> int | None:
    """Of all of them; None where one is not known."""
    known = [work.flops for work in works if work.flops is not None]
    return sum(known) if len(known) == len(works) else None


@dataclass(frozen=True)
class Compiled:
    """Whether training was compiled for a GPU, and why not."""

    yes: bool
    reason: str


@dataclass
class Captures:
    """How many decoders a process made for a GPU, by how each takes the step of a token."""

    compiled: int = 0  # captured in a CUDA graph, with its layers compiled
    uncompiled: int = 0  # captured as it is
    failed: int = 0  # launched anew, kernel by kernel, at every token
    reason: str | None = None  # why the last one that is not compiled isn't

    @property
    def text(self) -> str:
        """In words; empty where none was made."""
        counts = (
            (self.compiled, "captured and compiled"),
            (self.uncompiled, "captured"),
            (self.failed, "launched kernel by kernel"),
        )
        made = ", ".join(f"{count} {how}" for count, how in counts if count)
        return f"{made}: {self.reason}" if made and self.reason else made


CAPTURES = Captures()  # of this process; `pipeline.generation` counts


@dataclass(frozen=True)
class Cost:
    """Of one job, over all the processes that it took, pauses left out.

    The student is what a job trains or evaluates, the teacher what it asks.
    """

    seconds: float  # of the work itself: imports, loading and saving are left out
    device_seconds: float  # of CPU cores, or of the GPU where there is one
    device: str
    host_memory_bytes: int  # at its peak
    device_memory_bytes: int | None  # None on a CPU
    energy_joules: float | None  # of the GPU, where NVML gives it
    parameters: int  # of the student, or of the teacher where there is no student
    trained_tokens: int  # response tokens with a loss, each time that they are trained on
    trained_positions: int  # all that the student read with a gradient, prompts too
    student_positions: int  # all that the student read
    student_tokens: int  # distributions that the student gave
    student_written_tokens: int
    teacher_positions: int
    teacher_tokens: int  # scored by the teacher, in training and while text is written with it
    teacher_written_tokens: int
    flops: int | None  # of both models; None where the formula doesn't hold
    compiled: Compiled | None = None  # of training alone
    captures: Captures = field(default_factory=Captures)  # of its last process

    @property
    def execution(self) -> list[str]:
        """How the job used its machine, a sentence for training and one for generation."""
        found = []
        if self.compiled is not None:
            found.append(
                f"{'Compiled' if self.compiled.yes else 'Not compiled'}: {self.compiled.reason}."
            )
        if self.captures.text:
            found.append(f"Decoders: {self.captures.text}.")
        return found

    @property
    def peak_memory_bytes(self) -> int:
        """On the GPU, or in the process where there is none."""
        if self.device_memory_bytes is None:
            return self.host_memory_bytes
        return self.device_memory_bytes


def cost_of(
    usage: Usage,
    student: Work,
    teacher: Work,
    *,
    device: str,
    parameters: int,
    trained_tokens: int = 0,
    compiled: Compiled | None = None,
    captures: Captures | None = None,
) -> Cost:
    """The cost of a job from what it used and what its models did."""
    return Cost(
        **asdict(usage),
        device=device,
        parameters=parameters,
        trained_tokens=trained_tokens,
        trained_positions=student.trained_positions,
        student_positions=student.positions,
        student_tokens=student.scored_tokens,
        student_written_tokens=student.written_tokens,
        teacher_positions=teacher.positions,
        teacher_tokens=teacher.scored_tokens,
        teacher_written_tokens=teacher.written_tokens,
        flops=flops_of(student, teacher),
        compiled=compiled,
        captures=replace(captures) if captures else Captures(),
    )


def cost_of_pieces(
    pieces: Sequence[Mapping[str, Any]],
    *,
    device: str,
    parameters: int,
    captures: Captures | None = None,
) -> Cost:
    """The cost of a teacher's pass that was made in pieces, each with its `usage` and `work`."""
    usage = reduce(Usage.then, (Usage(**piece["usage"]) for piece in pieces))
    work = reduce(Work.then, (Work(**piece["work"]) for piece in pieces))
    return cost_of(usage, Work(), work, device=device, parameters=parameters, captures=captures)


def write(folder: Path, cost: Cost) -> None:
    """The cost of the artifact in `folder`, beside it."""
    artifact.write_json(folder / FILE, asdict(cost))


def read(path: Path) -> Cost:
    """The cost in a file. Raises ValueError, naming the file, where part of it is missing."""
    value = artifact.read_json(path)
    names = [field.name for field in fields(Cost)]
    if missing := [name for name in names if name not in value]:
        raise ValueError(f"{path} lacks {missing}; delete it and run again")
    found = {name: value[name] for name in names}
    said, captures = found["compiled"], Captures(**found["captures"])
    return Cost(**found | {"compiled": Compiled(**said) if said else None, "captures": captures})

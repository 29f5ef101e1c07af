"""Costs of jobs: a record that can be summed, and the `cost.json` that each job writes."""

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from pipeline.artifacts import artifact

FILE = "cost.json"
PEAKS = ("host_memory_bytes", "device_memory_bytes")  # combined by their maximum


@dataclass(frozen=True)
class Cost:
    """Time, energy, memory, tokens and FLOPs of some work; None where a figure is unknown.

    Costs add up, and `cost * 0.5` is half of one; memory stays the highest peak. A figure that is
    unknown in one part is unknown in the sum. The student is what a job trains or evaluates, the
    teacher what it learns from.
    """

    seconds: float = 0.0  # of the work itself: imports, loading and saving are left out
    device_seconds: float = 0.0  # of CPU cores, or of the GPU where there is one
    host_memory_bytes: int = 0  # peak of the process
    device_memory_bytes: int | None = None  # peak of the GPU; None without one
    energy_joules: float | None = 0.0  # of the GPU, where NVML gives it
    trained_tokens: float = 0  # response tokens with a loss, each time that they are trained on
    trained_positions: float = 0  # all that the student read with a gradient, prompts too
    student_positions: float = 0  # all that the student read
    student_tokens: float = 0  # distributions that the student gave
    student_generated_tokens: float = 0
    teacher_positions: float = 0
    teacher_tokens: float = 0  # distributions: for training, and for text generated with it
    teacher_generated_tokens: float = 0
    flops: float | None = 0  # of both models; None where the formula doesn't hold

    def __add__(self, other: "Cost") -> "Cost":
        ours, theirs = asdict(self), asdict(other)
        sums = {name: _sum(ours[name], theirs[name]) for name in ours if name not in PEAKS}
        return replace(self, **sums, **{name: _peak(ours[name], theirs[name]) for name in PEAKS})

    def __mul__(self, share: float) -> "Cost":
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return replace(self, **{name: known[name] * share for name in known if name not in PEAKS})

    @property
    def peak_memory_bytes(self) -> int:
        """Peak memory of the GPU, or of the process where there is no GPU."""
        if self.device_memory_bytes is None:
            return self.host_memory_bytes
        return self.device_memory_bytes


def _sum(value: float | None, added: float | None) -> float | None:
    return None if value is None or added is None else value + added


def _peak(value: int | None, other: int | None) -> int | None:
    return max((peak for peak in (value, other) if peak is not None), default=None)


@dataclass
class ModelCounter:
    """Running totals of what one model does; see `pipeline.models.flops`."""

    positions: int = 0  # read
    trained_positions: int = 0  # of them, with a gradient that followed
    scored_tokens: int = 0  # distributions over the vocabulary
    generated_tokens: int = 0
    flops: int | None = 0  # None where the formula doesn't hold

    def __add__(self, other: "ModelCounter") -> "ModelCounter":
        ours, theirs = vars(self), vars(other)
        return replace(self, **{name: _sum(ours[name], theirs[name]) for name in ours})

    def __sub__(self, other: "ModelCounter") -> "ModelCounter":
        known = {name: value for name, value in vars(other).items() if value is not None}
        return self + replace(other, **{name: -known[name] for name in known})

    def as_student(self) -> Cost:
        """The totals so far, as the cost of a student."""
        return Cost(
            trained_positions=self.trained_positions,
            student_positions=self.positions,
            student_tokens=self.scored_tokens,
            student_generated_tokens=self.generated_tokens,
            flops=self.flops,
        )

    def as_teacher(self) -> Cost:
        """The totals so far, as the cost of a teacher."""
        return Cost(
            teacher_positions=self.positions,
            teacher_tokens=self.scored_tokens,
            teacher_generated_tokens=self.generated_tokens,
            flops=self.flops,
        )


@dataclass(frozen=True)
class Compilation:
    """Whether training was compiled for a GPU, and why not."""

    succeeded: bool
    reason: str


@dataclass
class GraphCaptures:
    """How many decoders a process set up on a GPU, by how each runs the step of a token."""

    compiled: int = 0  # in a CUDA graph, with compiled layers
    uncompiled: int = 0  # in a CUDA graph, eager layers
    failed: int = 0  # without a graph: kernels are launched one by one at every token
    reason: str | None = None  # why the last decoder that is not compiled isn't

    @property
    def text(self) -> str:
        """The counts in words; empty without a decoder."""
        counts = (
            (self.compiled, "captured and compiled"),
            (self.uncompiled, "captured"),
            (self.failed, "launched kernel by kernel"),
        )
        text = ", ".join(f"{count} {how}" for count, how in counts if count)
        return f"{text}: {self.reason}" if text and self.reason else text


GRAPH_CAPTURES = GraphCaptures()  # of this process; `pipeline.generation` counts


@dataclass(frozen=True)
class JobCost:
    """The cost of one job, over all the processes that it ran in, pauses left out."""

    cost: Cost
    device: str
    parameters: int  # of the student, or of the teacher where there is no student
    compilation: Compilation | None = None  # of training alone
    captures: GraphCaptures = field(default_factory=GraphCaptures)  # of its last process

    @property
    def execution(self) -> list[str]:
        """How the job used its machine, a sentence for training and one for generation."""
        sentences = []
        if self.compilation is not None:
            outcome = "Compiled" if self.compilation.succeeded else "Not compiled"
            sentences.append(f"{outcome}: {self.compilation.reason}.")
        if self.captures.text:
            sentences.append(f"Decoders: {self.captures.text}.")
        return sentences


def write(folder: Path, job_cost: JobCost) -> None:
    """Writes the cost of the job that made the artifact in `folder`."""
    record = asdict(job_cost)
    artifact.write_json(folder / FILE, record.pop("cost") | record)


def read(path: Path) -> JobCost:
    """The cost in a file. Raises ValueError, naming the file, where part of it is missing."""
    record = artifact.read_json(path)
    names = [
        attribute.name
        for kind in (Cost, JobCost)
        for attribute in fields(kind)
        if attribute.name != "cost"
    ]
    if missing := [name for name in names if name not in record]:
        raise ValueError(f"{path} lacks {missing}; delete it and run again")
    compilation = record["compilation"]
    return JobCost(
        Cost(**{attribute.name: record[attribute.name] for attribute in fields(Cost)}),
        record["device"],
        record["parameters"],
        Compilation(**compilation) if compilation else None,
        GraphCaptures(**record["captures"]),
    )

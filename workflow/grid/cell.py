"""The cells of an experiment's tables."""

from dataclasses import dataclass

from workflow.grid.artifact import Artifact


@dataclass(frozen=True)
class Cell:
    """A row of `grid.csv`: a checkpoint as one teacher's tables show it."""

    kind: str  # method, teacher, untrained or start
    teacher: str
    student: str
    method: str
    seed: int
    model: Artifact

"""What is trained and shown: the trainings of students, and the cells of an experiment's tables."""

from dataclasses import dataclass

from workflow.config.trials import Trial
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


@dataclass(frozen=True)
class StudentRun:
    """One training of a student."""

    name: str  # of the row
    student: str
    teacher: str
    seed: int
    trial: Trial | None  # None: at the row's own settings or, where it is tuned, the chosen

"""Stages of paired students that label the half of the prompts which they have not seen."""

from collections.abc import Callable
from typing import Literal

from workflow.grid.artifact import Artifact

Half = Literal["first", "second"]


def labels(
    teacher: Artifact,
    stages: int,
    write: Callable[[Artifact, Half], Artifact],
    train: Callable[[Artifact, str], Artifact],
) -> list[Artifact]:
    """The texts of both halves: by the teacher, or by the last stage's students of the other half.

    `write` answers a half of the prompts by a model, `train` gives the student of a text and of a
    place, which is a readable name.
    """
    first, second = write(teacher, "first"), write(teacher, "second")
    for stage in range(1, stages + 1):
        of_first = train(first, f"stage{stage}.first")
        of_second = train(second, f"stage{stage}.second")
        first, second = write(of_second, "first"), write(of_first, "second")
    return [first, second]

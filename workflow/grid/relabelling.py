"""Paired students that label each other's half of the prompts, before a last one is trained."""

from collections.abc import Callable
from typing import Literal

from workflow.grid.artifact import Artifact

Half = Literal["first", "second"]  # of the training prompts


def last_texts(
    stages: int,
    first: Artifact,
    second: Artifact,
    train: Callable[..., Artifact],
    label: Callable[[Artifact, Half], Artifact],
) -> list[Artifact]:
    """The labels of both halves after some stages; each half's are by the other half's student."""
    for stage in range(1, stages + 1):
        of_first = train([first], f"stage{stage}.first")
        of_second = train([second], f"stage{stage}.second")
        first, second = label(of_second, "first"), label(of_first, "second")
    return [first, second]

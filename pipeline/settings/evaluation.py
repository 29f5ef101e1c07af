"""What a checkpoint is asked, and how."""

from typing import Literal

from pipeline.ranges import Count
from pipeline.settings.base import Settings
from pipeline.settings.writing import Sampling

TASKS = ("heldout", "responses")


class Evaluation(Settings):
    """The tasks of every checkpoint, teachers and untrained starts included."""

    tasks: list[Literal["heldout", "responses"]] = ["heldout", "responses"]
    items: Count | None = None  # test prompts that are answered; null: all
    sampling: Sampling = Sampling(temperature=0)
    max_new_tokens: Count = 256
    seed: int = 0

"""A teacher's distributions sampled again in each step: RS-KD without a cache of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.data.batch import Batch, Text
from pipeline.distributions.log_probs import TeacherDistributions, TeacherSignal
from pipeline.distributions.sampled_targets import redraw
from pipeline.runtime.seeding import uniform
from pipeline.runtime.transfer import to_device


@dataclass(frozen=True)
class RedrawnDistributions:
    """Shares of draws in place of a teacher's distributions on a batch."""

    teacher: TeacherDistributions
    uniforms: Float[Tensor, "tokens draws"]

    def chunk(self, rows: slice) -> TeacherSignal:
        """The shares at each of these tokens."""
        return redraw(self.teacher.chunk(rows), self.uniforms[rows])


def redrawn(
    teacher: TeacherDistributions, batch: Batch, draws: int, seed: int, step: int
) -> RedrawnDistributions:
    """A step's draws on a batch: those of a text depend on the seed, the step and its id alone."""
    numbers = _uniforms(batch.texts, draws, f"redrawn/{seed}/{step}")
    return RedrawnDistributions(teacher, to_device(numbers, batch.next_ids.device))


def _uniforms(texts: Sequence[Text], draws: int, name: str) -> Float[Tensor, "tokens draws"]:
    of_texts = [uniform(f"{name}/{text.example_id}", text.target_count, draws) for text in texts]
    return torch.cat([torch.from_numpy(numbers) for numbers in of_texts])

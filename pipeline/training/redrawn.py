"""A teacher's distributions sampled again in each step: RS-KD without a cache of its own."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from pipeline.data.batch import Batch
from pipeline.distributions.log_probs import TeacherDistributions, TeacherSignal
from pipeline.distributions.sampled_targets import redraw
from pipeline.runtime.transfer import to_device
from pipeline.teacher_cache.reduce import uniform_numbers


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
    numbers = uniform_numbers(batch.texts, draws, f"redrawn/{seed}/{step}")
    return RedrawnDistributions(teacher, to_device(numbers, batch.next_ids.device))

"""The teacher writes the next token where it and the student disagree too much.

J. Koo, Y. Hwang, Y. Kim, et al., 2025. SWITCH: Studying with Teacher for Knowledge Distillation of
Large Language Models. arXiv:2410.19503, algorithm 1. The Jensen-Shannon divergence of the two whole
next-token distributions, in bits, is compared with τ_t = τ_0 exp(-λ t). t counts the tokens of each
response from 0: the paper doesn't say where it starts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from pipeline.data.batch import Text
from pipeline.distributions.divergences import jsd
from pipeline.generation import Logits, SampledTokens, from_either
from pipeline.generation.rollouts import StepContext, regenerate, student_and_teacher
from pipeline.methods.ranges import NonNegative, Share


@dataclass(frozen=True)
class Policy:
    """Student text that the teacher takes over, more readily the longer a response gets."""

    is_off_policy = False
    decoding_passes = 2.0
    teacher_writes = True
    samples_every_text_where = ("gold_share", 0.0)

    first_threshold: NonNegative = 1.0  # τ_0, in bits; two distributions are at most 1 bit apart
    decay: NonNegative = 0.1  # λ, for each token
    gold_share: Share = 0.5  # texts trained on as drawn

    def texts(self, batch: Sequence[Text], context: StepContext) -> list[Text]:
        """The drawn texts; all but the gold share get a new response from both models."""
        return regenerate(
            batch, 1 - self.gold_share, student_and_teacher(context), self.choose, context
        )

    def choose(
        self,
        logits: Sequence[Logits],
        position: Int[Tensor, " batch"],
        uniform: Float[Tensor, "batch draws"],
    ) -> SampledTokens:
        """The student's token, or the teacher's where both are too far apart."""
        student, teacher = logits
        threshold = self.first_threshold * (-self.decay * position.double()).exp()
        return from_either(bits_apart(teacher, student) > threshold, logits, position, uniform)


def bits_apart(teacher: Logits, student: Logits) -> Float[Tensor, " batch"]:
    """The Jensen-Shannon divergence, log base 2: from 0 to 1."""
    p, q = teacher.log_softmax(-1), student.log_softmax(-1)
    return jsd(p, q, 0.5) / math.log(2)

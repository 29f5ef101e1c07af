"""Every token is drawn from a mixture of teacher and student.

Y. Gu, L. Dong, F. Wei, M. Huang, 2024. MiniLLM: Knowledge Distillation of Large Language Models.
arXiv:2306.08543, section 2.2: p̃ = α p + (1 - α) q, temperature 1. Its log-probabilities go with the
text, for the importance weight q / p̃. A token is drawn by first choosing the model at random, which
gives the same distribution and says whose token it is. Departure: each step generates its own texts
and is the only one to use them, where the source makes four passes over 256 of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.data.batch import Text
from pipeline.distributions.log_probs import target_log_prob
from pipeline.generation import Logits, SampledTokens, generate, sampler, select_teacher_or_student
from pipeline.generation.rollouts import StepContext, student_and_teacher
from pipeline.methods.ranges import Share
from pipeline.settings.generation import Sampling


@dataclass(frozen=True)
class Policy:
    """Samples from a teacher-student mixture, which prevents reward hacking."""

    is_off_policy = False
    decoding_passes = 2.0
    teacher_writes = True
    samples_every_text_where = ()  # always

    teacher_share: Share = 0.2  # α

    def texts(self, batch: Sequence[Text], context: StepContext) -> list[Text]:
        """New responses to all drawn prompts, sampled from both models."""
        return generate(
            batch,
            student_and_teacher(context),
            self.choose,
            context.max_new_tokens,
            context.seed,
            "student",
        )

    def choose(
        self,
        logits: Sequence[Logits],
        position: Int[Tensor, " batch"],
        uniform: Float[Tensor, "batch draws"],
    ) -> SampledTokens:
        """The teacher's token with probability α, else the student's."""
        student, teacher = logits
        by_teacher = uniform[:, 2] < self.teacher_share
        alone = sampler(Sampling())
        student_choice = alone([student], position, uniform)
        chosen = select_teacher_or_student(
            by_teacher, student_choice, alone([teacher], position, uniform[:, 1:])
        )

        student_part, teacher_part = (
            target_log_prob(model_logits.log_softmax(-1), chosen.tokens) + _log(share)
            for model_logits, share in zip(
                logits, (1 - self.teacher_share, self.teacher_share), strict=True
            )
        )
        return replace(chosen, log_probs=torch.logaddexp(student_part, teacher_part))


def _log(share: float) -> float:
    return math.log(share) if share else -math.inf

"""The student writes until it strays from the teacher, which then writes the rest.

J. Peng, M. Wang, H. Cai, et al., 2025. AdaSwitch: Balancing Exploration and Guidance in Knowledge
Distillation via Adaptive Switching. arXiv:2510.07842, known from its abstract and from summaries of
its rule: at each token the divergence d = KL(p ‖ q) is compared with K times the mean of the last L
before it, and the first time that it is larger the teacher takes over, once and for all. Ours are K
and L, the temperature of 1, and that the mean is of fewer where there are not L yet: the first
token is always the student's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.data.batch import Text
from pipeline.distributions.divergences import kl
from pipeline.generation import Logits, Memory, RememberingSampler, SampledTokens, from_either
from pipeline.generation.rollouts import StepContext, regenerate, student_and_teacher
from pipeline.methods.ranges import Count, Positive, Share


@dataclass(frozen=True)
class Policy:
    """Student text until KL(p ‖ q) exceeds K times its recent mean; from there the teacher's."""

    is_off_policy = False
    decoding_passes = 2.0
    teacher_writes = True
    samples_every_text_where = ("gold_share", 0.0)

    factor: Positive = 2.0  # K, of the mean of the last divergences
    window: Count = 8  # L, in tokens
    gold_share: Share = 0.0  # texts trained on as drawn

    def texts(self, batch: Sequence[Text], context: StepContext) -> list[Text]:
        """The drawn texts; all but the gold share get a new response from both models."""
        return regenerate(
            batch, 1 - self.gold_share, student_and_teacher(context), self.writer(), context
        )

    def writer(self) -> RememberingSampler:
        """The sampler. It remembers whether the teacher writes, then the last divergences."""
        return RememberingSampler(1 + self.window, self.choose)

    def choose(
        self,
        logits: Sequence[Logits],
        position: Int[Tensor, " batch"],
        uniform: Float[Tensor, "batch draws"],
        memory: Memory,
    ) -> tuple[SampledTokens, Memory]:
        """The student's token, or the teacher's from the first divergence that is too large on."""
        student, teacher = logits
        divergence = kl(teacher.log_softmax(-1), student.log_softmax(-1))
        strays = (position > 0) & (divergence > self.factor * self.recent_mean(memory, position))
        by_teacher = strays | (memory[:, 0] > 0)

        place = 1 + position % self.window
        remembered = memory.scatter(1, place[:, None], divergence[:, None].to(memory.dtype))
        remembered = torch.cat([by_teacher[:, None].to(memory.dtype), remembered[:, 1:]], dim=1)
        return from_either(by_teacher, logits, position, uniform), remembered

    def recent_mean(
        self, memory: Memory, position: Int[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """The mean of the last divergences, of which there are as many as tokens before here."""
        return memory[:, 1:].sum(1) / position.clamp(min=1, max=self.window)

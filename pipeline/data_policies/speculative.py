"""The student proposes each token; the teacher replaces those outside its own top K.

W. Xu, R. Han, Z. Wang, et al., 2025. Speculative Knowledge Distillation. arXiv:2410.11325; defaults
from their repository (google-research/speculative_kd). Departures: that code tests tokens which it
draws a second time, and keeps the first ones; here the token that is kept is the one that was
tested. It drafts five tokens at a time for one prompt; here a GPU does for a batch, and every text
is what going token by token writes, as a CPU does.

Where that code is given an expected length N, K falls in the course of a response: by max(⌈K/N⌉, 1)
after the first round of drafts and after each max(⌊N/K⌋, 1) further ones, to 1 at least. There a
round ends at a rejected token; here a round is a block of tokens, whatever was rejected in it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from pipeline.data.batch import Text
from pipeline.distributions.log_probs import target_log_prob
from pipeline.generation import Logits, SpeculativeSampler, sampler
from pipeline.generation.rollouts import StepContext, regenerate, student_and_teacher
from pipeline.methods.ranges import Count, NonNegative, NonNegativeCount, PositiveShare, Share
from pipeline.settings.generation import Sampling

DRAFTED_TOKENS = 5  # proposed between two passes of the teacher; changes no text


@dataclass(frozen=True)
class Policy:
    """Student text in which tokens outside the teacher's top K are replaced by the teacher's."""

    is_off_policy = False
    decoding_passes = 2.0
    teacher_writes = True
    later_keys = ("expected_tokens", "block_tokens")

    top: Count = 25  # K
    student_temperature: NonNegative = 0.5
    student_top_p: PositiveShare = 0.5
    teacher_temperature: NonNegative = 0.2
    teacher_top_p: PositiveShare = 0.5
    gold_share: Share = 0.0  # texts trained on as drawn; 0.5 in the source's mixed variant
    expected_tokens: NonNegativeCount = 0  # N, of a response, in which K falls; 0: K stays
    block_tokens: Count = 5  # of a round, where K falls; at 1 it has fallen to 1 after N tokens

    def texts(self, batch: Sequence[Text], context: StepContext) -> list[Text]:
        """The drawn texts; all but the gold share get a new response from both models."""
        return regenerate(
            batch, 1 - self.gold_share, student_and_teacher(context), self.draft(), context
        )

    def draft(self) -> SpeculativeSampler:
        """The sampler: the student proposes, the teacher rejects and samples a replacement."""
        propose = sampler(Sampling(temperature=self.student_temperature, top_p=self.student_top_p))
        instead = sampler(Sampling(temperature=self.teacher_temperature, top_p=self.teacher_top_p))
        return SpeculativeSampler(propose, self.refuse, instead, DRAFTED_TOKENS)

    def refuse(
        self, proposed: Int[Tensor, " batch"], teacher: Logits, position: Int[Tensor, " batch"]
    ) -> Bool[Tensor, " batch"]:
        """A mask of the tokens outside the teacher's top K."""
        largest = teacher.topk(min(self.top, teacher.shape[-1])).values
        last = self.top_at(position).clamp(max=largest.shape[-1]) - 1
        return target_log_prob(teacher, proposed) < largest.gather(-1, last[:, None])[:, 0]

    def top_at(self, position: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """K at places of a response."""
        if not self.expected_tokens:
            return torch.full_like(position, self.top)
        fall = max(math.ceil(self.top / self.expected_tokens), 1)
        rounds = max(self.expected_tokens // self.top, 1)
        falls = (position // self.block_tokens + rounds - 1) // rounds  # rounded up
        return (self.top - fall * falls).clamp(min=1)

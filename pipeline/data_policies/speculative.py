"""The student proposes each token; the teacher replaces those outside its own top K.

W. Xu, R. Han, Z. Wang, et al., 2025. Speculative Knowledge Distillation. arXiv:2410.11325; defaults
from their repository (google-research/speculative_kd). Departures: that code tests tokens which it
draws a second time, and keeps the first ones; here the token that is kept is the one that was
tested. It drafts five tokens at a time for one prompt; here a GPU does for a batch, and every text
is what going token by token writes, as a CPU does. K stays constant.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Int
from torch import Tensor

from pipeline.data.batch import Text
from pipeline.distributions.log_probs import target_log_prob
from pipeline.generation import Logits, SpeculativeSampler, sampler
from pipeline.generation.rollouts import StepContext, regenerate, student_and_teacher
from pipeline.methods.ranges import Count, NonNegative, PositiveShare, Share
from pipeline.settings.generation import Sampling

DRAFTED_TOKENS = 5  # proposed between two passes of the teacher; changes no text


@dataclass(frozen=True)
class Policy:
    """Student text in which tokens outside the teacher's top K are replaced by the teacher's."""

    is_off_policy = False
    decoding_passes = 2.0
    teacher_writes = True

    top: Count = 25  # K
    student_temperature: NonNegative = 0.5
    student_top_p: PositiveShare = 0.5
    teacher_temperature: NonNegative = 0.2
    teacher_top_p: PositiveShare = 0.5
    gold_share: Share = 0.0  # texts trained on as drawn; 0.5 in the source's mixed variant

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

    def refuse(self, proposed: Int[Tensor, " batch"], teacher: Logits) -> Bool[Tensor, " batch"]:
        """A mask of the tokens outside the teacher's top K."""
        least = teacher.topk(min(self.top, teacher.shape[-1])).values[:, -1]
        return target_log_prob(teacher, proposed) < least

"""Generalised Jensen-Shannon divergence on the student's top K tokens.

I. Shenfeld, M. Damani, J. Hübotter, P. Agrawal, 2026. Self-Distillation Enables Continual Learning.
arXiv:2601.19897; details from TRL's SDFT trainer: both distributions are renormalised on the tokens
to which the student gives most probability, and what lies outside is left out. So it is no
divergence of the whole distributions: mass that the teacher has elsewhere goes unseen. β weighs the
teacher, as in `jsd`.
"""

from dataclasses import dataclass

from pipeline.distributions.divergences import jsd
from pipeline.distributions.log_probs import (
    LogProbs,
    PerToken,
    TokenContext,
    require_whole_vocabulary,
)
from pipeline.methods.ranges import Count, OpenShare


@dataclass(frozen=True)
class Loss:
    """β KL(p' ‖ m) + (1 - β) KL(q' ‖ m), p' and q' renormalised on the K tokens of largest q."""

    on_sparse_support = "refused"  # it holds the teacher's top K

    teacher_weight: OpenShare = 0.5  # β
    student_top: Count = 100  # K

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        require_whole_vocabulary(tokens)
        top = student.detach().topk(min(self.student_top, student.shape[-1]), dim=-1).indices
        p, q = (each.gather(-1, top).log_softmax(-1) for each in (teacher, student))
        return jsd(p, q, self.teacher_weight)

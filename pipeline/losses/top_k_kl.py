"""Forward or reverse KL on the K most likely tokens of one model, and a bucket for all others.

The bucket keeps both distributions normalised, without which neither term is a divergence: forward
KL on a bare top K is often negative, and reverse KL drives the student's mass out of the support.
TRL's trainer for on-policy distillation has the bucket, too, and its rule for whose K tokens these
are: the teacher's for forward KL, the student's for reverse KL. What the student finds likely
changes with every step, so this needs the whole vocabulary of a teacher; on the teacher's K tokens
alone, `forward_kl` and `reverse_kl` from a `top_k` cache are much the same.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.distributions.divergences import two_sided_kl
from pipeline.distributions.log_probs import (
    LogProbs,
    PerToken,
    TokenContext,
    require_whole_vocabulary,
)
from pipeline.methods.ranges import Count, Share

Outcomes = Float[Tensor, "tokens outcomes"]  # K tokens and the bucket


@dataclass(frozen=True)
class Loss:
    """w KL(p ‖ q) + (1 - w) KL(q ‖ p) on the top K of the teacher or the student, and a bucket."""

    on_sparse_support = "refused"  # the student's top K may lie outside

    top: Count = 32  # K
    forward_weight: Share = 0.0  # w
    by_student: bool = True  # whose top K

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        require_whole_vocabulary(tokens)
        ranked = student.detach() if self.by_student else teacher
        if self.top < ranked.shape[-1]:
            ids = ranked.topk(self.top).indices
            teacher, student = with_bucket(teacher, ids), with_bucket(student, ids)
        return two_sided_kl(teacher, student, self.forward_weight)


def with_bucket(log_probs: LogProbs, ids: Int[Tensor, "tokens k"]) -> Outcomes:
    """The log-probabilities of some tokens, then of all others together."""
    others = log_probs.scatter(-1, ids, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([log_probs.gather(-1, ids), others], dim=-1)

"""DistiLLM-2: skew KL on the teacher's text, skew reverse KL on the student's.

J. Ko, T. Chen, S. Kim, T. Ding, L. Liang, I. Zharkov, S.-Y. Yun, 2025. DistiLLM-2: A Contrastive
Approach Boosts the Distillation of LLMs. arXiv:2503.07067; details from their repository
(jongwooko/distillm-2). There β stays 1 unless `gradual` is on, and the student in the mixture of
the reverse term is held constant. Departure: a mean over tokens, as for all methods here, where
theirs is over texts. The skew that adapts is in `contrastive_pair_adaptive`.
"""

from dataclasses import dataclass

import torch

from pipeline.distributions.divergences import Weight, kl, mixture, skew_kl
from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext
from pipeline.methods.ranges import OpenShare


@dataclass(frozen=True)
class Loss:
    """(2-β) KL(p ‖ α p + (1-α) q) on the teacher's text, β KL(q ‖ (1-α) p + α q) on the student's.

    β = 1, or with `gradual` from 1 to 1.5 in the first half of the training.
    """

    needs_pairs = True
    on_sparse_support = "lower"

    skew: OpenShare = 0.1  # α
    gradual: bool = False

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        return contrast(teacher, student, tokens, self.skew, self.gradual)


def contrast(
    p: LogProbs, q: LogProbs, tokens: TokenContext, skew: Weight, gradual: bool
) -> PerToken:
    """The loss for a given skew, one for all tokens or one for each."""
    student_weight = 1 + min(1.0, 2 * tokens.progress) / 2 if gradual else 1.0  # β
    on_teacher_text = (2 - student_weight) * skew_kl(p, q, skew)
    on_student_text = student_weight * kl(q, mixture(q.detach(), p, skew))
    return torch.where(tokens.by_student, on_student_text, on_teacher_text)

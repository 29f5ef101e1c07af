"""Entropy-aware OPD: reverse KL, and forward KL beside it where the teacher is unsure.

W. Jin, T. Min, Y. Yang, et al., 2026. Entropy-Aware On-Policy Distillation of Language Models.
arXiv:2603.07079, known from its abstract: reverse KL loses what else the teacher might say, so
where the teacher's entropy is high forward KL is added. From which entropy on, and with which
weight, is ours.
"""

from dataclasses import dataclass

from pipeline.distributions.divergences import entropy, kl
from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext
from pipeline.methods.ranges import NonNegative


@dataclass(frozen=True)
class Loss:
    """KL(q ‖ p) + w KL(p ‖ q) where the teacher's entropy is above τ, else KL(q ‖ p)."""

    on_sparse_support = "lower"

    entropy_threshold: NonNegative = 0.7  # τ, in nats: some two continuations as likely
    forward_weight: NonNegative = 1.0  # w

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        is_unsure = entropy(teacher) > self.entropy_threshold
        return kl(student, teacher) + self.forward_weight * is_unsure * kl(teacher, student)

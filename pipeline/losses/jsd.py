"""Generalised Jensen-Shannon divergence.

R. Agarwal, N. Vieillard, et al., 2024. On-Policy Distillation of Language Models. arXiv:2306.13649,
section 3. Convention: β weighs the teacher, in the mixture and outside it, as in the paper and TRL.
KDFlow puts it on the student; the DistiLLM repository names 1 - β.
"""

from dataclasses import dataclass

from pipeline.distributions.divergences import jsd
from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext
from pipeline.methods.ranges import OpenShare


@dataclass(frozen=True)
class Loss:
    """β KL(p ‖ m) + (1 - β) KL(q ‖ m) with m = β p + (1 - β) q."""

    needs_only_distributions = True
    on_sparse_support = "lower"

    teacher_weight: OpenShare = 0.5  # β

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        return jsd(teacher, student, self.teacher_weight)

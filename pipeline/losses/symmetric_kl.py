"""Forward and reverse KL in fixed shares.

T. Wu, C. Tao, J. Wang, R. Yang, Z. Zhao, N. Wong, 2024. Rethinking Kullback-Leibler Divergence in
Knowledge Distillation for Large Language Models. arXiv:2404.02657, where it is the baseline of AKL.
"""

from dataclasses import dataclass

from pipeline.distributions.divergences import two_sided_kl
from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext
from pipeline.methods.ranges import Share


@dataclass(frozen=True)
class Loss:
    """w KL(p ‖ q) + (1 - w) KL(q ‖ p); half of Jeffreys' divergence at w = ½."""

    needs_only_distributions = True
    on_sparse_support = "lower"

    forward_weight: Share = 0.5  # w

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        return two_sided_kl(teacher, student, self.forward_weight)

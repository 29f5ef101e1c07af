"""ABKD: the alpha-beta divergence.

G. Wang, Z. Yang, Z. Wang, S. Wang, Q. Xu, Q. Huang, 2025. ABKD: Pursuing a Proper Allocation of the
Probability Mass in Knowledge Distillation via α-β-Divergence. arXiv:2505.04560. The exponents for
language models are those that AdaKD's and AMiD's repositories give for it. It isn't an f-divergence
unless α + β = 1: on a sparse support it may be off either way.
"""

from dataclasses import dataclass

from pipeline.distributions.divergences import alpha_beta
from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext
from pipeline.methods.ranges import Positive


@dataclass(frozen=True)
class Loss:
    """-1/(αβ) Σ [p^α q^β - α/(α+β) p^(α+β) - β/(α+β) q^(α+β)]."""

    needs_only_distributions = True

    teacher_power: Positive = 0.2  # α
    student_power: Positive = 0.7  # β

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        return alpha_beta(teacher, student, self.teacher_power, self.student_power)

"""Skew reverse KL: reverse KL to a teacher with a little of the student mixed in.

J. Ko, S. Kim, T. Chen, S.-Y. Yun, 2024. DistiLLM: Towards Streamlined Distillation for Large
Language Models. arXiv:2402.03898; α from their repository (jongwooko/distillm). The gradient goes
through the mixture too.
"""

from dataclasses import dataclass

from pipeline.distributions.divergences import skew_kl
from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext
from pipeline.methods.ranges import OpenShare


@dataclass(frozen=True)
class Loss:
    """KL(q ‖ (1 - α) p + α q)."""

    needs_only_distributions = True
    on_sparse_support = "lower"

    skew: OpenShare = 0.1  # α, the student's weight in the mixture

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        return skew_kl(student, teacher, self.skew)

"""Skew KL: forward KL to a student with a little of the teacher mixed in.

J. Ko, S. Kim, T. Chen, S.-Y. Yun, 2024. DistiLLM: Towards Streamlined Distillation for Large
Language Models. arXiv:2402.03898; α from their repository (jongwooko/distillm), which drops the
teacher's entropy. Here it stays, so that zero means equal.
"""

from dataclasses import dataclass

from pipeline.distributions import divergences
from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext
from pipeline.methods.ranges import OpenShare


@dataclass(frozen=True)
class Loss:
    """KL(p ‖ α p + (1 - α) q)."""

    needs_only_distributions = True
    on_sparse_support = "lower"

    skew: OpenShare = 0.1  # α, the teacher's weight in the mixture

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        return divergences.skew_kl(teacher, student, self.skew)

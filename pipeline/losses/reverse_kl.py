"""Reverse KL at each token, on whatever text is trained on.

Y. Gu, L. Dong, F. Wei, M. Huang, 2024. MiniLLM: Knowledge Distillation of Large Language Models.
arXiv:2306.08543, where it is the objective; without their policy gradient (see `minillm`).
"""

from dataclasses import dataclass

from pipeline.distributions.divergences import kl
from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext


@dataclass(frozen=True)
class Loss:
    """KL(q ‖ p): the student must say only what the teacher might."""

    needs_only_distributions = True
    on_sparse_support = "lower"

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        return kl(student, teacher)

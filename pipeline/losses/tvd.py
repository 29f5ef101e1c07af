"""Total variation distance at each token.

Y. Wen, Z. Li, W. Du, L. Mou, 2023. f-Divergence Minimization for Sequence-Level Knowledge
Distillation. arXiv:2307.15190, its step-wise term. Departure: on whatever text is trained on; the
source takes half of it on the teacher's and half on the student's own samples. The ATKD repository
masks it the wrong way round, so that its rows with TVD trained on prompts.
"""

from dataclasses import dataclass

from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext


@dataclass(frozen=True)
class Loss:
    """½ Σ |p - q|: bounded by 1, and insensitive to how wrong an already wrong token is."""

    needs_only_distributions = True
    on_sparse_support = "lower"

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        return (teacher.exp() - student.exp()).abs().sum(-1) / 2

"""Cross entropy on the ground-truth next token: SFT, and SeqKD on the teacher's text.

Y. Kim, A. M. Rush, 2016. Sequence-Level Knowledge Distillation. arXiv:1606.07947, for the latter.
"""

from dataclasses import dataclass

from torch import Tensor

from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext, target_log_prob


@dataclass(frozen=True)
class Loss:
    """-log q(next token); what the teacher thinks plays no part."""

    reads_teacher = False
    zero_when_equal = False  # it compares with the text, not with the teacher
    on_sparse_support = "equal"  # it reads the target alone

    def __call__(self, teacher: Tensor | None, student: LogProbs, tokens: TokenContext) -> PerToken:
        return -target_log_prob(student, tokens.target)

"""Forward KL, the classic word-level distillation.

G. Hinton, O. Vinyals, J. Dean, 2015. Distilling the Knowledge in a Neural Network.
arXiv:1503.02531; at each token as in Y. Kim, A. M. Rush, 2016, arXiv:1606.07947, eq. 3. Temperature
1. Some repositories drop the teacher's entropy; here it stays, so that zero means equal.
"""

from dataclasses import dataclass

from pipeline.distributions.divergences import kl
from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext


@dataclass(frozen=True)
class Loss:
    """KL(p ‖ q): the student must cover all that the teacher may say."""

    needs_only_distributions = True
    on_sparse_support = "lower"

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        return kl(teacher, student)

"""CKD-inspired: beside forward KL, the teacher's differences between positions of a text.

A. Wilf, A. T. Xu, P. P. Liang, A. Obolenskiy, D. Fried, L.-P. Morency, 2023. Comparative Knowledge
Distillation. arXiv:2311.02253, known from its abstract: a student is to match how the teacher's
view of one sample differs from its view of another. The details are ours. Samples are the positions
of a text, the view is the centred log-probabilities, which are the logits up to a constant.
Differences leave a common error of all positions unseen, so forward KL is added. It needs the whole
vocabulary.
"""

from dataclasses import dataclass

from pipeline.distributions.divergences import kl
from pipeline.distributions.log_probs import (
    LogProbs,
    PerToken,
    TokenContext,
    require_whole_vocabulary,
)
from pipeline.distributions.per_sequence import text_mean
from pipeline.methods.ranges import NonNegative


@dataclass(frozen=True)
class Loss:
    """KL(p_i ‖ q_i) + w · mean over j and the vocabulary of ((s_i - s_j) - (t_i - t_j))².

    s and t are the centred log-probabilities of student and teacher, i and j positions of a text.
    """

    on_sparse_support = "refused"  # supports differ between positions

    relation_weight: NonNegative = 0.1  # w

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        require_whole_vocabulary(tokens)
        error = _centred(student) - _centred(teacher)
        # mean_j |e_i - e_j|² = |e_i - ē|² + mean_j |e_j - ē|²: no pairs needed
        apart = (error - text_mean(error, tokens)).square().mean(-1)
        return kl(teacher, student) + self.relation_weight * (apart + text_mean(apart, tokens))


def _centred(log_probs: LogProbs) -> LogProbs:
    return log_probs - log_probs.mean(-1, keepdim=True)

"""Estimators of the reverse KL from one token, as losses: what their gradients really are.

J. Schulman, 2020. Approximating KL Divergence. joschu.net/blog, as RL libraries use them for
distillation (such as verl, which offers all three). With r = p / q of a token y that the student
wrote, k1 = -log r, k2 = ½ (log r)² and k3 = r - 1 - log r. In expectation over y ~ q, k1 and k3 are
the reverse KL; where only log q has a gradient and y is taken as fixed, that gradient is

    of k1  zero             of k2  that of KL(q ‖ p)             of k3  that of KL(p ‖ q)

so that a loss by k3 is a noisy forward KL, whose weights r have no bound. k1 serves as an advantage
alone, which is what `opd` is. Where another distribution w wrote, the importance weight q / w is
held constant. In k3, |log r| is limited to 20, which float32 needs.
"""

from dataclasses import dataclass

from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext, target_log_prob
from pipeline.distributions.per_sequence import importance_weight
from pipeline.methods.ranges import KlEstimator

MOST_LOG_RATIO = 20.0


@dataclass(frozen=True)
class Loss:
    """(q / q_written) k2 = ½ (log r)² or k3 = r - 1 - log r, with r = p / q of the written token.

    The importance weight is held constant.
    """

    needs_sampled_texts = True
    on_sparse_support = "equal"  # it reads the target alone

    estimator: KlEstimator = "k2"

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        log_q = target_log_prob(student, tokens.target)
        weight = importance_weight(log_q.detach(), tokens)
        log_ratio = target_log_prob(teacher, tokens.target) - log_q
        if self.estimator == "k2":
            return weight * log_ratio.square() / 2
        log_ratio = log_ratio.clamp(-MOST_LOG_RATIO, MOST_LOG_RATIO)
        return weight * (log_ratio.expm1() - log_ratio)

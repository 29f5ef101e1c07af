"""On-policy distillation: each token of the student's own text is rewarded by the teacher.

K. Lu and Thinking Machines Lab, 2025. On-Policy Distillation. thinkingmachines.ai/blog; details
from their repository (tinker-cookbook, train_on_policy.py): discount 0, importance sampling without
clipping. On the student's own text its gradient is that of the reverse KL of R. Agarwal et al.,
2024, arXiv:2306.13649, in expectation. Of the teacher it needs p(y) alone, so a sparse support is
exact.
"""

from dataclasses import dataclass

from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext, target_log_prob
from pipeline.distributions.per_sequence import importance_weight


@dataclass(frozen=True)
class Loss:
    """-r A with r = q / q_written and A = log p - log q of the written token, held constant."""

    needs_sampled_texts = True
    on_sparse_support = "equal"  # it reads the target alone

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        return policy_gradient(student, tokens, log_ratio(teacher, student, tokens))


def log_ratio(teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
    """Log p - log q of the written token, without gradient: what one sample says of -KL(q ‖ p)."""
    log_q = target_log_prob(student, tokens.target)
    return target_log_prob(teacher, tokens.target) - log_q.detach()


def policy_gradient(student: LogProbs, tokens: TokenContext, advantage: PerToken) -> PerToken:
    """-r A with the importance weight r = q / q_written and an advantage A without gradient."""
    return -importance_weight(target_log_prob(student, tokens.target), tokens) * advantage

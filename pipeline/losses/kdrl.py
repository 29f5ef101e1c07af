"""KDRL-like: answers that are right are reinforced, and the teacher holds the student near itself.

H. Xu, Q. Zhu, H. Deng, et al., 2025. KDRL: Post-Training Reasoning LLMs via Unified Knowledge
Distillation and Reinforcement Learning. arXiv:2506.02208, known from its abstract: the objective of
GRPO and the reverse KL to a teacher in one. Its formulas were not read, so these are ours: the
advantage of a response is its reward's distance from the mean of its group in standard deviations,
as in GRPO, held for each of its tokens, and the KL is exact at each token. Nothing is clipped: a
text serves the step that it was written for.
"""

from dataclasses import dataclass

from pipeline.distributions.divergences import kl
from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext
from pipeline.losses.opd import policy_gradient
from pipeline.methods.ranges import NonNegative


@dataclass(frozen=True)
class Loss:
    """-r A + w KL(q ‖ p) with r = q / q_written, and A the response's advantage in its group."""

    needs_sampled_texts = True
    needs_rewards = True
    on_sparse_support = "lower"
    zero_when_equal = False  # a right answer is worth more than the teacher's agreement

    kl_weight: NonNegative = 0.5  # w

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        gain = policy_gradient(student, tokens, tokens.advantages)
        return gain + self.kl_weight * kl(student, teacher)

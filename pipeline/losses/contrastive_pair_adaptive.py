"""DistiLLM-2's pair with a skew for each text: the closer the student, the smaller.

J. Ko, T. Chen, S. Kim, T. Ding, L. Liang, I. Zharkov, S.-Y. Yun, 2025. DistiLLM-2: A Contrastive
Approach Boosts the Distillation of LLMs. arXiv:2503.07067; details from their repository
(jongwooko/distillm-2), where it is off by default. Departures: the anchor m is the mean gap over
the optimizer step, where theirs is that of the first batch; the gap is taken without its sign, so
that it is one for texts of either author; a mean over tokens, where theirs is over texts.
"""

from dataclasses import dataclass

import torch

from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext, target_log_prob
from pipeline.distributions.per_sequence import text_mean
from pipeline.losses.contrastive_pair import contrast
from pipeline.methods.ranges import OpenShare


@dataclass(frozen=True)
class Loss:
    """The pair with α = clip(1 - (1 - α₀) m / gap, least, α₀), gap = |p̄ - q̄| of the text.

    p̄ and q̄ are the geometric means of the next tokens' probabilities, m the mean gap of the step.
    """

    needs_pairs = True

    skew: OpenShare = 0.1  # α₀, also the greatest
    least_skew: OpenShare = 0.01
    gradual: bool = True

    def step_statistic(
        self, teacher: LogProbs, student: LogProbs, tokens: TokenContext
    ) -> PerToken:
        """The gap between teacher and student over the token's text."""
        p, q = (target_log_prob(log_probs, tokens.target) for log_probs in (teacher, student))
        return (text_mean(p, tokens).exp() - text_mean(q, tokens).exp()).abs()

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        assert tokens.step_statistics is not None
        gap = self.step_statistic(teacher, student.detach(), tokens)
        # without a gap m / gap is infinite, and the skew the least
        closeness = torch.where(gap > 0, tokens.step_statistics.mean() / gap, torch.inf)
        skew = (1 - (1 - self.skew) * closeness).clamp(self.least_skew, self.skew)
        return contrast(teacher, student, tokens, skew[:, None], self.gradual)

"""MiniLLM: reverse KL of whole texts by policy gradient, and at each token exactly.

Y. Gu, L. Dong, F. Wei, M. Huang, 2024. MiniLLM: Knowledge Distillation of Large Language Models.
arXiv:2306.08543, section 2.2; details from their repository (microsoft/LMOps, minillm/). The text
is written under p̃, a mixture of teacher and student or the student alone; r = q / p̃ at each token
is the importance weight, which PPO clips. Rewards, returns and whitening are constants. q is the
student at hand: where a text serves several steps, r is the repository's product of q over the
student that wrote, and of that over p̃.

Departures: rewards are those of the student at hand, where the repository keeps those of the one
that wrote; whitening is over the response tokens of the step, where padding counts too. Passes over
a set of texts are `teacher_mixed`'s, the term on plain text is the training loop's.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.distributions.divergences import kl
from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext, target_log_prob
from pipeline.distributions.per_sequence import (
    from_grid,
    importance_weight,
    split_by_text,
    to_grid,
    uses_grid,
)
from pipeline.losses.opd import log_ratio
from pipeline.methods.ranges import OpenShare, Positive, Share

WHITENING_FLOOR = 1e-8  # added to the variance: equal advantages are zero, not 0 / 0


@dataclass(frozen=True)
class Loss:
    """-min(r A, clip(r, 1±ε) A) + KL(q ‖ p), r = q/p̃ and A the whitened return from here on.

    The return is Σ γ^(t'-t) R over the rest of the text, divided by its length; R = log(p/q) / 0.5.
    """

    needs_sampled_texts = True

    reward_scale: Positive = 0.5  # that rewards are divided by
    reward_limit: Positive = 100.0
    discount: Share = 0.95  # γ
    ratio_margin: OpenShare = 0.2  # ε

    def step_statistic(
        self, teacher: LogProbs, student: LogProbs, tokens: TokenContext
    ) -> PerToken:
        """The return from each token on, per token left."""
        rewards = log_ratio(teacher, student, tokens) / self.reward_scale
        rewards = rewards.clamp(-self.reward_limit, self.reward_limit)
        if uses_grid(rewards):
            reward_grid, weights = to_grid(rewards, tokens), self._weights(tokens.offsets, rewards)
            left = (tokens.lengths[:, None] - tokens.offsets).clamp(min=1)
            return from_grid(reward_grid @ weights.T / left, tokens)
        return torch.cat([self._returns(of_text) for of_text in split_by_text(rewards, tokens)])

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        assert tokens.step_statistics is not None
        spread = (tokens.step_statistics.var(correction=0) + WHITENING_FLOOR).sqrt()
        returns = self.step_statistic(teacher, student.detach(), tokens)
        advantage = (returns - tokens.step_statistics.mean()) / spread

        ratio = importance_weight(target_log_prob(student, tokens.target), tokens)
        clipped = ratio.clamp(1 - self.ratio_margin, 1 + self.ratio_margin)
        gain = torch.minimum(ratio * advantage, clipped * advantage)
        return kl(student, teacher) - gain

    def _returns(self, rewards: Float[Tensor, " time"]) -> Float[Tensor, " time"]:
        positions = torch.arange(len(rewards), device=rewards.device)
        return self._weights(positions, rewards) @ rewards / (len(rewards) - positions)

    def _weights(self, positions: Int[Tensor, " time"], like: Tensor) -> Float[Tensor, "time time"]:
        positions = positions.to(like.dtype)
        ahead = positions[None, :] - positions[:, None]  # [from, to]
        return torch.where(ahead >= 0, self.discount ** ahead.clamp(min=0), 0)

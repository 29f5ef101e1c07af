"""ATKD: easy tokens teach diversity alone, hard tokens the target too.

Q. Zhong, L. Ding, L. Shen, J. Liu, B. Du, D. Tao, 2024. Revisiting Knowledge Distillation for
Autoregressive Language Models. arXiv:2402.11890; details from their repository (WHU-ZQH/ATKD). It
rests on KL(p ‖ q) = TKD + (1 - p_g) DKD for the next token g; 1 - p_g is the uncertainty, and a
token is hard from its median on, or from where the `hard_share` of tokens begins. Each group is
averaged over its own count.

Departures: the median is over the whole optimizer step, where the repository takes a micro-batch;
EOS is a target like any other. `reverse` makes p and q change roles, also in what is hard, as the
repository does. It is defined there for KL alone; on another base divergence the plug-in is our
definition: TKD and DKD are that divergence between the same pairs of distributions.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.distributions.divergences import binary_target, without_target
from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext
from pipeline.losses import Loss as BaseLoss
from pipeline.losses import base_divergence
from pipeline.methods.ranges import BaseDivergence, PositiveShare, Share


@dataclass(frozen=True)
class Loss:
    """λ · mean over easy tokens of DKD + (1 - λ) · mean over hard tokens of (TKD + DKD).

    TKD = D((p_g, 1-p_g), (q_g, 1-q_g)) and DKD = D(p̂, q̂), p̂ and q̂ without the next token g.
    """

    on_sparse_support = "lower"

    easy_weight: Share = 0.2  # λ
    hard_share: PositiveShare = 0.5  # k, of the step's tokens; 1: all are hard
    base: BaseDivergence = "forward_kl"  # D, with its own defaults
    reverse: bool = False

    divergence = cached_property(base_divergence)

    def __post_init__(self) -> None:
        """Builds D now: a compiled step can't import it."""
        assert isinstance(self.divergence, BaseLoss)

    def step_statistic(
        self, teacher: LogProbs, student: LogProbs, tokens: TokenContext
    ) -> PerToken:
        """log(1 - p_g), the logarithm of the uncertainty: the same ranks, more digits."""
        judge = student if self.reverse else teacher
        return binary_target(judge, tokens.target)[:, 1]

    def _least_of_hard(self, uncertainty: Float[Tensor, " step_tokens"]) -> Float[Tensor, ""]:
        if self.hard_share == 0.5:
            return uncertainty.median()
        return uncertainty.quantile(1 - self.hard_share, interpolation="lower")

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        assert tokens.step_statistics is not None
        p, q = (student, teacher) if self.reverse else (teacher, student)
        g = tokens.target
        target_part = self.divergence(binary_target(p, g), binary_target(q, g), tokens)  # TKD
        diverse_part = self.divergence(without_target(p, g), without_target(q, g), tokens)  # DKD

        least = self._least_of_hard(tokens.step_statistics)
        hard_share = (tokens.step_statistics >= least).to(p.dtype).mean()
        hard = self.step_statistic(teacher, student.detach(), tokens) >= least
        # the loop divides by all tokens, so a group's weight is divided by its share
        hard_weight, easy_weight = 1 - self.easy_weight, self.easy_weight
        weight = torch.where(hard, hard_weight / hard_share, easy_weight / (1 - hard_share))
        return weight * (diverse_part + torch.where(hard, target_part, 0))

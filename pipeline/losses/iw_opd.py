"""IW-OPD: on-policy distillation that weighs the beginning of a response more.

IW-OPD, 2026. arXiv:2606.22600, known from its implementation in TRL (trl/experimental/iw_opd): a
token's weight falls from 1 + γ to 1 with the share of the response's absolute advantages that lies
before it, so that what the student decides early counts more. Departure: TRL adds 1e-8 to the sum
that shares are of, where a response whose advantages are all zero has the weight 1 + γ here.
"""

from dataclasses import dataclass

import torch

from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext
from pipeline.distributions.per_sequence import from_grid, to_grid
from pipeline.losses.opd import log_ratio, policy_gradient
from pipeline.methods.ranges import NonNegative


@dataclass(frozen=True)
class Loss:
    """-w r A, the loss of OPD with w_t = 1 + γ (1 - Σ_{s<t} |A_s| / Σ_s |A_s|) of a response."""

    needs_sampled_texts = True
    on_sparse_support = "equal"  # it reads the target alone

    early_weight: NonNegative = 0.5  # γ

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        advantage = log_ratio(teacher, student, tokens)
        sizes = to_grid(advantage.abs(), tokens)  # [texts, longest]
        before, total = sizes.cumsum(1) - sizes, sizes.sum(1, keepdim=True)
        # without any advantage there is nothing to weigh
        share_before = torch.where(total > 0, before / total, 0)
        weight = 1 + self.early_weight * (1 - from_grid(share_before, tokens))
        return policy_gradient(student, tokens, weight * advantage)

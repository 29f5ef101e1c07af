"""Decoupled KD: the next token against the others, and the others among themselves.

B. Zhao, Q. Cui, R. Song, Y. Qiu, J. Liang, 2022. Decoupled Knowledge Distillation.
arXiv:2203.08679; details from their repository (megvii-research/mdistiller). With weights 1
and 1 - p_g it would be KL(p ‖ q). Departures: the class is the ground-truth next token;
temperature 1 (theirs: 4), no cross entropy and no warm-up of the loss, as for all methods here. β
is what they use most on CIFAR-100; nothing says that it suits language.
"""

from dataclasses import dataclass

from pipeline.distributions.divergences import binary_target, kl, without_target
from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext
from pipeline.methods.ranges import NonNegative


@dataclass(frozen=True)
class Loss:
    """α KL((p_g, 1-p_g) ‖ (q_g, 1-q_g)) + β KL(p̂ ‖ q̂), p̂ and q̂ without the next token g."""

    on_sparse_support = "lower"  # its target part is exact

    target_weight: NonNegative = 1.0  # α
    others_weight: NonNegative = 8.0  # β

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        g = tokens.target
        target_part = kl(binary_target(teacher, g), binary_target(student, g))
        others_part = kl(without_target(teacher, g), without_target(student, g))
        return self.target_weight * target_part + self.others_weight * others_part

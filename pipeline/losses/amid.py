"""AMiD: the teacher against a mean of teacher and student, along a path of chosen curvature.

D. Shin, Y. Kim, S. Jo, B. Na, I.-C. Moon, 2025. AMiD: Knowledge Distillation for LLMs with
α-mixture Assistant Distribution. arXiv:2510.15982; defaults from their repository
(aailab-kaist/AMiD): the alpha-beta divergence from the teacher to the assistant, the gradient
through the assistant. α = -1 is the arithmetic mean (as in skew KL), α = 1 the geometric (as in
TAID). Departure: on whatever text is trained on; their script writes student text as DistiLLM does.
On a sparse support it may be off either way.
"""

from dataclasses import dataclass

import torch

from pipeline.distributions.divergences import alpha_beta, mixture
from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext
from pipeline.methods.ranges import OpenShare, Positive, Real


@dataclass(frozen=True)
class Loss:
    """D_ab(p, r) with r ∝ (λ p^c + (1 - λ) q^c)^(1/c) and c = (1 - α) / 2.

    D_ab is the alpha-beta divergence of `abkd`, whose exponents are a and b here: α is taken.
    """

    needs_only_distributions = True

    curvature: Real = 0.5  # α
    teacher_share: OpenShare = 0.5  # λ
    teacher_power: Positive = 0.2  # a, of p in D_ab
    assistant_power: Positive = 0.7  # b, of r in D_ab

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        r = self._assistant(teacher, student)
        return alpha_beta(teacher, r, self.teacher_power, self.assistant_power)

    def _assistant(self, p: LogProbs, q: LogProbs) -> LogProbs:
        c = (1 - self.curvature) / 2
        if c == 0:
            return torch.lerp(q, p, self.teacher_share).log_softmax(-1)
        return (mixture(c * p, c * q, self.teacher_share) / c).log_softmax(-1)

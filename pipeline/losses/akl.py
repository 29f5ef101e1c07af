"""Adaptive KL: forward and reverse KL, weighed by where the student is further off.

T. Wu, C. Tao, J. Wang, R. Yang, Z. Zhao, N. Wong, 2024. Rethinking Kullback-Leibler Divergence in
Knowledge Distillation for Large Language Models. arXiv:2404.02657; details from their repository
(wutaiqiang/LLM_KD_AKL). The head is the teacher's most likely tokens up to a total of μ, at least
one. Where student and teacher are equal the weights are 0 / 0; any serve, halves are taken. On a
sparse support the bucket is one more outcome.
"""

from dataclasses import dataclass

import torch

from pipeline.distributions.divergences import two_sided_kl
from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext
from pipeline.methods.ranges import OpenShare


@dataclass(frozen=True)
class Loss:
    """g_h / (g_h + g_t) KL(p ‖ q) + g_t / (g_h + g_t) KL(q ‖ p), g = Σ |p - q| of head and tail."""

    needs_only_distributions = True

    head_mass: OpenShare = 0.5  # μ

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        head_share = self._head_share(teacher.exp(), student.detach().exp())
        return two_sided_kl(teacher, student, head_share)

    def _head_share(self, p: LogProbs, q: LogProbs) -> PerToken:
        ordered, order = p.sort(descending=True)
        in_head = ordered.cumsum(-1) <= self.head_mass
        in_head[:, 0] = True

        gap = (ordered - q.gather(-1, order)).abs()
        of_head, of_all = torch.where(in_head, gap, 0).sum(-1), gap.sum(-1)
        return torch.where(of_all > 0, of_head / of_all, 0.5)

"""Log-probabilities of some tokens and of "any other token", with a gradient in one pass.

For a support S of K ids, and lse the log-sum-exp over all tokens, lse' over those outside S:

    y_i = z_i - lse  for i in S        y_other = lse' - lse

With the gradients g of y and G their sum over all K + 1 outcomes:

    dz_i = g_i - G exp(z_i - lse)  for i in S
    dz_v = (g_other - G exp(y_other)) exp(z_v - lse')  elsewhere

exp(z_v - lse') is made again for the backward pass: beside the logits nothing as wide as the
vocabulary is kept, which costs an exponential and saves writing and reading as many numbers.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

Logits = Float[Tensor, "tokens vocabulary"]
Ids = Int[Tensor, "tokens k"]
LogProbs = Float[Tensor, "tokens support"]  # K + 1 of them


class SparseLogProbs(torch.autograd.Function):
    """Logits and the ids of a support to log-probabilities; K is less than the vocabulary."""

    @staticmethod
    def forward(ctx: Any, logits: Logits, ids: Ids) -> LogProbs:
        """`ids` are distinct in each row."""
        inside = logits.gather(-1, ids)
        # one minus the sum of the inside would lose all digits where the rest is small
        outside = logits.scatter(-1, ids, -torch.inf)
        most = outside.amax(-1, keepdim=True)
        total = most + outside.sub_(most).exp_().sum(-1, keepdim=True).log()
        log_probs = torch.cat([inside, total], dim=-1).log_softmax(-1)
        ctx.save_for_backward(logits, ids, total, log_probs)
        return log_probs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: LogProbs) -> tuple[Logits, None]:
        """The gradient of the logits."""
        logits, ids, total, log_probs = ctx.saved_tensors
        own = gradient - gradient.sum(-1, keepdim=True) * log_probs.exp()
        shares = (logits - total).exp_()  # infinite, maybe, inside, where it isn't used
        return shares.mul_(own[:, -1:]).scatter_(-1, ids, own[:, :-1]), None


def sparse_log_probs(logits: Logits, ids: Ids) -> LogProbs:
    """Log-probabilities of the tokens in `ids`, then of all others together."""
    return SparseLogProbs.apply(logits, ids)
